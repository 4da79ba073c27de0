"""Ingest against a bare consumer that throws messages away, single-row inserts and raw COPY, all here in one run.

Every figure counts messages from the first publish to the last row that can be seen in the table; what is lost is counted in
the table itself.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from statistics import median

import numpy as np
import paho.mqtt.client as paho
import psycopg2
import shapely

from benchmarks.load import LoadReport, Stream, blast
from benchmarks.memory import peak_mb
from collateral.db import telemetry
from collateral.db.migrate import migrate
from collateral.db.pool import Pool, Role
from collateral.db.reference import write_portfolio
from collateral.domain import Borrower, Device, Loan, LoanSite, Portfolio, Site, SiteKind
from collateral.errors import ServiceError
from collateral.services import local
from iot.mqtt import leave, make_client
from iot.topics import subscriptions

QUANTITIES = ("active_power_kw", "energy_total_kwh", "temperature_degc")
DEVICES = 500
SAMPLES = 20
START_MS = 1_700_000_000_000
STRIDE_MS = 10_000_000_000
"""Between the times of two measurements, so that none meets the rows of another."""
STALL_S = 60.0
INSERTS = 1_000
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Sizes:
    """How much is sent."""

    bare: int
    """Messages to the bare consumer each time, and to ingest beside the sustained load."""
    messages: int
    """Of the sustained load."""
    array_messages: int
    shared_messages: int
    visible_s: float

    @classmethod
    def of(cls, quick: bool) -> Sizes:
        """Small for a look, else a minute of sustained load."""
        return cls(30_000, 60_000, 2_000, 60_000, 5.0) if quick else cls(300_000, 3_000_000, 75_000, 500_000, 20.0)


@dataclass(frozen=True)
class Bench:
    """The servers and where they are."""

    runtime: Path
    database_url: str
    mqtt_url: str
    fleet_url: str


@dataclass(frozen=True)
class Run:
    """One load taken in by ingest."""

    messages_per_s: float
    points_per_s: float
    rss_mb: float
    """Peaks of all processes added."""
    lost: int
    duplicates: int
    load_cpu_us: float
    """Processor time of the load generator for a message."""


def run(quick: bool) -> dict[str, object]:
    """All figures of `collateral bench ingest`."""
    sizes = Sizes.of(quick)
    with servers() as bench:
        _ingest(bench, _stream(2_000, 0), 1)  # makes chunks, series and caches
        bare, ours = _in_turn(bench, sizes)
        single = ours[len(ours) // 2]
        array = _ingest(bench, _stream(sizes.array_messages, 4, SAMPLES), 1)
        p99 = _visible(bench, single.messages_per_s / 2, sizes.visible_s)
        double = _ingest(bench, _stream(sizes.shared_messages, 6), 2)
        copied = _copy(bench, min(3_000_000, sizes.messages * len(QUANTITIES)))
        inserted = _insert(bench)
    ratios = [2 * one.messages_per_s / sum(beside) for one, beside in zip(ours, pairwise(bare), strict=True)]
    all_runs = [*ours, array, double]
    return {
        "msgs_per_s": round(single.messages_per_s),
        "points_per_s": round(single.points_per_s),
        "array_points_per_s": round(array.points_per_s),
        "ratio_to_bare_consumer": round(median(ratios), 3),
        "ratios_to_bare_consumer": [round(ratio, 3) for ratio in ratios],
        "ratio_to_copy": round(single.points_per_s / copied, 3),
        "lost": sum(one.lost for one in all_runs),
        "duplicates": sum(one.duplicates for one in all_runs),
        "peak_rss_mb": round(max(single.rss_mb, array.rss_mb), 1),
        "p99_visible_s": round(p99, 3),
        "two_process_msgs_per_s": round(double.messages_per_s),
        "two_process_rss_mb": round(double.rss_mb, 1),
        "bare_consumer_msgs_per_s": round(median(bare)),
        "copy_points_per_s": round(copied),
        "single_row_insert_points_per_s": round(inserted),
        "load_cpu_us": round(single.load_cpu_us, 1),
        "messages": sizes.messages,
        "cores": os.cpu_count(),
    }


def _in_turn(bench: Bench, sizes: Sizes) -> tuple[list[float], list[Run]]:
    """Rates of the bare consumer, and ingest between each two of them, the sustained load in the middle.

    The speed of a machine changes within minutes: a ratio holds between neighbours only. Both take the same messages from
    the same broker and load generator, which is ahead of each by no more than `load.AHEAD` messages.
    """
    bare = [_bare(bench, sizes.bare)]
    ours: list[Run] = []
    for place, count in enumerate((sizes.bare, sizes.messages, sizes.bare), 1):
        ours.append(_ingest(bench, _stream(count, place), 1))
        bare.append(_bare(bench, sizes.bare))
    return bare, ours


@contextmanager
def servers() -> Iterator[Bench]:
    """A private database and broker with `DEVICES` registered devices, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="collateral-bench-"))
    folder.chmod(0o755)
    endpoints = local.ensure(folder)
    try:
        migrate(endpoints.database_url)
        with Pool(endpoints.database_url, Role.APP, size=1) as pool, pool.connection() as connection:
            write_portfolio(connection, _portfolio(), datetime.now(UTC), "bench")
        yield Bench(folder, endpoints.database_url, endpoints.mqtt_url, endpoints.mqtt_fleet_url)
    finally:
        local.down(folder)
        subprocess.run(["/bin/rm", "-rf", str(folder)], check=False)


def _portfolio() -> Portfolio:
    place = shapely.box(121.0, 31.0, 121.001, 31.001)
    site = Site("S1", "B1", "bench", "bench", SiteKind.FACTORY, "Asia/Shanghai", 32651, place, False, None, None, None)
    loan = Loan("L1", "B1", "b", "o", "CNY", Decimal(1), Decimal(1), date(2020, 1, 1), date(2040, 1, 1), None)
    devices = tuple(Device(f"d{n:03d}", "S1", "", "", "third_party", QUANTITIES, 1.0, "") for n in range(DEVICES))
    return Portfolio(
        borrowers=(Borrower("B1", "b", "b", "", ""),), loans=(loan,), sites=(site,), loan_sites=(LoanSite("L1", "S1"),),
        devices=devices,
    )  # fmt: skip


def _stream(count: int, place: int, samples: int = 0) -> Stream:
    return Stream(count, START_MS + place * STRIDE_MS, QUANTITIES, DEVICES, samples)


def _bare(bench: Bench, count: int) -> float:
    """Messages a second of a paho client that acknowledges and forgets."""
    ready: Queue[float] = _CONTEXT.Queue()
    through = _CONTEXT.Value("q", 0, lock=False)
    consumer = _CONTEXT.Process(target=_consume, args=(bench.mqtt_url, count, ready, through), daemon=True)
    consumer.start()
    ready.get(timeout=30)
    began = time.time()
    blast(bench.fleet_url, _stream(count, 0), done=lambda: through.value)
    ended = ready.get(timeout=STALL_S + count / 2000)
    consumer.join(timeout=10)
    return count / (ended - began)


def _consume(url: str, count: int, ready: Queue[float], through: Synchronized[int]) -> None:
    """paho in a single-threaded select loop, reading as long as there is something: the fastest it can be used."""
    client = make_client(url, "bare-consumer", clean_session=True, manual_ack=True)
    seen = 0

    def on_message(_: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        nonlocal seen
        seen += 1
        client.ack(message.mid, message.qos)
        if seen % 500 == 0:
            through.value = seen

    def on_connect(*_: object) -> None:
        client.subscribe([(topic, 1) for topic in subscriptions()])

    def on_subscribe(*_: object) -> None:
        ready.put(time.time())

    client.on_message = on_message
    client.on_connect = on_connect
    client.on_subscribe = on_subscribe
    client.reconnect()
    deadline = time.monotonic() + STALL_S + count / 1000
    while seen < count and time.monotonic() < deadline:
        line = client.socket()
        if line is None:
            break
        select.select([line], [line] if client.want_write() else [], [], 0.5)
        before = -1
        while before != seen < count:
            before = seen
            client.loop_read()
        client.loop_write()
        client.loop_misc()
    ready.put(time.time())
    leave(client)


def _ingest(bench: Bench, stream: Stream, processes: int) -> Run:
    """Takes `stream` in with one or several services."""
    share = "bench" if processes > 1 else ""
    before = _tally(bench)
    with _ingesting(bench, processes, share) as pids:
        began = time.time()
        with _Watch(bench) as watch:
            report = blast(bench.fleet_url, stream, done=lambda: watch.tally().messages - before.messages)
            _wait(lambda: watch.tally().points - before.points >= stream.points, stream.count)
        seconds = time.time() - began
        rss = sum(peak_mb(pid) for pid in pids)
    return Run(
        stream.count / seconds, stream.points / seconds, rss, stream.points - _stored(bench, stream),
        _tally(bench).duplicates - before.duplicates, report.cpu_s / stream.count * 1e6,
    )  # fmt: skip


def _stored(bench: Bench, stream: Stream) -> int:
    """Rows of a stream in the table."""
    span = (telemetry.from_us(stream.start_ms * 1000), telemetry.from_us((stream.start_ms + STRIDE_MS) * 1000))
    with closing(psycopg2.connect(bench.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM reading WHERE time >= %s AND time < %s", span)
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _ingesting(bench: Bench, processes: int, share: str = "") -> Iterator[list[int]]:
    environment = {**os.environ, "COLLATERAL_DATABASE_URL": bench.database_url, "COLLATERAL_MQTT_URL": bench.mqtt_url}
    started: list[subprocess.Popen[bytes]] = []
    logs = [bench.runtime / f"ingest{n}-{time.monotonic_ns()}.log" for n in range(processes)]
    try:
        for n, log in enumerate(logs):
            command = [sys.executable, "-m", "collateral.cli", "ingest", "--client-id", f"bench{share}{n}"]
            with log.open("wb") as stderr:
                command += ["--share", share] if share else []
                started.append(
                    subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stderr)
                )
        _wait(lambda: all(b"subscribed" in log.read_bytes() for log in logs), 0)
        yield [pid for process in started for pid in _family(process.pid)]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=60)
        _forget_sessions(bench, [f"bench{share}{n}" for n in range(processes)])


def _forget_sessions(bench: Bench, client_ids: list[str]) -> None:
    """So that the broker does not queue the next measurement for those who are gone."""
    for client_id in client_ids:
        client = make_client(bench.mqtt_url, client_id, clean_session=True)
        client.reconnect()
        deadline = time.monotonic() + 5
        while not client.is_connected() and time.monotonic() < deadline:
            client.loop(0.1)
        leave(client)


def _visible(bench: Bench, rate: float, seconds: float) -> float:
    """99th percentile of the time from publishing a message to seeing its readings in the table, at `rate`.

    One service takes messages in their order and counts them in the transaction that stores them: message n is to be seen
    when n are counted.
    """
    stream = _stream(max(1_000, int(rate * seconds)), 5)
    before = _tally(bench).messages
    seen: list[tuple[int, float]] = [(0, time.time())]
    with _ingesting(bench, 1):
        result: Queue[LoadReport] = _CONTEXT.Queue()
        sender = _CONTEXT.Process(target=_send, args=(bench.fleet_url, stream, rate, result), daemon=True)
        sender.start()
        deadline = time.monotonic() + seconds * 4 + STALL_S
        with _Watch(bench) as watch:
            while seen[-1][0] < stream.count and time.monotonic() < deadline:
                seen.append((watch.tally().messages - before, time.time()))
                time.sleep(0.005)
        report = result.get(timeout=30)
        sender.join(timeout=10)
    sent_n, sent_at = np.array(report.sent_at).T
    seen_n, seen_at = np.array(seen).T
    numbers = np.arange(1, stream.count + 1)
    published = sent_at[np.searchsorted(sent_n, numbers)]
    arrived = np.searchsorted(seen_n, numbers)
    if arrived.max() >= len(seen_at):
        raise ServiceError(f"Only {int(seen_n.max())} of {stream.count} messages became visible: too slow for this rate.")
    return float(np.quantile(seen_at[arrived] - published, 0.99))


def _send(url: str, stream: Stream, rate: float, result: Queue[LoadReport]) -> None:
    result.put(blast(url, stream, rate))


def _copy(bench: Bench, count: int) -> float:
    """Points a second of raw binary COPY into the same table."""
    ids = np.arange(count, dtype=np.int32) % 1000 + 1_000_000
    times = (START_MS + 7 * STRIDE_MS) * 1000 + np.arange(count, dtype=np.int64) // 1000 * 1_000_000
    batch = telemetry.ReadingBatch(ids, times, np.ones(count), times, np.arange(count, dtype=np.int64))
    with Pool(bench.database_url, Role.INGEST, size=1) as pool:
        began = time.monotonic()
        with pool.connection() as connection:
            telemetry.copy_readings(connection, batch)
        return count / (time.monotonic() - began)


def _insert(bench: Bench) -> float:
    """Points a second of one INSERT and one commit for each, as a simple consumer would do it."""
    at = telemetry.from_us((START_MS + 8 * STRIDE_MS) * 1000)
    with closing(psycopg2.connect(bench.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        began = time.monotonic()
        for n in range(INSERTS):
            cursor.execute(
                "INSERT INTO reading (series_id, time, value, received_at, sequence) VALUES (%s, %s, 1, %s, %s)"
                " ON CONFLICT DO NOTHING",
                (1_000_000 + n, at, at, n),
            )
        return INSERTS / (time.monotonic() - began)


@dataclass(frozen=True)
class Tally:
    """What ingest accounted for over all runs."""

    messages: int
    points: int
    duplicates: int


class _Watch:
    """Asks for the tally over one connection, so that asking costs next to nothing."""

    def __init__(self, bench: Bench) -> None:
        self._connection = psycopg2.connect(bench.database_url)
        self._connection.autocommit = True

    def tally(self) -> Tally:
        """What is accounted for now."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(sum(messages), 0)::bigint, coalesce(sum(points), 0)::bigint,"
                " coalesce(sum(duplicates), 0)::bigint FROM ingest_tally"
            )
            row = cursor.fetchone()
        assert row is not None
        return Tally(*row)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()


def _tally(bench: Bench) -> Tally:
    with _Watch(bench) as watch:
        return watch.tally()


def _wait(condition: Callable[[], bool], messages: int) -> None:
    deadline = time.monotonic() + STALL_S + messages / 1000
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceError("The load did not reach the table in time; look at the logs of ingest.")
        time.sleep(0.05)


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(int(child) for child in children.read_text().split())] if children.is_file() else [pid]
