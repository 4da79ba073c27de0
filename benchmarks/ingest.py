"""Ingest against a bare consumer that throws messages away and against raw COPY, all on this machine in one run.

Every figure counts messages from the first publish to the last row that can be seen in the table.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np
import paho.mqtt.client as paho
import psycopg2
import shapely

from benchmarks.load import LoadReport, blast
from collateral.db import telemetry
from collateral.db.migrate import migrate
from collateral.db.pool import Pool, Role
from collateral.db.reference import write_portfolio
from collateral.domain import Borrower, Device, Loan, LoanSite, Portfolio, Site, SiteKind
from collateral.errors import ServiceError
from collateral.services import local
from iot.mqtt import leave, make_client
from iot.payload import encode_samples, encode_telemetry
from iot.topics import Channel, build_topic, subscriptions

QUANTITIES = ("active_power_kw", "energy_total_kwh", "temperature_degc")
DEVICES = 500
SAMPLES = 20
START_MS = 1_700_000_000_000
STALL_S = 60.0
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Sizes:
    """How much is sent."""

    messages: int
    array_messages: int
    visible_s: float

    @classmethod
    def of(cls, quick: bool) -> Sizes:
        """Small for a look, else about a minute of sustained load."""
        return cls(20_000, 1_000, 5.0) if quick else cls(1_200_000, 60_000, 20.0)


@dataclass(frozen=True)
class Bench:
    """The servers and where they are."""

    runtime: Path
    database_url: str
    mqtt_url: str
    fleet_url: str


def run(quick: bool) -> dict[str, object]:
    """All figures of `collateral bench ingest`."""
    sizes = Sizes.of(quick)
    with _servers() as bench:
        bare = _bare(bench, sizes.messages)
        single, rss, lost, duplicates = _ingest(bench, _singles(sizes.messages, 0), len(QUANTITIES), 1)
        array, _, lost_array, _ = _ingest(bench, _arrays(sizes.array_messages), SAMPLES * len(QUANTITIES), 1)
        p99 = _visible(bench, single / 2, sizes.visible_s)
        double, _, lost_double, _ = _ingest(bench, _singles(sizes.messages, 200_000_000), len(QUANTITIES), 2)
        copied = _copy(bench, min(3_000_000, sizes.messages * len(QUANTITIES)))
    points = single * len(QUANTITIES)
    return {
        "msgs_per_s": round(single),
        "points_per_s": round(points),
        "array_points_per_s": round(array * SAMPLES * len(QUANTITIES)),
        "ratio_to_bare_consumer": round(single / bare, 3),
        "ratio_to_copy": round(points / copied, 3),
        "lost": lost + lost_array + lost_double,
        "duplicates": duplicates,
        "peak_rss_mb": round(rss, 1),
        "p99_visible_s": round(p99, 3),
        "two_process_msgs_per_s": round(double),
        "bare_consumer_msgs_per_s": round(bare),
        "copy_points_per_s": round(copied),
        "messages": sizes.messages,
        "cores": os.cpu_count(),
    }


@contextmanager
def _servers() -> Iterator[Bench]:
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
    devices = tuple(Device(f"d{n}", "S1", "", "", "third_party", QUANTITIES, 1.0, "") for n in range(DEVICES))
    return Portfolio(
        borrowers=(Borrower("B1", "b", "b", "", ""),), loans=(loan,), sites=(site,), loan_sites=(LoanSite("L1", "S1"),),
        devices=devices,
    )  # fmt: skip


def _topic(n: int) -> bytes:
    return build_topic("S1", f"d{n % DEVICES}", Channel.TELEMETRY).encode()


def _values(n: int) -> dict[str, float]:
    return dict(zip(QUANTITIES, (float(n % 1000), float(n), 20.0), strict=True))


def _singles(count: int, shift_ms: int) -> list[tuple[bytes, bytes]]:
    begin = START_MS + shift_ms
    return [
        (_topic(n), encode_telemetry(n // DEVICES, begin + n // DEVICES * 1000, _values(n))) for n in range(count)
    ]


def _arrays(count: int) -> list[tuple[bytes, bytes]]:
    begin = START_MS + 10_000_000_000
    return [
        (
            _topic(n),
            encode_samples(
                n // DEVICES,
                [(begin + (n // DEVICES * SAMPLES + k) * 1000, _values(n + k)) for k in range(SAMPLES)],
            ),
        )
        for n in range(count)
    ]


def _bare(bench: Bench, count: int) -> float:
    """Messages a second of a paho client that acknowledges and forgets."""
    ready: Queue[float] = _CONTEXT.Queue()
    consumer = _CONTEXT.Process(target=_consume, args=(bench.mqtt_url, count, ready), daemon=True)
    consumer.start()
    ready.get(timeout=30)
    began = time.time()
    _blast(bench, _singles(count, 0))
    ended = ready.get(timeout=STALL_S + count / 2000)
    consumer.join(timeout=10)
    return count / (ended - began)


def _consume(url: str, count: int, ready: Queue[float]) -> None:
    client = make_client(url, "bare-consumer", clean_session=True, manual_ack=True)
    seen = 0

    def on_message(_: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        nonlocal seen
        seen += 1
        client.ack(message.mid, message.qos)

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
        client.loop(0.5)
    ready.put(time.time())
    leave(client)


def _blast(bench: Bench, messages: list[tuple[bytes, bytes]], rate: float = 0.0) -> LoadReport:
    return blast(bench.fleet_url, messages, rate)


def _ingest(
    bench: Bench, messages: list[tuple[bytes, bytes]], per_message: int, processes: int
) -> tuple[float, float, int, int]:
    """Messages a second durable in the table, peak memory in MB, points lost, points counted twice."""
    share = "bench" if processes > 1 else ""
    before = _tally(bench)
    with _ingesting(bench, processes, share) as pids:
        began = time.time()
        _blast(bench, messages)
        expected = before[0] + len(messages) * per_message
        _wait(lambda: _tally(bench)[0] >= expected, len(messages))
        seconds = time.time() - began
        rss = sum(_peak_mb(pid) for pid in pids)
    after = _tally(bench)
    return len(messages) / seconds, rss, expected - after[0], after[1] - before[1]


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
    """99th percentile of the time from publishing a message to seeing it in the table, at `rate`."""
    count = max(100, int(rate * seconds))
    begin = START_MS + 30_000_000_000
    messages = [
        (_topic(0), encode_telemetry(n, begin + n * 1000, {QUANTITIES[1]: float(n)})) for n in range(count)
    ]
    seen: list[tuple[int, float]] = []
    with _ingesting(bench, 1), closing(psycopg2.connect(bench.database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        result: Queue[LoadReport] = _CONTEXT.Queue()
        sender = _CONTEXT.Process(target=_send, args=(bench.fleet_url, messages, rate, result), daemon=True)
        sender.start()
        deadline = time.monotonic() + seconds * 4 + STALL_S
        while (not seen or seen[-1][0] < count) and time.monotonic() < deadline:
            cursor.execute("SELECT coalesce(max(last_sequence), -1) + 1 FROM device_state WHERE device_id = 'd0'"
                           " AND last_time >= %s", (telemetry.from_us(begin * 1000),))
            row = cursor.fetchone()
            seen.append((int(row[0]) if row else 0, time.time()))
            time.sleep(0.01)
        report = result.get(timeout=30)
        sender.join(timeout=10)
    sent_n, sent_at = np.array(report.sent_at).T
    seen_n, seen_at = np.array(seen).T
    numbers = np.arange(1, count + 1)
    published = sent_at[np.searchsorted(sent_n, numbers)]
    arrived = np.searchsorted(np.maximum.accumulate(seen_n), numbers)
    if arrived.max() >= len(seen_at):
        raise ServiceError(f"Only {int(seen_n.max())} of {count} messages became visible: too slow for this rate.")
    return float(np.quantile(seen_at[arrived] - published, 0.99))


def _send(url: str, messages: list[tuple[bytes, bytes]], rate: float, result: Queue[LoadReport]) -> None:
    result.put(blast(url, messages, rate))


def _copy(bench: Bench, count: int) -> float:
    """Points a second of raw binary COPY into the same table."""
    ids = np.arange(count, dtype=np.int32) % 1000 + 1_000_000
    times = (START_MS + 50_000_000_000) * 1000 + np.arange(count, dtype=np.int64) // 1000 * 1_000_000
    batch = telemetry.ReadingBatch(ids, times, np.ones(count), times, np.arange(count, dtype=np.int64))
    with Pool(bench.database_url, Role.INGEST, size=1) as pool:
        began = time.monotonic()
        with pool.connection() as connection:
            telemetry.copy_readings(connection, batch)
        return count / (time.monotonic() - began)


def _tally(bench: Bench) -> tuple[int, int]:
    """Points accounted for, and those of them that were there already, over all runs."""
    with closing(psycopg2.connect(bench.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(stored + duplicates + conflicts + quarantined), 0)::bigint,"
            " coalesce(sum(duplicates), 0)::bigint FROM ingest_tally"
        )
        row = cursor.fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


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


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0
