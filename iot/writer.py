"""The writer process: takes batches from a pipe, commits each in one transaction and answers.

The network process acknowledges a batch to the broker only after the answer, so nothing is acknowledged that is not durable.
A batch the database refuses for what is in it is halved until the guilty message stands alone, which goes to quarantine: no
message can block those behind it. While the database is away the batch waits here.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from multiprocessing.connection import Connection as Pipe

import numpy as np
import psycopg2

from collateral.db import telemetry
from collateral.db.pool import Pool, Role
from collateral.db.telemetry import Counts, QuarantineRow, ReadingBatch
from collateral.errors import ServiceError
from collateral.log import configure_logging
from iot.backoff import Backoff
from iot.registry import Registry
from iot.sorting import RawMessage, SortedBatch, follow_devices, sort_batch

DAY_US = 86_400_000_000
HELD_US = 30_000_000
"""Longest time between arrival and commit that is not told; less than `iot.statements.SETTLE_US`."""
_LOG = logging.getLogger("iot.writer")
_Point = tuple[str, str, int, float, int, int | None]


@dataclass(frozen=True)
class WriterPlan:
    """What the writer process needs to know."""

    database_url: str
    client_id: str
    started_at: datetime
    verbose: bool = False


@dataclass(frozen=True)
class Answer:
    """A batch is durable."""

    counts: Counts
    seconds: float


class BatchWriter:
    """Commits batches of raw messages; keeps series numbers, devices and dirty marks in memory between them."""

    def __init__(self, pool: Pool, client_id: str, started_at: datetime) -> None:
        self._pool = pool
        self._client_id = client_id
        self._started_at = started_at
        self._registry = Registry(self._lookup)
        self._series: dict[tuple[str, str], int] = {}
        self._epoch = 0
        self._marked: set[tuple[int, int]] = set()

    def write(self, raw: Sequence[RawMessage]) -> Counts:
        """Commits `raw` in one transaction, or in several when the database refuses what is in it.

        Raises:
            psycopg2.OperationalError, psycopg2.InterfaceError, ServiceError: the database is away; nothing was committed
                of what was not counted, and writing the same again is harmless.
        """
        try:
            return self._commit(sort_batch(raw, self._registry))
        except (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.ProgrammingError, psycopg2.NotSupportedError) as error:
            if len(raw) > 1:
                middle = len(raw) // 2
                return self.write(raw[:middle]) + self.write(raw[middle:])
            _LOG.warning("a message cannot be stored and goes to quarantine: %s", ascii(str(error).strip())[:200])
            reject = QuarantineRow(
                raw[0].received_us, raw[0].topic, raw[0].payload, "database", ascii(type(error).__name__), ""
            )
            return self._commit(SortedBatch(quarantined=[reject], messages=1))

    def _commit(self, batch: SortedBatch) -> Counts:
        self._number_series(batch.points)
        rows = self._rows(batch.points)
        points = len(rows) + len(batch.quarantined)
        with self._pool.connection() as connection:
            marks = self._mark_dirty(connection, rows)
            merged = telemetry.merge_readings(connection, rows)
            kept = telemetry.quarantine(connection, batch.quarantined)
            states = telemetry.device_states(connection, sorted(batch.heard), lock=True) if batch.heard else {}
            updates, events = follow_devices(batch.heard, states)
            telemetry.update_device_states(connection, updates)
            telemetry.write_device_events(connection, events)
            duplicates = merged.duplicates + len(batch.quarantined) - kept
            counts = Counts(batch.messages, points, merged.stored, duplicates, merged.conflicts, kept)
            telemetry.add_tally(connection, self._client_id, self._started_at, counts)
        self._marked |= marks  # only what is committed counts as marked
        return counts

    def _lookup(self, device_ids: Sequence[str]) -> dict[str, telemetry.DeviceEntry]:
        with self._pool.connection() as connection:
            return telemetry.device_entries(connection, device_ids)

    def _number_series(self, points: Sequence[_Point]) -> None:
        missing = {(point[0], point[1]) for point in points} - self._series.keys()
        if missing:
            with self._pool.connection() as connection:
                found = telemetry.series_ids(connection, missing)
            self._series.update(found)

    def _rows(self, points: Sequence[_Point]) -> ReadingBatch:
        n = len(points)
        series = self._series
        return ReadingBatch(
            np.fromiter((series[point[0], point[1]] for point in points), np.int32, n),
            np.fromiter((point[2] for point in points), np.int64, n),
            np.fromiter((point[3] for point in points), np.float64, n),
            np.fromiter((point[4] for point in points), np.int64, n),
            np.fromiter((telemetry.NO_SEQUENCE if point[5] is None else point[5] for point in points), np.int64, n),
        )

    def _mark_dirty(self, connection: psycopg2.extensions.connection, rows: ReadingBatch) -> set[tuple[int, int]]:
        """Marks each (series, UTC day) not marked in this epoch yet; returns the new marks."""
        if len(rows) == 0:
            return set()
        epoch = telemetry.hold_dirty_epoch(connection)
        if epoch != self._epoch or len(self._marked) > 1_000_000:
            self._epoch = epoch
            self._marked = set()
        pairs = np.unique(np.stack([rows.series_id.astype(np.int64), rows.time_us // DAY_US]), axis=1)
        marks = set(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True)) - self._marked
        telemetry.mark_dirty(
            connection, [(series, day * DAY_US, (day + 1) * DAY_US) for series, day in sorted(marks)]
        )
        return marks


def run_writer(pipe: Pipe, plan: WriterPlan) -> None:
    """Main function of the process: answers each batch once it is durable; ends when the pipe closes."""
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, signal.SIG_IGN)  # the network process says when to end, by closing the pipe
    configure_logging(plan.verbose)
    with Pool(plan.database_url, Role.INGEST, size=1) as pool, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        writer = BatchWriter(pool, plan.client_id, plan.started_at)
        pipe.send("ready")
        while True:
            raw = pipe.recv()
            began = time.monotonic()
            counts = retry(partial(_write_now, writer, raw), pipe)
            pipe.send(Answer(counts, time.monotonic() - began))


def _write_now(writer: BatchWriter, raw: Sequence[RawMessage]) -> Counts:
    return writer.write(restamped(raw, time.time_ns() // 1000))


def restamped(raw: Sequence[RawMessage], now_us: int) -> Sequence[RawMessage]:
    """`raw` with messages that waited for the database longer than `HELD_US` arriving now.

    What counts as known at a time must have been in the table soon after it, or a day would be observed without it and
    never looked at again.
    """
    return [row._replace(received_us=now_us) if now_us - row.received_us > HELD_US else row for row in raw]


def retry(attempt: Callable[[], Counts], pipe: Pipe | None = None) -> Counts:
    """`attempt` until the database takes it, waiting longer each time; ends with EOFError when the other process is gone."""
    backoff = Backoff()
    while True:
        try:
            return attempt()
        except (psycopg2.OperationalError, psycopg2.InterfaceError, ServiceError) as error:
            wait_s = backoff.next_s()
            _LOG.warning("the database is away, next attempt in %.1f s: %s", wait_s, ascii(str(error).strip())[:200])
            if pipe is None:
                time.sleep(wait_s)
            elif pipe.poll(wait_s):
                pipe.recv()  # nothing is sent while an answer is due: this is the end of the pipe
