"""Devices sign in with their own id: credentials given, changed and taken away, and the broker told at once."""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import audit, devices, passports
from collateral.db.passports import Passport
from collateral.db.pool import Pool
from collateral.db.reference import hold_portfolio, portfolio, write_portfolio
from collateral.domain import Device
from collateral.errors import InvalidInputError, ServiceError
from collateral.services import local
from collateral.services.mosquitto import FLEET, INGEST, Mosquitto, hash_password
from collateral.services.system import write_private
from iot.topics import Channel, build_topic


class BrokerAccounts:
    """Tells the private broker of a runtime folder which devices may sign in, and keeps its log short."""

    def __init__(self, runtime: Path) -> None:
        self._runtime = runtime.resolve()

    def sync(self, pool: Pool) -> int:
        """Writes all valid credentials to the broker's files; a running broker reads them at once. Returns how many.

        Raises:
            ServiceError: no private broker was ever set up here (an external one takes its accounts from
                `collateral devices export`).
        """
        broker, pid = self._broker()
        with pool.connection() as connection:
            devices.hold_accounts(connection)  # or an older list could be written over a newer one: a revoked device is back
            hashes = devices.valid_hashes(connection)
            broker.set_devices(hashes, pid)
        return len(hashes)

    def turn_log(self) -> bool:
        """Starts a new log where the present one is long; returns whether it did."""
        return local.turn_broker_log(self._runtime)

    def audit(self, on: bool) -> bool:
        """Turns on or off what tells of topics of other devices where the broker has no plugin for it. See `sync`."""
        broker, pid = self._broker()
        return pid is not None and broker.audit(on, pid)

    def _broker(self) -> tuple[Mosquitto, int | None]:
        found = local.private_broker(self._runtime)
        if found is None:
            raise ServiceError(
                f"No private broker is known under {self._runtime}; start it with `collateral services up`, or hand the "
                "file of `collateral devices export` to your own broker."
            )
        return found


def register(pool: Pool, device: Device, by: str) -> None:
    """Adds a device to the portfolio.

    Raises:
        InvalidInputError: an id cannot stand in a topic; the device's is taken; the site is unknown.
    """
    build_topic(device.site_id, device.device_id, Channel.TELEMETRY)
    with pool.connection() as connection:
        hold_portfolio(connection)  # or what another import writes meanwhile would be ended
        current = portfolio(connection)
        if any(known.device_id == device.device_id for known in current.devices):
            raise InvalidInputError(
                f"Device {device.device_id!r} is registered already; `collateral devices list` shows it."
            )
        if not any(site.site_id == device.site_id for site in current.sites):
            raise InvalidInputError(f"There is no site {device.site_id!r}; import it with the portfolio first.")
        given = replace(current, devices=(*current.devices, device))
        write_portfolio(connection, given, known_at=datetime.now(UTC), by=by)
        audit.record(connection, by, "device.add", device.device_id, {"site": device.site_id, "owner": device.owner})


def issue(pool: Pool, device_id: str, by: str, passport: Passport | None = None, again: bool = False) -> str:
    """Gives a device a password, which is returned and kept nowhere. `again` replaces one that is there.

    `passport`: what is not known in it stays as the newest one says.

    Raises:
        InvalidInputError: the device is not registered; its id cannot be an account; it has a credential (it has none,
            with `again`); or the passport cannot hold from when it should.
    """
    if ":" in device_id or device_id in (INGEST, FLEET):
        raise InvalidInputError(
            f"Device id {device_id!r} cannot be an account at the broker: a colon ends the name there, and {INGEST} and "
            f"{FLEET} are the services' own. Register the device under another id."
        )
    password = secrets.token_urlsafe(24)
    with pool.connection() as connection:
        devices.require_device(connection, device_id)
        has = device_id in devices.valid_hashes(connection)
        if has and not again:
            raise InvalidInputError(f"Device {device_id!r} is commissioned already; `collateral devices rotate` renews it.")
        if again and not has:
            raise InvalidInputError(
                f"Device {device_id!r} has no valid credential; `collateral devices commission` gives one."
            )
        devices.set_credential(connection, device_id, hash_password(password), by)
        if passport is not None and passport != Passport():
            _note(connection, device_id, passport, by)
        audit.record(connection, by, "device.rotate" if again else "device.commission", device_id, {})
    return password


def note_passport(pool: Pool, device_id: str, passport: Passport, by: str) -> Passport:
    """Records what changed of a device (a calibration, another transformer, a move); returns the passport as it is now.

    Raises:
        InvalidInputError: the device is not registered; nothing is said; or another factor should hold from a time of
            which there are readings.
    """
    if replace(passport, valid_from=None) == Passport():
        raise InvalidInputError("Say what changed: calibration, ratio, scale, firmware or place.")
    with pool.connection() as connection:
        devices.require_device(connection, device_id)
        return _note(connection, device_id, passport, by)


def _note(connection: Connection, device_id: str, given: Passport, by: str) -> Passport:
    now = datetime.now(UTC)
    known = passports.newest_passport(connection, device_id) or Passport()
    holding = passports.passport_at(connection, device_id, given.valid_from or now) or Passport()
    known = replace(known, ct_ratio=holding.ct_ratio, scale=holding.scale, place=holding.place)
    said = {name: value for name, value in asdict(given).items() if value not in (None, "")}
    merged = replace(known, **{"valid_from": None, **said})
    held = passports.add_passport(connection, device_id, merged, by, now)
    detail = {name: value if isinstance(value, float) else str(value) for name, value in said.items()}
    audit.record(connection, by, "device.passport", device_id, detail)
    return replace(merged, valid_from=held)


def revoke(pool: Pool, device_id: str, by: str) -> None:
    """Takes a device's credential away. Raises `InvalidInputError` when it has none."""
    with pool.connection() as connection:
        devices.require_device(connection, device_id)
        if not devices.revoke_credential(connection, device_id, by):
            raise InvalidInputError(f"Device {device_id!r} has no valid credential to revoke.")
        audit.record(connection, by, "device.revoke", device_id, {})


def export_accounts(pool: Pool, path: Path) -> int:
    """Writes `id:hash` lines for a broker of one's own (Mosquitto's password file format). Returns how many.

    Raises:
        ServiceError: the file cannot be written, or its folder is not there.
    """
    with pool.connection() as connection:
        hashes = devices.valid_hashes(connection)
    write_private(path, "".join(f"{name}:{value}\n" for name, value in hashes.items()))
    return len(hashes)
