"""The writer process: takes batches from a pipe, commits each in one transaction and answers.

The network process acknowledges a batch to the broker only after the answer, so nothing is acknowledged that is not durable.
A batch the database refuses for what is in it is halved until the guilty message stands alone, which goes to quarantine: no
message can block those behind it. While the database is away the batch waits here.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing.connection import Connection as Pipe

import numpy as np
import psycopg2
from numpy.typing import NDArray
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import arrivals, rollups, sparkplug, telemetry
from collateral.db.pool import Connections, Pool, Role
from collateral.db.quarantine import Selection
from collateral.db.telemetry import Counts, QuarantineRow, ReadingBatch
from collateral.errors import ServiceError
from collateral.log import configure_logging
from iot.backoff import Backoff
from iot.days import DAY_US, HOUR_US
from iot.fastpath import Heard, PlainReader, Points
from iot.intake import Block, RawMessage
from iot.presence import NO_TIME, device_update, heard_numbers, joined, trace_messages, traces_of
from iot.quarantine import retry_quarantined
from iot.registry import Registry
from iot.settle import Missing, settle
from iot.sorting import SortedBatch, sort_batch, status_event
from iot.sparkplug_nodes import Rebirth, SparkplugBook
from iot.topicbook import SeriesKey, TopicBook

HOURLY_US = 2 * DAY_US
"""What is younger is marked dirty by the hour, what is older by the day."""
HELD_US = 30_000_000
"""Longest time between arrival and commit that is not told; less than `iot.statements.SETTLE_US`."""
MOST_ATTEMPTS = 20
"""A message without aliases is tried at this many births; later by `collateral quarantine retry` only."""
SETTLE_EVERY_S = 4.0
"""Between two rounds of settling message numbers."""
ASKS_AT_ONCE = 250
"""Requests handed over together: they fit into the pipe unread. The network process may be writing a batch just then, and
two processes that both write would wait for each other for ever."""
ASK_PAUSE_S = 0.05
_LOG = logging.getLogger("iot.writer")


@dataclass(frozen=True)
class WriterPlan:
    """What the writer process needs to know."""

    database_url: str
    client_id: str
    started_at: datetime
    verbose: bool = False
    patience_s: float = 1.0
    """How long missing numbers are waited for before they are told."""


@dataclass(frozen=True)
class Answer:
    """A batch is durable."""

    counts: Counts
    seconds: float
    lag_s: float
    """From the arrival of its oldest message to the commit."""
    rejects: Mapping[str, int]
    """Quarantined values by reason since the process began."""


Commit = Callable[[Sequence[Block]], Counts]
Attempt = Callable[[Commit, Sequence[Block]], Counts]


def _at_once(commit: Commit, blocks: Sequence[Block]) -> Counts:
    return commit(blocks)


class BatchWriter:
    """Commits batches of raw messages; keeps routes, newest times and dirty marks in memory between them."""

    def __init__(self, pool: Connections, client_id: str, started_at: datetime, replaying: bool = False) -> None:
        """`replaying`: messages are tried again from quarantine; those refused again are noted in `refused`."""
        self._pool = pool
        self._client_id = client_id
        self._started_at = started_at
        self._registry = Registry(self._lookup)
        self._topics = TopicBook(self._registry, self._find_series)
        self._newest = np.empty(0, np.int64)
        """Newest time known to be stored, by device number; `NO_TIME` before anything is known."""
        self._epoch = 0
        self._marked: set[tuple[int, int, int]] = set()
        self.rejects: Counter[str] = Counter()
        """Quarantined values by reason."""
        self._replaying = replaying
        self.refused: list[QuarantineRow] = []
        self.sparkplug = SparkplugBook(self._find_nodes, replaying)

    def write(self, blocks: Sequence[Block], attempt: Attempt = _at_once) -> Counts:
        """Commits `blocks` in one transaction, or in several when the database refuses what is in it.

        Args:
            blocks: messages in order of arrival.
            attempt: calls what commits a part, again while the database is away: a part is tried again by itself, so that
                those before it are counted once.

        Raises:
            psycopg2.OperationalError, psycopg2.InterfaceError, ServiceError: the database is away and `attempt` does not
                wait; parts may be committed, and writing the same again finds them as duplicates.
        """
        try:
            return attempt(self._commit, blocks)
        except (psycopg2.DataError, psycopg2.IntegrityError, psycopg2.ProgrammingError, psycopg2.NotSupportedError) as error:
            first, second = halves(blocks)
            if second:
                return self.write(first, attempt) + self.write(second, attempt)
            _LOG.warning("a message cannot be stored and goes to quarantine: %s", ascii(str(error).strip())[:200])
            return attempt(partial(self._refuse, ascii(type(error).__name__)), first)

    def _refuse(self, detail: str, blocks: Sequence[Block]) -> Counts:
        """One message that the database does not take goes to quarantine."""
        alone = blocks[0].message(0)
        reject = QuarantineRow(alone.received_us, alone.topic, alone.payload, "database", detail, "")
        with self._pool.connection() as connection:
            return self._close(connection, 1, Counts(), [reject])

    def _commit(self, blocks: Sequence[Block]) -> Counts:
        self._topics.renew()
        reader = PlainReader(self._topics.by_topic, self._topics.slots)
        others = reader.read(blocks)
        if others and self._topics.learn({block.topic(n) for block, n in others}):
            others = reader.read_again(others)
        points, heard, refused = reader.finish()
        raw = sorted((block.message(n) for block, n in (*others, *refused)), key=_by_arrival)
        rest = sort_batch(raw, self._registry, self.sparkplug)
        batch = self._joined(points, heard, rest)
        traces = traces_of(heard)
        if rest.heard:
            numbers = {message.device_id: self._topics.number(message.device_id) for _, message in rest.heard}
            traces = joined(traces, trace_messages(rest.heard, numbers))
        update, devices = device_update(traces, self._topics.names) if len(traces.device) else (None, None)
        device = self._topics.slots.arrays()[1][batch.slot]
        with self._pool.connection() as connection:
            marks = self._mark_dirty(connection, batch.rows)
            newer = batch.rows.time_us > self._newest_of(connection, device)
            merged = arrivals.store_readings(connection, batch.rows, newer & batch.alone)
            if update is not None and devices is not None:
                sent = [0] * len(update.messages) if self._replaying else update.messages
                arrivals.update_devices(connection, replace(update, messages=sent))
                arrivals.keep_heard(
                    connection, update.device_id, heard_numbers(traces, devices), max(update.received_us)
                )
            events = [status_event(m.device_id, m.status, received) for received, m in rest.heard if m.status is not None]
            events += [event for site, event in self.sparkplug.gaps if self._registry.may_be_at(event.device_id, site)]
            telemetry.write_device_events(connection, events)
            sparkplug.write_nodes(connection, *self.sparkplug.changes())
            counts = self._close(connection, sum(map(len, blocks)), merged, rest.quarantined)
        self.sparkplug.committed()
        self._marked |= marks  # only what is committed counts as marked
        np.maximum.at(self._newest, device, batch.rows.time_us)
        return counts

    def _close(
        self, connection: Connection, messages: int, merged: Counts, quarantined: Sequence[QuarantineRow]
    ) -> Counts:
        """Keeps the rejects and counts all."""
        kept = telemetry.quarantine(connection, quarantined)
        duplicates = merged.duplicates + len(quarantined) - kept
        points = merged.points + len(quarantined)
        counts = Counts(messages, points, merged.stored, duplicates, merged.conflicts, kept)
        telemetry.add_tally(connection, self._client_id, self._started_at, counts)
        self.rejects.update(row.reason for row in quarantined)
        if self._replaying:
            self.refused += quarantined
        return counts

    def _lookup(self, device_ids: Sequence[str]) -> dict[str, telemetry.DeviceEntry]:
        with self._pool.connection() as connection:
            return telemetry.device_entries(connection, device_ids)

    def _find_series(self, device_ids: Sequence[str]) -> dict[SeriesKey, int]:
        with self._pool.connection() as connection:
            found = rollups.series_of_devices(connection, device_ids)
        return {(row.device_id, row.quantity): row.series_id for row in found}

    def _find_nodes(
        self, keys: Sequence[tuple[str, str]]
    ) -> tuple[list[sparkplug.NodeRow], list[sparkplug.BirthRow]]:
        with self._pool.connection() as connection:
            return sparkplug.read_nodes(connection, keys)

    def _joined(self, points: Points, heard: Heard, rest: SortedBatch) -> _Batch:
        """All values sorted by series and time, as every writer takes its locks; the first to arrive comes first."""
        self._number_series(rest.points)
        n = len(rest.points)
        slot = np.fromiter((self._topics.slot(point[0], point[1]) for point in rest.points), np.int32, n)
        slot = np.concatenate([points.slot, slot])
        times = np.fromiter((point[2] for point in rest.points), np.int64, n)
        values = np.fromiter((point[3] for point in rest.points), np.float64, n)
        received = np.fromiter((point[4] for point in rest.points), np.int64, n)
        sequence = np.fromiter((telemetry.NO_SEQUENCE if p[5] is None else p[5] for p in rest.points), np.int64, n)
        series = self._topics.slots.arrays()[0][slot]
        rows = ReadingBatch(
            series,
            np.concatenate([points.time_us, times]),
            np.concatenate([points.value, values]),
            np.concatenate([heard.received_us[points.message], received]),
            np.concatenate([heard.sequence[points.message], sequence]),
        )
        order = np.lexsort((rows.received_us, rows.time_us, rows.series_id))
        rows = rows.where(order)
        same = (np.diff(rows.series_id) == 0) & (np.diff(rows.time_us) == 0)
        alone = ~(np.append(same, False) | np.append(False, same)) if len(rows) else np.empty(0, bool)
        return _Batch(rows, slot[order], alone)

    def _number_series(self, points: Sequence[tuple[str, str, int, float, int, int | None]]) -> None:
        missing = {(point[0], point[1]) for point in points} - self._topics.series.keys()
        if missing:
            with self._pool.connection() as connection:
                found = telemetry.series_ids(connection, missing)
            self._topics.add_series(found)

    def _newest_of(self, connection: Connection, device: NDArray[np.int32]) -> NDArray[np.int64]:
        """Newest time stored of the device of each row, as far as this process knows; asks for devices seen first."""
        names = self._topics.names
        if len(self._newest) < len(names):
            known = len(self._newest)
            found = arrivals.newest_times(connection, names[known:])
            fresh = [found.get(name, NO_TIME) for name in names[known:]]
            self._newest = np.concatenate([self._newest, np.array(fresh, np.int64)])
        return self._newest[device]

    def _mark_dirty(self, connection: Connection, rows: ReadingBatch) -> set[tuple[int, int, int]]:
        """Marks each series and UTC hour (day where it is long past) not marked in this epoch; returns the new marks."""
        if len(rows) == 0:
            return set()
        epoch = telemetry.hold_dirty_epoch(connection)
        if epoch != self._epoch or len(self._marked) > 1_000_000:
            self._epoch = epoch
            self._marked = set()
        width = np.where(rows.time_us > rows.received_us - HOURLY_US, HOUR_US, DAY_US)
        begin = rows.time_us // width * width
        first = np.flatnonzero((np.diff(rows.series_id, prepend=-1) != 0) | (np.diff(begin, prepend=-1) != 0))
        found = zip(rows.series_id[first].tolist(), begin[first].tolist(), width[first].tolist(), strict=True)
        marks = {(series, start, start + long) for series, start, long in found} - self._marked
        telemetry.mark_dirty(connection, sorted(marks))
        return marks


@dataclass(frozen=True)
class _Batch:
    rows: ReadingBatch
    slot: NDArray[np.int32]
    alone: NDArray[np.bool_]
    """No other row of the batch has the same key."""


def halves(blocks: Sequence[Block]) -> tuple[list[Block], list[Block]]:
    """The messages of `blocks` in two parts of like number; the second is empty for a single message."""
    middle = -(-sum(map(len, blocks)) // 2)
    first: list[Block] = []
    second: list[Block] = []
    for block in blocks:
        cut = min(len(block), middle)
        middle -= cut
        if cut:
            first.append(block.slice(0, cut))
        if cut < len(block):
            second.append(block.slice(cut, len(block)))
    return first, second


def _by_arrival(message: RawMessage) -> int:
    return message.received_us


def run_writer(pipe: Pipe, plan: WriterPlan) -> None:
    """Main function of the process: answers each batch once it is durable; ends when the pipe closes."""
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, signal.SIG_IGN)  # the network process says when to end, by closing the pipe
    configure_logging(plan.verbose)
    with Pool(plan.database_url, Role.INGEST, size=1) as pool, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        writer = BatchWriter(pool, plan.client_id, plan.started_at)
        settling = Settling(pool, plan.patience_s)
        pipe.send("ready")
        asks: deque[Missing | Rebirth] = deque()
        while True:
            if not pipe.poll(ASK_PAUSE_S if asks else settling.due_in_s()):
                if asks:
                    _ask(pipe, asks)
                else:
                    asks.extend(settling.run())
                continue
            blocks = pipe.recv()
            began = time.monotonic()
            counts = writer.write(blocks, partial(patiently, pipe))
            lag_s = time.time() - blocks[0].received_us / 1e6
            pipe.send(Answer(counts, time.monotonic() - began, lag_s, dict(writer.rejects)))
            asks.extend(settling.heard())
            asks.extend(writer.sparkplug.asks)
            writer.sparkplug.asks = []
            _ask(pipe, asks)
            _explain(pool, writer)


def _ask(pipe: Pipe, asks: deque[Missing | Rebirth]) -> None:
    """Hands over the first `ASKS_AT_ONCE`; the others stay."""
    if asks:
        pipe.send([asks.popleft() for _ in range(min(len(asks), ASKS_AT_ONCE))])


def _explain(pool: Pool, writer: BatchWriter) -> None:
    """Tries what waits in quarantine for the births that were just heard; what fails now waits for the next birth."""
    born, writer.sparkplug.born = writer.sparkplug.born, set()
    if not born:
        return
    waiting = Selection(reasons=("unknown_alias",), devices=tuple(sorted(born)), most_attempts=MOST_ATTEMPTS)
    try:
        summary = retry_quarantined(pool, waiting, BatchWriter)
        if summary.earliest is not None and summary.earliest < datetime.now(UTC) - timedelta(hours=2):
            _LOG.warning("readings that waited for a birth were stored: collateral observe --since %s", summary.since)
    except (psycopg2.Error, ServiceError) as error:
        writer.sparkplug.born |= born
        _LOG.warning("messages without aliases are tried again later: %s", ascii(str(error).strip())[:200])


class Settling:
    """Settles the numbers of messages some time after batches were committed."""

    def __init__(self, pool: Pool, patience_s: float) -> None:
        self._pool = pool
        self._patience_s = patience_s
        self._next = 0.0
        self._until = 0.0

    def due_in_s(self) -> float | None:
        """Longest time to wait for the next batch; None when there is nothing to settle."""
        now = time.monotonic()
        return max(0.0, self._next - now) if now < self._until else None

    def heard(self) -> list[Missing]:
        """A batch was committed; settles when it is time, for under load the pipe is never empty."""
        now = time.monotonic()
        self._until = now + self._patience_s + 2 * SETTLE_EVERY_S
        return self.run() if now >= self._next else []

    def run(self) -> list[Missing]:
        """Settles what is there; returns the gaps found."""
        try:
            return settle(self._pool, time.time_ns() // 1000, round(self._patience_s * 1e6))
        except (psycopg2.Error, ServiceError) as error:
            _LOG.warning("message numbers are settled later: %s", ascii(str(error).strip())[:200])
            return []
        finally:
            self._next = time.monotonic() + SETTLE_EVERY_S


def restamped(blocks: Sequence[Block], now_us: int) -> list[Block]:
    """`blocks` arriving now, from the first one on that waited for the database longer than `HELD_US`.

    What counts as known at a time must have been in the table soon after it, or a day would be observed without it and
    never looked at again. Messages keep their order: each arrives a microsecond after the one before.
    """
    stamped: list[Block] = []
    held = False
    for block in blocks:
        held = held or now_us - block.received_us > HELD_US
        stamped.append(replace(block, received_us=now_us) if held else block)
        now_us += len(block) if held else 0
    return stamped


def patiently(pipe: Pipe, commit: Commit, blocks: Sequence[Block]) -> Counts:
    """Commits `blocks`, again and again with longer waits while the database is away.

    Raises:
        EOFError: the process at the other end of the pipe is gone.
    """
    backoff = Backoff()
    while True:
        try:
            return commit(restamped(blocks, time.time_ns() // 1000))
        except (psycopg2.OperationalError, psycopg2.InterfaceError, ServiceError) as error:
            wait_s = backoff.next_s()
            _LOG.warning("the database is away, next attempt in %.1f s: %s", wait_s, ascii(str(error).strip())[:200])
            if pipe.poll(wait_s):
                pipe.recv()  # nothing is sent while an answer is due: this is the end of the pipe
