"""Faults under load on the real servers: whatever breaks, all that was sent is in the tables once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psycopg2
import pytest

from iot.simulate import Troubles
from tests.fault_support import Line, Load, fleet, memory_mb, own_database, plan, settled, throttled
from tests.iot_support import ingest_process, number
from tests.services_support import Broker

AWAY_S = float(os.environ.get("COLLATERAL_FAULT_SECONDS", "30"))
"""How long a server is away."""
RATE = 150.0
"""Messages a second, three values each."""
FIELD = Troubles(jitter=0.3, outage=0.002, outage_s=3.0, skew=0.1, replay=0.02, tamper=0.01)


def test_ingest_killed_twenty_times(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    with ingest_process(database, broker.mqtt_url, tmp_path):
        pass  # from here on the broker keeps a session for it
    with Load(plan(broker.mqtt_fleet_url, devices, RATE, 60.0, FIELD)) as load:
        for _ in range(20):
            with ingest_process(database, broker.mqtt_url, tmp_path) as process:
                time.sleep(0.7)
                process.kill()
                process.wait(timeout=10)
    with ingest_process(database, broker.mqtt_url, tmp_path):
        settled(database, load.report)
    assert load.report.replayed > 0 < load.report.conflicting


def test_database_away(broker: Broker, tmp_path: Path) -> None:
    with own_database() as database:
        devices = fleet(database.url)
        with ingest_process(database.url, broker.mqtt_url, tmp_path) as process:
            with Load(plan(broker.mqtt_fleet_url, devices, RATE, AWAY_S + 8, FIELD)) as load:
                time.sleep(3)
                database.stop()
                time.sleep(AWAY_S)
                assert process.poll() is None
                database.start()
            settled(database.url, load.report)
            assert process.poll() is None


def test_broker_away(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    with ingest_process(database, broker.mqtt_url, tmp_path) as process:
        with Load(plan(broker.mqtt_fleet_url, devices, RATE, AWAY_S + 8, FIELD)) as load:
            time.sleep(3)
            broker.stop()
            time.sleep(AWAY_S)
            assert process.poll() is None
            broker.start()
        settled(database, load.report)
        assert load.report.reconnects >= 1


def test_broker_killed_and_buffers_sent_again(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    with ingest_process(database, broker.mqtt_url, tmp_path):
        with Load(plan(broker.mqtt_fleet_url, devices, RATE, 20.0)) as load:
            for _ in range(3):
                time.sleep(4)
                broker.kill()
                broker.start()
        settled(database, load.report)
        assert load.report.reconnects >= 3


def test_database_disk_full_and_freed(broker: Broker, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a file system of limited size needs root")
    with own_database(size_mb=400) as database:
        devices = fleet(database.url)
        filler = database.folder / "filler"
        with ingest_process(database.url, broker.mqtt_url, tmp_path) as process:
            with Load(plan(broker.mqtt_fleet_url, devices, RATE, 40.0, FIELD)) as load:
                time.sleep(3)
                _fill(filler)
                time.sleep(20)
                before = _stored(database.url)
                assert process.poll() is None
                filler.unlink()
                database.stop()  # a server that ran out of room for its log has ended itself: its keeper starts it
                database.start()
            settled(database.url, load.report)
            assert before is None or before < load.report.values


def test_line_cut_again_and_again(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    near, far = Line(broker.mqtt_url), Line(broker.mqtt_fleet_url)
    try:
        with ingest_process(database, near.url, tmp_path):
            with Load(plan(far.url, devices, RATE, 25.0, FIELD)) as load:
                for _ in range(6):
                    time.sleep(3)
                    near.cut()
                    time.sleep(0.5)
                    far.cut()
            settled(database, load.report)
            assert load.report.reconnects >= 6
    finally:
        near.close()
        far.close()


def test_throttled_to_a_tenth_then_drained(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    peak = 0.0
    with ingest_process(database, broker.mqtt_url, tmp_path) as process:

        def look() -> None:
            nonlocal peak
            peak = max(peak, memory_mb(process.pid))

        with Load(plan(broker.mqtt_fleet_url, devices, 4 * RATE, AWAY_S + 4)) as load:
            time.sleep(2)
            throttled(process.pid, 0.1, AWAY_S, look)
        settled(database, load.report)
    assert 0 < peak < 400


def test_what_was_lost_on_the_way_is_asked_for_again(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    lossy = plan(broker.mqtt_fleet_url, devices, RATE, 15.0, Troubles(loss=0.03))
    with ingest_process(database, broker.mqtt_url, tmp_path):
        with Load(lossy, listen_s=10.0) as load:
            pass
        lost = load.report.lost_on_purpose
        missing = load.report.values - number(database, "SELECT count(*) FROM reading")
    assert lost > 20 <= load.report.asked_again
    # The last messages of a device leave no number after them that would tell of their loss.
    assert missing <= 3 * len(devices) * 0.03 * 5
    assert missing < 3 * lost / 4


def test_device_clocks_set_back(database: str, broker: Broker, tmp_path: Path) -> None:
    devices = fleet(database)
    with ingest_process(database, broker.mqtt_url, tmp_path):
        with Load(plan(broker.mqtt_fleet_url, devices, RATE, 12.0, Troubles(set_back=1.0, set_back_s=3_600))) as load:
            pass
        settled(database, load.report)
    assert number(database, "SELECT count(*) FROM reading WHERE received_at - time > interval '50 minutes'") > 1_000


def _fill(filler: Path) -> None:
    """Writes until the file system takes no more."""
    block = b"\0" * 1_048_576
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(block):
                pass
        except OSError:
            return


def _stored(database: str) -> int | None:
    try:
        return number(database, "SELECT count(*) FROM reading")
    except psycopg2.Error:
        return None
