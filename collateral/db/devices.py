"""Devices as they are registered."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812


@dataclass(frozen=True)
class RegisteredDevice:
    """One row of the device list."""

    device_id: str
    site_id: str
    quantities: tuple[str, ...]


def registered_devices(connection: Connection, site_id: str = "", most: int | None = None) -> list[RegisteredDevice]:
    """Devices in the order of their ids; of one site where `site_id` is given, at most `most`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id, site_id, quantities FROM device WHERE %s = '' OR site_id = %s ORDER BY device_id LIMIT %s",
            (site_id, site_id, most),
        )
        return [RegisteredDevice(device, site, tuple(quantities)) for device, site, quantities in cursor.fetchall()]
