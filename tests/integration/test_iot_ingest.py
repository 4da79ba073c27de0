"""Ingest on a real broker and database: nothing acknowledged before the commit, nothing lost, nothing twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import paho.mqtt.client as paho
import pytest

from collateral.db.arrivals import numbering
from collateral.db.pool import Pool, Role
from iot.mqtt import leave, make_client
from iot.payload import encode_last_will, encode_samples, encode_status, encode_telemetry
from tests.iot_support import Publisher, device, ingest_process, number, register, rows, wait_for
from tests.services_support import Broker

T0 = 1_704_067_200_000  # 2024-01-01T00:00Z in milliseconds
TOPIC = "cw/v1/S1/m1/telemetry"
STEP = 900_000


@pytest.fixture
def publisher(broker: Broker) -> Iterator[Publisher]:
    made = Publisher(broker.mqtt_fleet_url)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def portfolio(database: str) -> None:
    register(database, [device("m1", ["active_power_kw", "energy_total_kwh"]), device("m2", ["temperature_degc"])])


def messages(first: int, last: int) -> list[tuple[str, bytes]]:
    return [
        (TOPIC, encode_telemetry(n, T0 + n * STEP, {"active_power_kw": 10.0 + n, "energy_total_kwh": 100.0 * n}))
        for n in range(first, last)
    ]


def stored(database: str) -> int:
    return number(database, "SELECT count(*) FROM reading")


def test_stores_every_value_once_with_both_times(
    database: str, broker: Broker, tmp_path: Path, publisher: Publisher
) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path):
        publisher.send(messages(0, 200))
        wait_for(lambda: stored(database) == 400, what="all values")
        publisher.send(messages(0, 200))
        wait_for(lambda: number(database, "SELECT coalesce(sum(duplicates),0) FROM ingest_tally") == 400, what="duplicates")
    first = rows(
        database,
        "SELECT r.time, r.value, r.sequence, r.received_at > r.time FROM reading r JOIN series USING (series_id)"
        " WHERE quantity = 'energy_total_kwh' ORDER BY time LIMIT 1 OFFSET 3",
    )[0]
    assert (int(first[0].timestamp() * 1000), first[1], first[2], first[3]) == (T0 + 3 * STEP, 300.0, 3, True)
    assert stored(database) == 400
    assert number(database, "SELECT count(*) FROM device_event WHERE kind LIKE 'sequence%%'") == 0
    assert rows(database, "SELECT last_sequence, messages, online FROM device_state") == [(199, 400, True)]
    assert number(database, "SELECT count(*) FROM dirty_range") == 2 * 3  # two series, three UTC days


def test_conflict_keeps_both_values(database: str, broker: Broker, tmp_path: Path, publisher: Publisher) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path):
        publisher.send([(TOPIC, encode_telemetry(1, T0, {"active_power_kw": 5.0}))])
        publisher.send([(TOPIC, encode_telemetry(2, T0, {"active_power_kw": 6.0}))])
        publisher.send([(TOPIC, encode_telemetry(2, T0, {"active_power_kw": 6.0}))])
        wait_for(lambda: number(database, "SELECT coalesce(sum(points),0) FROM ingest_tally") == 3)
    assert rows(database, "SELECT value FROM reading") == [(5.0,)]
    assert rows(database, "SELECT value FROM reading_conflict") == [(6.0,)]
    assert rows(database, "SELECT stored, duplicates, conflicts, quarantined FROM ingest_tally") == [(1, 1, 1, 0)]


def test_rejects_go_to_quarantine_and_neighbours_pass(
    database: str, broker: Broker, tmp_path: Path, publisher: Publisher
) -> None:
    bad = [
        (TOPIC, b"\xff\xfe not json"),
        (TOPIC, b"{" * 3000),
        (TOPIC, encode_telemetry(1, T0, {"active_power_kw": 1e9})),
        (TOPIC, encode_telemetry(2, 4_102_444_800_000, {"active_power_kw": 1.0})),
        (TOPIC, encode_telemetry(3, T0, {"no_such": 1.0})),
        (TOPIC, encode_telemetry(4, T0, {"temperature_degc": 1.0})),
        ("cw/v1/S1/ghost/telemetry", encode_telemetry(0, T0, {"active_power_kw": 1.0})),
        ("cw/v1/S2/m1/telemetry", encode_telemetry(0, T0, {"active_power_kw": 1.0})),
    ]
    samples = [(T0, {"active_power_kw": 1.0}), (T0 + 1, {"active_power_kw": -1e9}), (T0 + 2, {"energy_total_kwh": 7.0})]
    good = encode_samples(5, samples)
    with ingest_process(database, broker.mqtt_url, tmp_path):
        publisher.send([*bad, (TOPIC, good)])
        wait_for(lambda: number(database, "SELECT coalesce(sum(messages),0) FROM ingest_tally") == 9)
        publisher.send(bad[:2])  # what the broker delivers twice is kept once
        wait_for(lambda: number(database, "SELECT sum(messages) FROM ingest_tally") == 11)
    kept = rows(database, "SELECT reason, payload FROM quarantine ORDER BY quarantine_id")
    reasons = ["not_json", "not_json", "range", "future", "unknown_quantity", "undeclared_quantity", "unknown_device"]
    assert sorted(reason for reason, _ in kept) == sorted([*reasons, "wrong_site", "range"])
    assert b"\xff\xfe not json" in {bytes(payload) for _, payload in kept}
    assert stored(database) == 2
    tally = rows(
        database,
        "SELECT sum(points), sum(stored), sum(duplicates), sum(conflicts), sum(quarantined) FROM ingest_tally",
    )
    assert [int(value) for value in tally[0]] == [13, 2, 2, 0, 9]


def test_session_keeps_what_is_sent_while_ingest_is_away(
    database: str, broker: Broker, tmp_path: Path, publisher: Publisher
) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path) as process:
        publisher.send(messages(0, 20))
        wait_for(lambda: stored(database) == 40)
        process.terminate()
        assert process.wait(timeout=20) == 0
    publisher.send(messages(20, 1500))  # more than the broker's default queue of 1,000
    with ingest_process(database, broker.mqtt_url, tmp_path):
        wait_for(lambda: stored(database) == 3000, what="the rest")


def test_broker_restart_and_database_cut(database: str, broker: Broker, tmp_path: Path, publisher: Publisher) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path) as process:
        publisher.send(messages(0, 300))
        publisher.close()
        broker.stop()
        broker.start()
        again = Publisher(broker.mqtt_fleet_url)
        rows(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'collateral cw_ingest%%'",
        )
        again.send(messages(300, 600))
        again.close()
        wait_for(lambda: stored(database) == 1200, what="everything after both came back")
        assert process.poll() is None
    assert number(database, "SELECT count(*) FROM reading_conflict") == 0


def test_killed_writer_ends_ingest_and_loses_nothing(
    database: str, broker: Broker, tmp_path: Path, publisher: Publisher
) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path) as process:
        publisher.send(messages(0, 50))
        wait_for(lambda: stored(database) == 100)
        os.kill(_writer_of(process.pid), signal.SIGKILL)
        publisher.send(messages(50, 100))
        assert process.wait(timeout=20) == 1
    with ingest_process(database, broker.mqtt_url, tmp_path):
        wait_for(lambda: stored(database) == 200)


def test_status_last_will_and_sequence_gap(database: str, broker: Broker, tmp_path: Path, publisher: Publisher) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path):
        asked = listen(broker.mqtt_fleet_url, "cw/v1/+/+/request")
        publisher.send([("cw/v1/S1/m1/status", encode_status("online", 1, T0))])
        publisher.send([(TOPIC, encode_telemetry(2, T0, {"active_power_kw": 1.0}))])
        publisher.send([(TOPIC, encode_telemetry(6, T0 + STEP, {"active_power_kw": 1.0}))])
        publisher.send([(TOPIC, encode_telemetry(0, T0 + 2 * STEP, {"active_power_kw": 1.0}))])
        publisher.send([("cw/v1/S1/m1/status", encode_last_will())])
        wait_for(lambda: number(database, "SELECT count(*) FROM device_event") == 4)
        wait_for(lambda: bool(heard_by(asked)), what="a request for what is missing")
        leave(asked)
    assert heard_by(asked) == [("cw/v1/S1/m1/request", {"v": 1, "resend": {"first": 3, "last": 5}})]
    with Pool(database, Role.INGEST, size=1) as pool, pool.connection() as connection:
        assert numbering(connection) == {"devices": 1, "devices_missing": 1, "missing": 3, "restarts": 1}
    events = dict(rows(database, "SELECT kind, detail FROM device_event"))
    assert set(events) == {"online", "sequence_gap", "sequence_reset", "last_will"}
    assert events["sequence_gap"] == {"first_missing": 3, "last_missing": 5, "count": 3}
    assert rows(database, "SELECT last_sequence, online FROM device_state") == [(0, False)]


def test_a_broker_that_refuses_is_asked_again_but_not_stormed(database: str, broker: Broker, tmp_path: Path) -> None:
    wrong = broker.mqtt_url.replace(broker.passwords["ingest"], "guess")
    with ingest_process(database, wrong, tmp_path, until=b"refuses") as process:
        began = time.monotonic()
        log = next(tmp_path.glob("ingest-*.log"))
        wait_for(lambda: log.read_bytes().count(b"refuses") >= 5)
        assert time.monotonic() - began > 0.2 * 0.5 * (2 + 4 + 8)
        assert process.poll() is None
    assert b"guess" not in log.read_bytes()


def test_two_services_with_one_client_id_say_so_and_lose_nothing(
    database: str, broker: Broker, tmp_path: Path, publisher: Publisher
) -> None:
    with ingest_process(database, broker.mqtt_url, tmp_path), ingest_process(database, broker.mqtt_url, tmp_path):
        logs = list(tmp_path.glob("ingest-*.log"))
        for first in range(0, 400, 100):
            publisher.send(messages(first, first + 100))
        said = b"took over the session 'collateral-ingest'"
        wait_for(lambda: all(said in log.read_bytes() for log in logs), 60, "each says so")
        wait_for(lambda: stored(database) == 800, 60, "all values")
    assert len(logs) == 2
    assert rows(database, "SELECT sum(conflicts), sum(quarantined) FROM ingest_tally") == [(0, 0)]


def listen(url: str, topic: str) -> paho.Client:
    """A client that notes what comes on `topic`; `heard_by` serves it."""
    notes: list[tuple[str, object]] = []
    client = make_client(url, "listener", clean_session=True)
    client.user_data_set(notes)
    client.on_message = lambda _, held, message: held.append((message.topic, orjson.loads(message.payload)))

    def subscribe(*_: object) -> None:
        client.subscribe(topic, 1)

    client.on_connect = subscribe
    client.on_subscribe = lambda *_: notes.append(("subscribed", None))
    client.reconnect()
    wait_for(lambda: client.loop(0.05) == 0 and bool(notes), what="subscription")
    notes.clear()
    return client


def heard_by(client: paho.Client) -> list[tuple[str, object]]:
    client.loop(0.05)
    notes: list[tuple[str, object]] = client.user_data_get()
    return notes


def _writer_of(pid: int) -> int:
    """The child that runs `run_writer` (the other one tracks resources)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                command = (entry / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == pid and b"spawn_main" in command:
                return int(entry.name)
    raise AssertionError("no writer process")
