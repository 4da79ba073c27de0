"""Raw readings out, roll-ups in, and the dirty ranges between them. Every function works inside the caller's transaction."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import passports
from collateral.db.copying import FLOAT8, INT4, INT8, PG_EPOCH_US, decode_rows, encode_rows
from collateral.db.pool import fetch_dicts
from collateral.db.telemetry import DIRTY_LOCK, from_us, to_us

_READING_KINDS = {"series_id": INT4, "time": INT8, "value": FLOAT8, "received_at": INT8}
_OBSERVE_LOCK = 7_203_514
_EVER_US = -(10**15)
"""Before every reading: 1938."""


@dataclass(frozen=True)
class DirtyRange:
    """Readings of one series whose roll-ups and observations are no longer true."""

    dirty_id: int
    series_id: int
    device_id: str
    quantity: str
    site_id: str
    """Empty when the device is not in the portfolio any more."""
    from_us: int
    to_us: int
    """[from, to) in microseconds since 1970."""


@dataclass(frozen=True)
class Series:
    """One device and quantity."""

    series_id: int
    device_id: str
    quantity: str


@dataclass(frozen=True)
class Readings:
    """Readings ordered by series and time; arrays of one length."""

    series_id: NDArray[np.int32]
    time_us: NDArray[np.int64]
    published: NDArray[np.float64]
    """As the device sent it, and as the table holds it."""
    received_us: NDArray[np.int64]
    factor: NDArray[np.float64] | None = None
    """By the passport that held at the reading's time; None: 1 for all."""

    @property
    def value(self) -> NDArray[np.float64]:
        """In the quantity's unit."""
        return self.published if self.factor is None else self.published * self.factor

    @property
    def rises(self) -> NDArray[np.float64]:
        """By how much each is larger than the one before, in the unit of the later one's factor; NaN for the first.

        What a register counted does not jump where a transformer was changed.
        """
        rises = np.diff(self.published, prepend=np.nan)
        return rises if self.factor is None else rises * self.factor

    def register(self, part: slice) -> NDArray[np.float64]:
        """Values of one register, without jumps where the factor changes."""
        if self.factor is None or len(self.published[part]) == 0 or (self.factor[part] == self.factor[part][0]).all():
            return self.value[part]
        rises = self.rises[part]
        rises[0] = self.value[part][0]
        return np.cumsum(rises)

    def __len__(self) -> int:
        return len(self.series_id)

    def where(self, chosen: NDArray[np.bool_]) -> Readings:
        """Those rows only."""
        return Readings(
            self.series_id[chosen], self.time_us[chosen], self.published[chosen], self.received_us[chosen],
            None if self.factor is None else self.factor[chosen],
        )  # fmt: skip


@dataclass(frozen=True)
class RollupRows:
    """Rows of one width; arrays of one length. `delta` is NaN where the quantity does not add up."""

    series_id: NDArray[np.int32]
    bucket_us: NDArray[np.int64]
    n: NDArray[np.int32]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]
    delta: NDArray[np.float64]
    last_received_us: NDArray[np.int64]


def take_turn(connection: Connection) -> None:
    """Waits until no other process makes roll-ups or observations; until the end of the session."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (_OBSERVE_LOCK,))


def try_turn(connection: Connection) -> bool:
    """The same without waiting; False where another process has it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", (_OBSERVE_LOCK,))
        row = cursor.fetchone()
    return row is not None and bool(row[0])


def give_turn(connection: Connection) -> None:
    """Ends `take_turn` or `try_turn`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s)", (_OBSERVE_LOCK,))


def take_dirty(connection: Connection) -> list[DirtyRange]:
    """All marks made so far; what is written from now on is marked anew. Commit before the work, `forget_dirty` after it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (DIRTY_LOCK,))
        cursor.execute("UPDATE dirty_epoch SET epoch = epoch + 1")
    return [_dirty(row) for row in fetch_dicts(connection, f"{_DIRTY} ORDER BY d.series_id, d.time_from")]


def see_dirty(connection: Connection, quantities: Collection[str], since_us: int) -> list[DirtyRange]:
    """Marks of some quantities that end after a time, microseconds since 1970; none is taken, so none is made twice."""
    query = f"{_DIRTY} WHERE s.quantity = ANY(%s) AND d.time_to > %s ORDER BY d.series_id, d.time_from"
    return [_dirty(row) for row in fetch_dicts(connection, query, (sorted(quantities), from_us(since_us)))]


_DIRTY = (
    "SELECT d.dirty_id, d.series_id, s.device_id, s.quantity, coalesce(v.site_id, '') AS site_id, d.time_from, d.time_to"
    " FROM dirty_range d JOIN series s USING (series_id) LEFT JOIN device v ON v.device_id = s.device_id"
)


def _dirty(row: Mapping[str, Any]) -> DirtyRange:
    return DirtyRange(
        row["dirty_id"], row["series_id"], row["device_id"], row["quantity"], row["site_id"], to_us(row["time_from"]),
        to_us(row["time_to"]),
    )


def forget_dirty(connection: Connection, dirty_ids: Sequence[int]) -> None:
    """Deletes marks whose work is done in this transaction."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM dirty_range WHERE dirty_id = ANY(%s)", (list(dirty_ids),))


def series_of_devices(connection: Connection, device_ids: Sequence[str]) -> list[Series]:
    """Every series of those devices, by number."""
    rows = fetch_dicts(
        connection,
        "SELECT series_id, device_id, quantity FROM series WHERE device_id = ANY(%s) ORDER BY series_id",
        (list(device_ids),),
    )
    return [Series(**row) for row in rows]


def read_readings(connection: Connection, series_ids: Sequence[int], from_us_: int, to_us_: int) -> Readings:
    """Readings with from <= time < to, ordered by series and time, with the factors of their devices."""
    with connection.cursor() as cursor:
        query = cursor.mogrify(
            "COPY (SELECT series_id, time, value, received_at FROM reading WHERE series_id = ANY(%s)"
            " AND time >= %s AND time < %s) TO STDOUT (FORMAT binary)",
            (list(series_ids), from_us(from_us_), from_us(to_us_)),
        )
        buffer = io.BytesIO()
        cursor.copy_expert(query, buffer)
    rows = decode_rows(buffer.getvalue(), _READING_KINDS)
    order = np.lexsort((rows["time"], rows["series_id"]))
    series_id, time_us = rows["series_id"][order], rows["time"][order] + PG_EPOCH_US
    return Readings(
        series_id, time_us, rows["value"][order], rows["received_at"][order] + PG_EPOCH_US,
        _factors(connection, series_ids, series_id, time_us),
    )  # fmt: skip


def _factors(
    connection: Connection, wanted: Sequence[int], series_id: NDArray[np.int32], time_us: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Of readings ordered by series."""
    known = passports.factors(connection, wanted)
    if not known:
        return None
    factor = np.ones(len(series_id))
    for series, steps in known.items():
        part = slice(*np.searchsorted(series_id, [series, series + 1]).tolist())
        factor[part] = steps.at(time_us[part])
    return factor


def reading_horizon_us(connection: Connection) -> int:
    """Readings before this time, microseconds since 1970, were dropped by retention; far in the past when none were."""
    return _horizon_us(connection, "reading")


def journey_horizon_us(connection: Connection) -> int:
    """Days that begin before this time keep the trips and stops they have, for those before them or their readings went."""
    return max(_horizon_us(connection, "reading"), _horizon_us(connection, "journey"))


def _horizon_us(connection: Connection, what: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT before FROM retention_horizon WHERE what = %s", (what,))
        row = cursor.fetchone()
    return _EVER_US if row is None else to_us(row[0])


def last_before(connection: Connection, series_ids: Sequence[int], time_us: int) -> dict[int, tuple[int, float]]:
    """Time (microseconds) and published value of each series' last reading before a time, for those that have one.

    Where that was dropped by retention, it is the one that was kept aside then: what came since for dropped days is in no
    roll-up and no one's predecessor.
    """
    before, horizon = from_us(time_us), from_us(reading_horizon_us(connection))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.series_id, r.time, r.value FROM unnest(%s::integer[]) AS s(series_id) CROSS JOIN LATERAL ("
            " (SELECT time, value FROM reading WHERE series_id = s.series_id AND time < %s AND time >= %s"
            " ORDER BY time DESC LIMIT 1) UNION ALL"
            " (SELECT time, value FROM reading_before_horizon WHERE series_id = s.series_id AND time < %s)"
            " ORDER BY time DESC LIMIT 1) r",
            (list(series_ids), before, horizon, before),
        )
        return {series: (to_us(moment), value) for series, moment, value in cursor.fetchall()}


def late_readings(
    connection: Connection, series_ids: Sequence[int], from_us_: int, to_us_: int, later_us: int
) -> list[tuple[int, int]]:
    """(time, arrival) in microseconds of readings in [from, to) that came more than `later_us` after they were measured."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT time, received_at FROM reading WHERE series_id = ANY(%s) AND time >= %s AND time < %s"
            " AND received_at > time + %s * interval '1 microsecond'",
            (list(series_ids), from_us(from_us_), from_us(to_us_), later_us),
        )
        return [(to_us(moment), to_us(arrival)) for moment, arrival in cursor.fetchall()]


def first_times(connection: Connection, series_ids: Sequence[int], from_us_: int) -> dict[int, int]:
    """Time of the first reading of each series at or after a time, microseconds, for those that have one."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.series_id, r.time FROM unnest(%s::integer[]) AS s(series_id) CROSS JOIN LATERAL"
            " (SELECT time FROM reading WHERE series_id = s.series_id AND time >= %s ORDER BY time LIMIT 1) r",
            (list(series_ids), from_us(from_us_)),
        )
        return {series: to_us(moment) for series, moment in cursor.fetchall()}


def registered_times(connection: Connection, device_ids: Sequence[str]) -> dict[str, int]:
    """Since when each of those devices is known without a break, microseconds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT device_id, min(known_at) FROM device_version v WHERE device_id = ANY(%s) AND revision > coalesce("
            "(SELECT max(revision) FROM device_version d WHERE d.device_id = v.device_id AND d.deleted), 0)"
            " GROUP BY device_id",
            (list(device_ids),),
        )
        return {device: to_us(moment) for device, moment in cursor.fetchall()}


def replace_rollups(
    connection: Connection, width: str, series_ids: Sequence[int], from_us_: int, to_us_: int, rows: RollupRows
) -> int:
    """Puts `rows` in place of every bucket of these series that begins in [from, to); returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM rollup WHERE series_id = ANY(%s) AND width = %s AND bucket >= %s AND bucket < %s",
            (list(series_ids), width, from_us(from_us_), from_us(to_us_)),
        )
        adds = ~np.isnan(rows.delta)
        for chosen in (adds, ~adds):
            if chosen.any():
                _copy_rollups(cursor, width, rows, chosen)
    return len(rows.series_id)


def _copy_rollups(cursor: Any, width: str, rows: RollupRows, chosen: NDArray[np.bool_]) -> None:
    """Rows that have a delta, or rows that have none: NULL has no fixed width."""
    columns: list[tuple[str, NDArray[Any], str]] = [
        ("series_id", rows.series_id, INT4),
        ("width", np.full(len(rows.series_id), width.encode()), f"S{len(width)}"),
        ("bucket", rows.bucket_us - PG_EPOCH_US, INT8),
        ("n", rows.n, INT4),
        ("mean", rows.mean, FLOAT8),
        ("low", rows.low, FLOAT8),
        ("high", rows.high, FLOAT8),
        ("first", rows.first, FLOAT8),
        ("last", rows.last, FLOAT8),
        ("last_received_at", rows.last_received_us - PG_EPOCH_US, INT8),
        ("delta", rows.delta, FLOAT8),
    ]
    if np.isnan(rows.delta[chosen][0]):
        columns.pop()
    names = ", ".join(name for name, _, _ in columns)
    data = encode_rows([(array[chosen], kind) for _, array, kind in columns])
    cursor.copy_expert(f"COPY rollup ({names}) FROM STDIN (FORMAT binary)", io.BytesIO(data))


def last_observed(connection: Connection, quantity: str) -> dict[str, datetime]:
    """Per site the newest day begin for which telemetry observed `quantity`."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT site_id, max(valid_from) FROM observation WHERE source = 'telemetry' AND quantity = %s"
            " GROUP BY site_id",
            (quantity,),
        )
        return dict(cursor.fetchall())
