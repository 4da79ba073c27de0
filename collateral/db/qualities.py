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


def due_blocks(connection: Connection, series_ids: Sequence[int]) -> list[Block]:
    """Blocks of these series that wait, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT series_id, block_from, block_to FROM reading_judged WHERE due AND series_id = ANY(%s)"
            " ORDER BY series_id, block_from",
            (list(series_ids),),
        )
        return [Block(series, to_us(begin), to_us(end)) for series, begin, end in cursor.fetchall()]


def write_judged(
    connection: Connection, block: Block, spans: Sequence[QualitySpan], readings: int, version: int, now: datetime
) -> bool:
    """Puts `spans` in place of what was doubted in a block; False where that was the same before.

    Args:
        connection: of the application.
        block: that was judged.
        spans: in order, inside the block.
        readings: in the block.
        version: of the rules.
        now: when it was judged.
    """
    ends = (from_us(block.from_us), from_us(block.to_us))
    changed = read_spans(connection, [block.series_id], block.from_us, block.to_us) != list(spans)
    with connection.cursor() as cursor:
        if changed:
            cursor.execute(
                "DELETE FROM reading_quality WHERE series_id = %s AND time_from >= %s AND time_from < %s",
                (block.series_id, *ends),
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
                    for span in spans
                ],
                page_size=1000,
            )  # fmt: skip
        cursor.execute(
            "UPDATE reading_judged SET due = false, readings = %s, version = %s, judged_at = %s"
            " WHERE series_id = %s AND block_from = %s",
            (readings, version, now, block.series_id, ends[0]),
        )
    return changed


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
