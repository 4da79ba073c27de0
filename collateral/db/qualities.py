"""Quality beside the readings: which blocks wait to be judged, and what is doubted in those that were.

Times are microseconds since 1970 UTC. Every function works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from collateral.db.telemetry import from_us, to_us


@dataclass(frozen=True, order=True)
class Block:
    """A stretch of one series that is judged as a whole, [from, to)."""

    series_id: int
    from_us: int
    to_us: int


@dataclass(frozen=True)
class QualitySpan:
    """Consecutive readings of one series with the same flags; none lie between that are not doubted."""

    series_id: int
    from_us: int
    to_us: int
    """Time of the last reading."""
    readings: int
    flags: int
    clock_ahead_s: float | None
    """By how much the device's clock is ahead, where it is off by a stable amount."""
    version: int
    """Of the rules."""


@dataclass(frozen=True)
class JudgedBlock:
    """What a judgement found."""

    block: Block
    spans: Sequence[QualitySpan]
    """In order, inside the block."""
    readings: int
    """In the block."""


def mark_due(connection: Connection, blocks: Sequence[Block]) -> None:
    """These blocks are to be judged (anew)."""
    with connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO reading_judged (series_id, block_from, block_to) VALUES %s ON CONFLICT (series_id, block_from)"
            " DO UPDATE SET due = true, block_to = excluded.block_to",
            [(block.series_id, from_us(block.from_us), from_us(block.to_us)) for block in sorted(set(blocks))],
            page_size=1000,
        )


def due_blocks(connection: Connection, series_ids: Sequence[int], from_us_: int, most: int) -> list[Block]:
    """The `most` newest blocks of each of these series that wait, none before a time; in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT series_id, block_from, block_to FROM (SELECT *, row_number() OVER (PARTITION BY series_id"
            " ORDER BY block_from DESC) AS place FROM reading_judged WHERE due AND series_id = ANY(%s)"
            " AND block_from >= %s) d"
            " WHERE place <= %s ORDER BY series_id, block_from",
            (list(series_ids), from_us(from_us_), most),
        )
        return [Block(series, to_us(begin), to_us(end)) for series, begin, end in cursor.fetchall()]


def outdated_blocks(connection: Connection, version: int, from_us_: int, most: int) -> list[tuple[str, Block]]:
    """The `most` newest blocks that other rules judged, none before a time, with their device; by series and time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM (SELECT s.device_id, j.series_id, j.block_from, j.block_to FROM reading_judged j"
            " JOIN series s USING (series_id) JOIN device d USING (device_id)"
            " WHERE NOT j.due AND j.version <> %s AND j.block_from >= %s ORDER BY j.block_from DESC, j.series_id LIMIT %s) o"
            " ORDER BY series_id, block_from",
            (version, from_us(from_us_), most),
        )
        return [(device, Block(series, to_us(begin), to_us(end))) for device, series, begin, end in cursor.fetchall()]


def judged_counts(connection: Connection, version: int, from_us_: int) -> dict[str, int]:
    """Blocks judged by these rules, waiting, judged by other rules, and those of them that are too old to be judged anew."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE NOT due AND version = %(version)s), count(*) FILTER (WHERE due),"
            " count(*) FILTER (WHERE NOT due AND version <> %(version)s AND block_from >= %(begin)s),"
            " count(*) FILTER (WHERE NOT due AND version <> %(version)s AND block_from < %(begin)s) FROM reading_judged",
            {"version": version, "begin": from_us(from_us_)},
        )
        row = cursor.fetchone()
    assert row is not None
    return dict(zip(("judged", "due", "outdated", "beyond_retention"), map(int, row), strict=True))


def write_judged(connection: Connection, judged: Sequence[JudgedBlock], version: int, now: datetime) -> int:
    """Puts what is doubted now in place of what was; returns in how many blocks that is something else.

    Args:
        connection: of the application.
        judged: blocks of one series, in order.
        version: of the rules.
        now: when they were judged.
    """
    series_id, begin, end = judged[0].block.series_id, judged[0].block.from_us, judged[-1].block.to_us
    before = read_spans(connection, [series_id], begin, end)
    changed = [
        one for one in judged
        if [span for span in before if one.block.from_us <= span.from_us < one.block.to_us] != list(one.spans)
    ]  # fmt: skip
    with connection.cursor() as cursor:
        for one in changed:
            cursor.execute(
                "DELETE FROM reading_quality WHERE series_id = %s AND time_from >= %s AND time_from < %s",
                (series_id, from_us(one.block.from_us), from_us(one.block.to_us)),
            )
        execute_values(
            cursor,
            "INSERT INTO reading_quality"
            " (series_id, time_from, time_to, readings, flags, clock_ahead_s, version, judged_at) VALUES %s",
            [
                (
                    span.series_id, from_us(span.from_us), from_us(span.to_us), span.readings, span.flags,
                    span.clock_ahead_s, span.version, now,
                )
                for one in changed for span in one.spans
            ],
            page_size=1000,
        )  # fmt: skip
        execute_values(
            cursor,
            "UPDATE reading_judged j SET due = false, readings = v.readings, version = v.version, judged_at = v.judged_at"
            " FROM (VALUES %s) AS v(series_id, block_from, readings, version, judged_at)"
            " WHERE j.series_id = v.series_id AND j.block_from = v.block_from",
            [(series_id, from_us(one.block.from_us), one.readings, version, now) for one in judged],
            page_size=1000,
        )
    return len(changed)


def read_spans(connection: Connection, series_ids: Sequence[int], from_us_: int, to_us_: int) -> list[QualitySpan]:
    """What is doubted, of stretches that begin in [from, to), by series and time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT series_id, time_from, time_to, readings, flags, clock_ahead_s, version FROM reading_quality"
            " WHERE series_id = ANY(%s) AND time_from >= %s AND time_from < %s ORDER BY series_id, time_from",
            (list(series_ids), from_us(from_us_), from_us(to_us_)),
        )
        return [
            QualitySpan(series, to_us(begin), to_us(end), count, flags, ahead, version)
            for series, begin, end, count, flags, ahead, version in cursor.fetchall()
        ]
