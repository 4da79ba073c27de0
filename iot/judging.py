"""Keeps the quality of readings beside them: judges the blocks of a series that new readings touch.

A block's quality is a function of the readings in it, in the `BEFORE` blocks before it and the `AFTER` blocks after it, and
of what is known of the device's calibration: not of when it was judged or in which order readings came. So a site's day
costs a few weeks, never years, and the table always equals a recomputation from raw readings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import passports, qualities, rollups
from collateral.db.passports import Calibration
from collateral.db.qualities import Block, JudgedBlock, QualitySpan
from collateral.db.rollups import DirtyRange, Readings, Series
from collateral.quantities import READING_QUANTITIES, Adds
from iot.calibration import lapsed
from iot.days import DAY_US, HOUR_US
from iot.quality import VERSION, Flag, Limits, clock_offset_us, judge
from iot.signals import Signal

BEFORE, AFTER = 3, 1
"""Blocks a judgement looks back and ahead."""
_BLOCKS = ((300_000_000, 7 * DAY_US), (30_000_000, DAY_US), (0, 6 * HOUR_US))
"""Length of a block by the shortest interval for which it holds: some two thousand readings."""
MOST_BLOCKS = 12
"""Of a series in one run, newest first; older ones wait for the next runs, so that years of history delay no observation."""
REJUDGED_BLOCKS = 500
"""Of all series in one run, judged anew because the rules changed: some five seconds."""


def block_us(interval_us: int) -> int:
    """Length of a block of a series with this expected time between readings."""
    return next(length for least, length in _BLOCKS if interval_us >= least)


def touched(series_id: int, from_us: int, to_us: int, last_us: int, interval_us: int) -> list[Block]:
    """Blocks whose judgement may change with readings in [from, to); none that begins after the series' last reading."""
    length = block_us(interval_us)
    first = from_us // length - AFTER
    last = min((to_us - 1) // length + BEFORE, last_us // length)
    return [Block(series_id, number * length, (number + 1) * length) for number in range(first, last + 1)]


def mark_touched(connection: Connection, ranges: Sequence[DirtyRange], interval_us: Mapping[str, int]) -> None:
    """Marks what is to be judged after these ranges changed; a block whose readings were dropped keeps its judgement.

    `interval_us`: by device, of all devices in `ranges`.
    """
    horizon_us = rollups.reading_horizon_us(connection)
    lasts = rollups.last_before(connection, sorted({row.series_id for row in ranges}), _NEVER_US)
    blocks = {
        block
        for row in ranges
        if row.series_id in lasts
        for block in touched(row.series_id, row.from_us, row.to_us, lasts[row.series_id][0], interval_us[row.device_id])
        if block.from_us >= horizon_us
    }
    qualities.mark_due(connection, sorted(blocks))


_NEVER_US = 2**52
"""After the last reading of all."""


def judge_due(
    connection: Connection, series: Sequence[Series], interval_us: Mapping[str, int], closed_by_us: int | None = None
) -> int:
    """Judges what waits of these series, newest first, `MOST_BLOCKS` of each; returns how many blocks changed.

    Args:
        connection: of the application.
        series: of one site.
        interval_us: by device.
        closed_by_us: leaves out blocks whose judgement looks beyond this time; None: none are left out.
    """
    horizon_us = rollups.reading_horizon_us(connection)
    due = qualities.due_blocks(connection, [row.series_id for row in series], horizon_us, MOST_BLOCKS)
    if closed_by_us is not None:
        due = [block for block in due if block.to_us + AFTER * (block.to_us - block.from_us) <= closed_by_us]
    return judge_blocks(connection, series, interval_us, due)


def judge_blocks(
    connection: Connection, series: Sequence[Series], interval_us: Mapping[str, int], blocks: Sequence[Block]
) -> int:
    """Judges these blocks, ordered by series and time; returns how many changed. See `judge_due`."""
    now, by_id, changed = datetime.now(UTC), {row.series_id: row for row in series}, 0
    lapses = passports.calibrations(connection, sorted({row.device_id for row in series}))
    for series_id, waiting in groupby(blocks, key=lambda block: block.series_id):
        row = by_id[series_id]
        for near in _together(waiting):
            length = near[0].to_us - near[0].from_us
            begin, end = near[0].from_us - BEFORE * length, near[-1].to_us + AFTER * length
            readings = rollups.read_readings(connection, [series_id], begin, end)
            whole = Signal(
                row.device_id, row.quantity, interval_us[row.device_id],
                readings.time_us, as_judged(row.quantity, readings), readings.received_us,
                None if readings.factor is None else readings.published,
            )  # fmt: skip
            judged = [judged_block(whole, block, lapses.get(row.device_id, ())) for block in near]
            changed += qualities.write_judged(connection, judged, VERSION, now)
    return changed


def outdated(connection: Connection) -> dict[str, list[Block]]:
    """By device, what a run may judge anew because other rules judged it: `REJUDGED_BLOCKS` in all, newest first."""
    horizon_us = rollups.reading_horizon_us(connection)
    by_device: dict[str, list[Block]] = defaultdict(list)
    for device, block in qualities.outdated_blocks(connection, VERSION, horizon_us, REJUDGED_BLOCKS):
        by_device[device].append(block)
    return by_device


def judging_stats(connection: Connection) -> dict[str, int]:
    """How far the judgement of readings is, and by how much of it other rules than today's: for `observe --stats`."""
    counts = qualities.judged_counts(connection, VERSION, rollups.reading_horizon_us(connection))
    return {"version": VERSION, "rejudged_per_run": REJUDGED_BLOCKS, **counts}


def _together(blocks: Iterable[Block]) -> list[list[Block]]:
    """Neighbours of one length, so that their readings are read once."""
    out: list[list[Block]] = []
    for block in blocks:
        last = out[-1] if out else []
        length = block.to_us - block.from_us
        near = bool(last) and length == last[-1].to_us - last[-1].from_us
        if near and block.from_us - last[-1].to_us <= (BEFORE + AFTER) * length:
            last.append(block)
        else:
            out.append([block])
    return out


def as_judged(quantity: str, readings: Readings) -> NDArray[np.float64]:
    """Registers as published (they roll over at their own last digit), all else in the quantity's unit."""
    return readings.published if READING_QUANTITIES[quantity].adds is Adds.REGISTER else readings.value


def judged_block(whole: Signal, block: Block, calibrations: Sequence[Calibration] = ()) -> JudgedBlock:
    """What is doubted in a block.

    Args:
        whole: readings from `BEFORE` to `AFTER` it at least.
        block: which.
        calibrations: of the device, as known now.
    """
    length = block.to_us - block.from_us
    begin, end = np.searchsorted(whole.time_us, [block.from_us - BEFORE * length, block.to_us + AFTER * length])
    first, last = np.searchsorted(whole.time_us[begin:end], [block.from_us, block.to_us])
    if first == last:
        return JudgedBlock(block, [], 0)
    signal = Signal(
        whole.device_id, whole.quantity, whole.interval_us,
        whole.time_us[begin:end], whole.value[begin:end], whole.received_us[begin:end], whole.published[begin:end],
    )  # fmt: skip
    part, flags = slice(first, last), judge(signal, limits_of(whole.quantity))
    flags[part][lapsed(signal.time_us[part], None, calibrations)] |= int(Flag.UNCALIBRATED)
    off = bool((flags[part] & int(Flag.CLOCK)).any())
    ahead = clock_offset_us(signal)[part] if off else np.full(last - first, np.nan)
    return JudgedBlock(block, _spans(block.series_id, signal.time_us[part], flags[part], ahead), int(last - first))


def limits_of(quantity: str) -> Limits:
    """What a quantity allows."""
    known = READING_QUANTITIES[quantity]
    return Limits(known.low, known.high, known.adds)


def _spans(
    series_id: int, time_us: NDArray[np.int64], flags: NDArray[np.int64], ahead_us: NDArray[np.float64]
) -> list[QualitySpan]:
    starts = np.flatnonzero(np.concatenate([[True], flags[1:] != flags[:-1]]))
    ends = np.append(starts[1:], len(flags))
    out: list[QualitySpan] = []
    for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if flags[first] == 0:
            continue
        known = ahead_us[first:end][~np.isnan(ahead_us[first:end])]
        ahead = round(float(np.median(known)) / 1e6, 1) if len(known) else None
        times = int(time_us[first]), int(time_us[end - 1])
        out.append(QualitySpan(series_id, *times, end - first, int(flags[first]), ahead, VERSION))
    return out
