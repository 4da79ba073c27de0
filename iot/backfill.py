"""Loads recorded telemetry with its original arrival times: one `SITE_ID.npz` per site, format in data_samples/WORLD.md."""

from __future__ import annotations

import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import arrivals, telemetry
from collateral.db.arrivals import DeviceUpdate
from collateral.db.pool import Pool
from collateral.db.telemetry import Counts, ReadingBatch
from collateral.errors import InvalidInputError
from collateral.progress import progress
from collateral.quantities import reading_quantity

_FUTURE_US = 600_000_000


@dataclass(frozen=True)
class SeriesBlock:
    """The recorded readings of one device and quantity."""

    device_id: str
    quantity: str
    time_us: NDArray[np.int64]
    value: NDArray[np.float64]
    received_us: NDArray[np.int64]
    sequence: NDArray[np.int64]


@dataclass(frozen=True)
class BackfillSummary:
    """What a backfill did."""

    files: int
    series: int
    counts: Counts
    refused: int
    """Values outside the range of their quantity, not finite, or from the future of their own arrival."""
    seconds: float


def telemetry_files(folder: Path) -> list[Path]:
    """The recordings of a world folder, or of a folder of recordings.

    Raises:
        InvalidInputError: there are none.
    """
    inner = folder / "telemetry"
    files = sorted((inner if inner.is_dir() else folder).glob("*.npz"))
    if not files:
        raise InvalidInputError(f"{folder} holds no telemetry/*.npz; name a folder written by `collateral sample write`.")
    return files


def read_blocks(path: Path) -> list[SeriesBlock]:
    """The series of one file.

    Raises:
        InvalidInputError: the file is not in the documented format.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as data:
            return [_block(data, index, str(name)) for index, name in enumerate(data["series"])]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInputError(f"{path} is not a recording ({error}); write the folder again.") from error


def _block(data: dict[str, NDArray[np.generic]], index: int, name: str) -> SeriesBlock:
    device, _, quantity = name.partition("|")
    times, received = data[f"t{index}"].astype(np.int64), data[f"r{index}"].astype(np.int64)
    value, sequence = data[f"v{index}"].astype(np.float64), data[f"s{index}"].astype(np.int64)
    if not len(times) == len(received) == len(value) == len(sequence):
        raise ValueError(f"arrays of {name} differ in length")
    return SeriesBlock(device, reading_quantity(quantity).key, times * 1000, value, received * 1000, sequence)


def backfill(pool: Pool, folder: Path) -> BackfillSummary:
    """Loads every recording under `folder`; doing it again stores nothing.

    Raises:
        InvalidInputError: no recordings, a broken one, or a device that is not in the portfolio.
    """
    began = time.monotonic()
    counts, series, refused = Counts(), 0, 0
    files = telemetry_files(folder)
    for path in progress(files, "backfill", unit="sites"):
        blocks = read_blocks(path)
        with pool.connection() as connection:
            done, bad = _load(connection, path, blocks)
        counts += done
        refused += bad
        series += len(blocks)
    return BackfillSummary(len(files), series, counts, refused, time.monotonic() - began)


def _load(connection: Connection, path: Path, blocks: list[SeriesBlock]) -> tuple[Counts, int]:
    known = telemetry.device_entries(connection, sorted({block.device_id for block in blocks}))
    for block in blocks:
        if block.device_id not in known:
            raise InvalidInputError(
                f"{path} has readings of device {block.device_id}, which is not in the portfolio; import that first."
            )
    numbers = telemetry.series_ids(connection, [(block.device_id, block.quantity) for block in blocks])
    telemetry.hold_dirty_epoch(connection)
    clean = [_clean(block) for block in blocks]
    refused = sum(len(block.time_us) - len(kept.time_us) for block, kept in zip(blocks, clean, strict=True))
    clean = [block for block in clean if len(block.time_us)]
    if not clean:
        return Counts(), refused
    ids = [numbers[block.device_id, block.quantity] for block in clean]
    batch = ReadingBatch(
        np.concatenate([np.full(len(block.time_us), number, np.int32) for block, number in zip(clean, ids, strict=True)]),
        _joined(clean, lambda block: block.time_us),
        np.concatenate([block.value for block in clean]),
        _joined(clean, lambda block: block.received_us),
        _joined(clean, lambda block: block.sequence),
    )
    counts = _store(connection, batch)
    if counts.stored or counts.conflicts:
        telemetry.mark_dirty(
            connection,
            [
                (number, int(block.time_us.min()), int(block.time_us.max()) + 1)
                for block, number in zip(clean, ids, strict=True)
            ],
        )
        arrivals.update_devices(connection, _states(clean))
    return counts, refused


def _joined(blocks: list[SeriesBlock], part: Callable[[SeriesBlock], NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([part(block) for block in blocks])


def _clean(block: SeriesBlock) -> SeriesBlock:
    row = reading_quantity(block.quantity)
    good = np.isfinite(block.value) & (block.value >= row.low) & (block.value <= row.high)
    good &= block.time_us <= block.received_us + _FUTURE_US
    if good.all():
        return block
    times, values = block.time_us[good], block.value[good]
    return SeriesBlock(
        block.device_id, block.quantity, times, values, block.received_us[good], block.sequence[good]
    )


def _store(connection: Connection, batch: ReadingBatch) -> Counts:
    """Straight into the table when all is new (twice as fast), else through the staged merge."""
    unnumbered = batch.sequence == telemetry.NO_SEQUENCE
    if unnumbered.any() and not unnumbered.all():
        return telemetry.merge_readings(connection, batch)
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT straight")
        try:
            return telemetry.copy_readings(connection, batch)
        except psycopg2.errors.UniqueViolation:
            cursor.execute("ROLLBACK TO SAVEPOINT straight")
    return telemetry.merge_readings(connection, batch)


def _states(blocks: list[SeriesBlock]) -> DeviceUpdate:
    """Each device as of its newest reading; the number is that of its newest numbered one: numbering may have restarted."""
    newest: dict[str, tuple[int, int]] = {}
    numbered: dict[str, tuple[int, int]] = {}
    for block in blocks:
        device = block.device_id
        with_number = np.flatnonzero(block.sequence != telemetry.NO_SEQUENCE)
        if len(with_number):
            last = with_number[np.lexsort((block.sequence[with_number], block.time_us[with_number]))[-1]]
            mine = (int(block.time_us[last]), int(block.sequence[last]))
            numbered[device] = max(mine, numbered.get(device, mine))
        held = newest.get(device, (0, 0))
        newest[device] = (max(held[0], int(block.time_us.max())), max(held[1], int(block.received_us.max())))
    names = sorted(newest)
    rows = [newest[name] for name in names]
    numbers = [numbered.get(name) for name in names]
    times = [row[0] for row in rows]
    return DeviceUpdate(
        names, times, [row[1] for row in rows], [number[1] if number else None for number in numbers],
        [number[0] if number else None for number in numbers], [True] * len(names), times, [0] * len(names),
    )  # fmt: skip
