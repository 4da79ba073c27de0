"""Passports of devices: calibration, and the factor from what a device publishes to the quantity's unit.

A passport holds from a time on until the next one; of two from the same time, the one recorded later holds. What was
published stays in `reading`; the factor is applied where readings are read (`collateral.db.rollups.read_readings`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.db.telemetry import to_us
from collateral.errors import InvalidInputError
from collateral.quantities import READING_QUANTITIES

_CALIBRATIONS_LOCK = 7_203_521

TRANSFORMED = frozenset({"kW", "kW.h", "kvar.h"})
"""Units of quantities that a current transformer divides."""
SCALED = TRANSFORMED | {"W/m2", "kg"}
"""Units of quantities that a device may publish in other numbers; not states, counts, positions, temperatures and shares."""


@dataclass(frozen=True)
class Passport:
    """What is known of a device beside its registration; None is unknown."""

    calibrated_on: date | None = None
    calibration_expires_on: date | None = None
    """The last day on which it holds."""
    ct_ratio: float | None = None
    """Current-transformer ratio, primary over secondary: published power and energy are multiplied by it."""
    scale: float | None = None
    """Factor from the device's numbers to the quantity's unit."""
    firmware: str = ""
    place: str = ""
    """Where it is mounted; a move is a new row."""
    valid_from: datetime | None = None
    """Of ratio, scale and place; None: from now on."""


@dataclass(frozen=True)
class Calibration:
    """A time for which a device is calibrated, as recorded; microseconds since 1970 UTC."""

    from_us: int
    until_us: int
    """The end of its last day, UTC."""
    known_us: int


@dataclass(frozen=True)
class Factors:
    """Of one series: from `from_us[i]` on readings are multiplied by `factor[i]`; by 1 before the first."""

    from_us: NDArray[np.int64]
    factor: NDArray[np.float64]

    def at(self, time_us: NDArray[np.int64]) -> NDArray[np.float64]:
        """The factor of readings of these times."""
        return np.append(1.0, self.factor)[np.searchsorted(self.from_us, time_us, side="right")]


_COLUMNS = "calibrated_on, calibration_expires_on, ct_ratio, scale, firmware, place, valid_from"


def newest_passport(connection: Connection, device_id: str) -> Passport | None:
    """The passport recorded last."""
    rows = fetch_dicts(
        connection,
        f"SELECT {_COLUMNS} FROM device_passport WHERE device_id = %s ORDER BY passport_id DESC LIMIT 1",  # noqa: S608
        (device_id,),
    )
    return Passport(**rows[0]) if rows else None


def passport_at(connection: Connection, device_id: str, at: datetime) -> Passport | None:
    """The passport whose ratio, scale and place hold at a time."""
    rows = fetch_dicts(
        connection,
        f"SELECT {_COLUMNS} FROM device_passport WHERE device_id = %s AND valid_from <= %s"  # noqa: S608
        " ORDER BY valid_from DESC, passport_id DESC LIMIT 1",
        (device_id, at),
    )
    return Passport(**rows[0]) if rows else None


def hold_calibrations(connection: Connection) -> None:
    """Keeps calibrations from changing until the transaction ends: before blocks are marked or judged by them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_CALIBRATIONS_LOCK,))


def add_passport(connection: Connection, device_id: str, passport: Passport, by: str, now: datetime) -> datetime:
    """Appends a passport; returns from when it holds.

    What was made of earlier readings stays as it was, so another factor cannot hold from before `now` where the device has
    readings since. Blocks that a calibration reaches are judged anew.

    Raises:
        InvalidInputError: another factor from a time of which there are readings already.
    """
    valid_from = passport.valid_from or now
    known = passport_at(connection, device_id, valid_from) or Passport()
    if (passport.ct_ratio, passport.scale) != (known.ct_ratio, known.scale) and valid_from < now:
        heard = fetch_dicts(
            connection,
            "SELECT s.quantity, r.time FROM series s CROSS JOIN LATERAL (SELECT time FROM reading"
            " WHERE series_id = s.series_id AND time >= %s ORDER BY time DESC LIMIT 1) r WHERE s.device_id = %s LIMIT 1",
            (valid_from, device_id),
        )
        if heard:
            raise InvalidInputError(
                f"Device {device_id!r} has readings since {valid_from.isoformat()}, of which days were made with the factor "
                "that was known; another ratio or scale holds from now on (leave --valid-from out), and history stays."
            )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_CALIBRATIONS_LOCK,))  # or what is being judged would miss it
        cursor.execute(
            "INSERT INTO device_passport (device_id, calibrated_on, calibration_expires_on, ct_ratio, scale, firmware,"
            " place, valid_from, recorded_at, recorded_by) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                device_id, passport.calibrated_on, passport.calibration_expires_on, passport.ct_ratio, passport.scale,
                passport.firmware, passport.place, valid_from, now, by,
            ),
        )  # fmt: skip
        if passport.calibration_expires_on is not None:
            cursor.execute(
                "UPDATE reading_judged j SET due = true FROM series s WHERE s.series_id = j.series_id AND s.device_id = %s"
                " AND j.block_to > %s AND j.block_from >="
                " coalesce((SELECT before FROM retention_horizon WHERE what = 'reading'), '-infinity')",
                (device_id, _begin(passport.calibrated_on, valid_from)),
            )
    return valid_from


def factors(connection: Connection, series_ids: Sequence[int]) -> dict[int, Factors]:
    """Of those of these series that have any."""
    rows = fetch_dicts(
        connection,
        "SELECT s.series_id, s.quantity, p.valid_from, p.ct_ratio, p.scale FROM series s JOIN device_passport p"
        " USING (device_id) WHERE s.series_id = ANY(%s) ORDER BY s.series_id, p.valid_from, p.passport_id",
        (list(series_ids),),
    )
    steps: dict[int, dict[int, float]] = defaultdict(dict)
    for row in rows:
        unit = READING_QUANTITIES[row["quantity"]].unit
        ratio = (row["ct_ratio"] or 1.0) if unit in TRANSFORMED else 1.0
        steps[row["series_id"]][to_us(row["valid_from"])] = ratio * ((row["scale"] or 1.0) if unit in SCALED else 1.0)
    return {
        series: Factors(np.array(list(found), np.int64), np.array(list(found.values()), np.float64))
        for series, found in steps.items()
        if any(factor != 1.0 for factor in found.values())
    }


def calibrations(connection: Connection, device_ids: Sequence[str]) -> Mapping[str, list[Calibration]]:
    """Of those of these devices whose calibration ends some time."""
    rows = fetch_dicts(
        connection,
        "SELECT device_id, calibrated_on, calibration_expires_on, valid_from, recorded_at FROM device_passport"
        " WHERE device_id = ANY(%s) AND calibration_expires_on IS NOT NULL ORDER BY device_id, passport_id",
        (list(device_ids),),
    )
    found: dict[str, list[Calibration]] = defaultdict(list)
    for row in rows:
        begin, end = _begin(row["calibrated_on"], row["valid_from"]), _midnight(row["calibration_expires_on"])
        found[row["device_id"]].append(
            Calibration(to_us(begin), to_us(end + timedelta(days=1)), to_us(row["recorded_at"]))
        )
    return found


def _begin(calibrated_on: date | None, valid_from: datetime) -> datetime:
    return valid_from if calibrated_on is None else _midnight(calibrated_on)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
