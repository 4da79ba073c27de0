"""The network process of ingest: broker in, batches to the writer process, acknowledgements after its answer.

paho runs in a single-threaded select loop beside the pipe of the writer, so neither waits for the interpreter lock of the
other. One batch is at the writer while the next gathers: under load batches grow by themselves, without load a message waits
`linger_s` at most. What is held is bounded by `max_held`; beyond it the socket is not read and the broker waits.
After a reconnect everything unacknowledged is forgotten here, because the broker delivers it again.
"""

from __future__ import annotations

import logging
import multiprocessing
import select
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import paho.mqtt.client as paho

from collateral.errors import ServiceError
from iot.backoff import Backoff
from iot.broker import FILTERS
from iot.intake import Block, Intake
from iot.metrics import IngestStats, served
from iot.mqtt import leave, make_client_of
from iot.payload import encode_resend
from iot.settle import Missing
from iot.sparkplug import encode_rebirth
from iot.sparkplug_nodes import Rebirth
from iot.topics import Channel, build_topic, subscriptions
from iot.writer import Answer, WriterPlan, run_writer

_LOG = logging.getLogger("iot.ingest")
TICK_S = 0.5
REPORT_S = 60.0
SMALLEST_BATCH = 100
SHORT_LIFE_S = 2.0
SHORT_LIVES = 3
"""So many connections in a row that the broker ended that soon: another service has the same client id."""
SHARED_PATIENCE_S = 30.0
"""Missing numbers may be with another member of the group for this long."""


@dataclass(frozen=True)
class IngestPlan:
    """What one ingest service does."""

    mqtt_url: str
    database_url: str
    client_id: str = "collateral-ingest"
    share: str = ""
    """Shared-subscription group; empty: this service reads everything."""
    sparkplug: bool = True
    """Read Sparkplug topics too. Members of a group each read all of them; what two have stored is a duplicate."""
    batch_messages: int = 10_000
    """Most messages in a batch; fewer while batches take longer than `batch_s`."""
    batch_bytes: int = 2 * 1024 * 1024
    batch_s: float = 0.5
    """A batch that took longer makes the next ones smaller, so that answers come soon and memory stays bounded."""
    linger_s: float = 0.02
    """Longest time a message waits for company."""
    busy_linger_s: float = 0.1
    """The same when `busy_messages` have come meanwhile: in batches of thousands each costs a quarter less."""
    busy_messages: int = 500
    rest_s: float = 0.002
    """Between two looks at the socket while that many are held: fewer calls for more messages each, at half the cost."""
    max_held: int = 20_000
    """Messages held at once; the broker's own in-flight window is usually smaller."""
    max_held_bytes: int = 32 * 1024 * 1024
    stop_timeout_s: float = 30.0
    """How long the last batch may take when the service is told to stop."""
    verbose: bool = False
    metrics_port: int = 0
    """Of the figures for Prometheus on 127.0.0.1; 0: none."""


@dataclass
class _Load:
    """How much is held somewhere."""

    messages: int = 0
    size: int = 0
    """Bytes."""

    def add(self, block: Block) -> None:
        self.messages += len(block)
        self.size += len(block.data)

    def subtract(self, other: _Load) -> None:
        self.messages -= other.messages
        self.size -= other.size


class Ingest:
    """One ingest service; `run` returns after `stop`."""

    def __init__(self, plan: IngestPlan) -> None:
        self.stats = IngestStats()
        self._plan = plan
        self._client = make_client_of(Intake, plan.mqtt_url, plan.client_id, clean_session=False, manual_ack=True)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: _LOG.info("subscribed")
        self._pending: deque[tuple[Block, bytes]] = deque()
        self._pending_load = _Load()
        self._oldest = 0.0
        self._rest_until = 0.0
        self._owed: list[bytes] | None = None
        """Acknowledgements of the batch at the writer; None while the writer is free."""
        self._at_writer = _Load()
        self._limit = plan.batch_messages
        self._stopping = False
        self._connected = False
        self._backoff = Backoff()
        self._retry_at = 0.0
        self._welcome_at = 0.0
        self._short_lives = 0

    def stop(self, *_: object) -> None:
        """Finish what is held, then return from `run`. Safe in a signal handler."""
        self._stopping = True

    def snapshot(self) -> IngestStats:
        """The counters now; safe in another thread."""
        held, at_writer = self._pending_load, self._at_writer
        return replace(
            self.stats, held=held.messages + at_writer.messages, held_bytes=held.size + at_writer.size,
            batch_limit=self._limit,
        )  # fmt: skip

    def run(self) -> IngestStats:
        """Serves until `stop`.

        Raises:
            ServiceError: the writer process ended; nothing that it did not commit was acknowledged.
        """
        with self._writer() as pipe, served(self.snapshot, self._plan.metrics_port):
            _LOG.info("ingest %s begins", self._plan.client_id)
            report_at = time.monotonic() + REPORT_S
            stop_by = float("inf")
            while not (self._stopping and self._drained()):
                now = time.monotonic()
                if self._stopping:
                    stop_by = min(stop_by, now + self._plan.stop_timeout_s)
                    if now > stop_by:
                        _LOG.warning("stopping without the answer of the writer; the broker will deliver again")
                        break
                if now >= report_at:
                    report_at = now + REPORT_S
                    _LOG.info("%s", self.stats)
                self._turn(pipe, now)
            self._leave()
        _LOG.info("ingest %s ends: %s", self._plan.client_id, self.stats)
        return self.stats

    def _turn(self, pipe: Pipe, now: float) -> None:
        """Waits for the socket or the writer and serves both once."""
        self._keep_connected(now)
        socket = self._client.socket()
        readers: list[Any] = [pipe]
        if socket is not None and now >= self._rest_until and self._has_room() and not self._stopping:
            readers.append(socket)
        writers = [socket] if socket is not None and self._client.want_write() else []
        readable, writable, _ = select.select(readers, writers, [], self._wait_s(now))
        if pipe in readable:
            self._take_answer(pipe)
            while pipe.poll():  # emptied before a batch is written, or both processes might wait for each other
                self._take_answer(pipe)
        if socket is not None and socket in readable:
            self._read()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()
        if self._connected and self._client.socket() is None:
            self._lost()
        self._send(pipe)

    def _read(self) -> None:
        """Reads what is there, a few blocks at most, so that the pipe has its turn."""
        for _ in range(8):
            self._client.loop_read()
            now = time.monotonic()
            for block, owed in self._client.take():
                if not self._pending:
                    self._oldest = now
                self._pending.append((block, owed))
                self._pending_load.add(block)
                self.stats.received += len(block)
            if self._client.said:
                self._watch_broker()
            if not self._client.more or not self._has_room():
                break
        if not self._client.more and self._held() >= self._plan.busy_messages:
            self._rest_until = now + self._plan.rest_s

    def _watch_broker(self) -> None:
        """Notes what the broker says of itself; an alarm is told when it begins."""
        said, self._client.said = self._client.said, []
        before, self.stats.broker = self.stats.broker, self.stats.broker.after(said)
        if self.stats.broker.alarm and not before.alarm:
            _LOG.error("the broker's queue overflows or is nearly full; what it drops is lost: %s", self.stats.broker)

    def _has_room(self) -> bool:
        held_bytes = self._pending_load.size + self._at_writer.size
        return self._held() < self._plan.max_held and held_bytes < self._plan.max_held_bytes

    def _held(self) -> int:
        return self._pending_load.messages + self._at_writer.messages

    def _linger_s(self) -> float:
        busy = self._pending_load.messages >= self._plan.busy_messages
        return self._plan.busy_linger_s if busy else self._plan.linger_s

    def _drained(self) -> bool:
        return not self._pending and not self._owed

    def _wait_s(self, now: float) -> float:
        wait_s = self._rest_until - now if now < self._rest_until else TICK_S
        if self._client.socket() is None:
            wait_s = min(wait_s, max(0.0, self._retry_at - now))
        if self._pending and self._owed is None:
            wait_s = min(wait_s, max(0.0, self._oldest + self._linger_s() - now))
        return wait_s

    def _keep_connected(self, now: float) -> None:
        if self._client.socket() is not None or now < self._retry_at or self._stopping:
            return
        wait_s = self._backoff.next_s()  # set back by a welcome, so that a broker that refuses is not stormed
        try:
            self._client.reconnect()
        except (OSError, ValueError) as error:
            _LOG.warning("the broker does not answer (%s), next attempt in %.1f s", error, wait_s)
        self._retry_at = time.monotonic() + wait_s

    def _on_connect(self, client: paho.Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            _LOG.error("the broker refuses this service: %s", reason)
            return
        self._connected = True
        self._welcome_at = time.monotonic()
        if self._short_lives < SHORT_LIVES:  # two that displace each other slow down
            self._backoff.reset()
        self.stats.connects += 1
        _LOG.info("connected; session %s", "resumed" if flags.session_present else "new")
        topics = subscriptions(self._plan.share, self._plan.sparkplug)
        client.subscribe([*((topic, 1) for topic in topics), *((topic, 0) for topic in FILTERS)])

    def _lost(self) -> None:
        """Forgets what the broker will deliver again. The batch at the writer will be found there as duplicates."""
        self._connected = False
        self._pending.clear()
        self._pending_load = _Load()
        if self._owed is not None:
            self._owed = []
        now = time.monotonic()
        wait_s = self._backoff.next_s()
        self._retry_at = now + wait_s
        self._short_lives = self._short_lives + 1 if now - self._welcome_at < SHORT_LIFE_S else 0
        if self._short_lives < SHORT_LIVES:
            _LOG.warning("connection to the broker lost")
            return
        _LOG.error(
            "connection to the broker lost within %.0f s of its welcome, %d times in a row: another service probably took "
            "over the session %r, for a client id belongs to one at a time. End one of them, or give each its own "
            "--client-id and all the same --share GROUP. Nothing that was accepted is lost; next attempt in %.1f s",
            SHORT_LIFE_S, self._short_lives, self._plan.client_id, wait_s,
        )  # fmt: skip

    def _send(self, pipe: Pipe) -> None:
        """Gives the writer the next batch when it is free and the batch is full or has waited long enough."""
        if self._owed is not None or not self._pending:
            return
        plan = self._plan
        waited = time.monotonic() - self._oldest >= self._linger_s()
        if not (waited or self._stopping or self._pending_load.messages >= self._limit):
            return
        batch: list[Block] = []
        load, owed = _Load(), []
        while self._pending and load.messages < self._limit and load.size < plan.batch_bytes:
            block, answer = self._pending.popleft()
            batch.append(block)
            owed.append(answer)
            load.add(block)
        self._pending_load.subtract(load)
        self._owed, self._at_writer = owed, load
        try:
            pipe.send(batch)
        except OSError as error:
            raise _writer_gone() from error

    def _take_answer(self, pipe: Pipe) -> None:
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise _writer_gone() from error
        if isinstance(answer, list):
            self._ask(answer)
            return
        if not isinstance(answer, Answer):
            self._owed = None  # ready for its first batch
            return
        owed = b"".join(self._owed or ())
        self._client.acknowledge(owed)
        self.stats.acknowledged += len(owed) // 4
        self.stats.batches += 1
        self.stats.counts += answer.counts
        self.stats.rejects = answer.rejects
        self.stats.busy_s += answer.seconds
        self.stats.slowest_batch_s = max(self.stats.slowest_batch_s, answer.seconds)
        self.stats.lag_s = answer.lag_s
        self._adapt(answer.seconds)
        self._owed, self._at_writer = None, _Load()

    def _ask(self, missing: list[Missing | Rebirth]) -> None:
        """Asks devices for the numbers that are missing and edge nodes for their births; who cannot does not listen."""
        for gap in missing:
            if isinstance(gap, Rebirth):
                topic = f"spBv1.0/{gap.group_id}/NCMD/{gap.node_id}"
                self._client.publish(topic, encode_rebirth(time.time_ns() // 1_000_000), qos=0)
                continue
            topic = build_topic(gap.site_id, gap.device_id, Channel.REQUEST)
            self._client.publish(topic, encode_resend(gap.first, gap.last), qos=1)

    def _adapt(self, seconds: float) -> None:
        """Smaller batches while they take long, larger ones again while they do not."""
        if seconds > self._plan.batch_s:
            self._limit = max(SMALLEST_BATCH, min(self._limit, self._at_writer.messages) // 2)
        elif seconds < self._plan.batch_s / 2:
            self._limit = min(self._plan.batch_messages, self._limit * 2)

    def _leave(self) -> None:
        """Sends what acknowledgements are left and signs off; the session stays with the broker."""
        deadline = time.monotonic() + 2.0
        while (socket := self._client.socket()) is not None and self._client.want_write():
            if time.monotonic() > deadline:
                break
            select.select([], [socket], [], TICK_S)
            self._client.loop_write()
        leave(self._client)

    @contextmanager
    def _writer(self) -> Iterator[Pipe]:
        """The writer process; the pipe is closed first at the end, which lets it finish and leave."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        ours_is = self._plan
        patience_s = SHARED_PATIENCE_S if ours_is.share else WriterPlan.patience_s
        plan = WriterPlan(ours_is.database_url, ours_is.client_id, datetime.now(UTC), ours_is.verbose, patience_s)
        process: BaseProcess = context.Process(target=run_writer, args=(theirs, plan), name="iot-writer", daemon=True)
        process.start()
        theirs.close()
        self._owed = []  # not ready yet
        try:
            yield ours
        finally:
            ours.close()
            process.join(timeout=5.0)
            if process.is_alive():
                process.kill()
                process.join()


def _writer_gone() -> ServiceError:
    return ServiceError(
        "The writer process of ingest ended; what it had not committed was not acknowledged. Its log says why; start "
        "ingest again."
    )


def serve(plan: IngestPlan) -> IngestStats:
    """Runs ingest in the main thread until SIGTERM or SIGINT."""
    ingest = Ingest(plan)

    def stop(number: int, frame: FrameType | None) -> None:
        ingest.stop()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return ingest.run()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
