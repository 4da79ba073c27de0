"""What the broker refused becomes events: none twice, none passed over, and bounded whatever an intruder does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from collateral.db import devices
from collateral.db.devices import SecurityEvent
from collateral.db.pool import Pool
from collateral.services import local
from collateral.services.mosquitto import hash_password
from iot.devices import issue
from iot.security import Watch
from tests.door_support import Visitor, kinds, pool, tell, url_of, visit
from tests.iot_support import change, number, wait_for
from tests.services_support import Broker

__all__ = ["pool"]


def test_a_spy_is_recorded_and_hears_nothing(pool: Pool, broker: Broker) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        spy, heard = Visitor(url_of(broker, "m1", password), "spy 5:x topic 1:y"), []
        spy.client.on_message = lambda *given: heard.append(given)
        told: list[object] = []
        spy.client.on_subscribe = lambda *given: told.append(given)
        own = ("cw/v1/+/m1/request", "spBv1.0/+/NCMD/m1", "$share/line/cw/v1/+/m1/request")
        foreign = ("cw/v1/#", "$share/line/cw/v1/#", "$share/m1/cw/v1/+/m2/request")
        spy.client.subscribe([(topic, 1) for topic in (*own, *foreign)])
        assert spy.until(lambda: bool(told))
        fleet = Visitor(broker.mqtt_fleet_url, "fleet")
        fleet.send("cw/v1/S1/m2/telemetry", b"{}")
        fleet.client.publish("cw/v1/S1/m2/telemetry", b"{}", 1)
        spy.until(lambda: bool(heard), 0.5)
        spy.close()
        fleet.close()
        assert not heard
        assert kinds(pool, watch) == {"foreign_topic"}
        with pool.connection() as connection:
            events = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=1))
        told_of = [one["detail"]["topic"] for one in events]
        assert {one["client"] for one in events} == {"spy 5:x topic 1:y"}
        assert sorted(told_of) == sorted(foreign), "its own topics are its own"


def test_a_thousand_attempts_are_a_few_lines_and_one_count(pool: Pool, broker: Broker) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        visitor = Visitor(url_of(broker, "m1", password), "m1-line")
        for _ in range(1_000):
            visitor.client.publish("cw/v1/S1/m2/telemetry", b"{}", 1)
        assert visitor.until(lambda: visitor.acknowledged == 1_000)
        watch.look(datetime.now(UTC))
        visitor.until(lambda: False, 1.1)
        visitor.send("cw/v1/S1/m2/telemetry", b"{}")  # tells what the broker did not write before
        visitor.close()
        assert watch.look(datetime.now(UTC))[0]
        Watch(pool, broker.server.log).look(datetime.now(UTC))  # a second one begins where the first ended
        with pool.connection() as connection:
            events = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=2))
        assert sum(int(event["times"]) for event in events) == 1_001
        assert len(events) <= 4, "two kinds of rows, at most two hours"
        lines = broker.server.log.read_text().count("Foreign publish")
        assert lines < 200


def test_without_the_plugin_the_watch_turns_the_debug_log_on(pool: Pool, broker: Broker) -> None:
    with pool:
        broker.stop()
        broker.plugin = False
        broker.start()
        assert broker.server.audit(True, broker.pid) and not broker.server.audit(True, broker.pid)
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        visitor = Visitor(url_of(broker, "m1", password), "m1-line")
        visitor.send("cw/v1/S1/m2/telemetry", b"{}")
        assert "foreign_topic" in kinds(pool, watch)
        assert broker.server.audit(False, broker.pid)
        time.sleep(0.3)  # the broker reads its files on a signal
        size = broker.server.log.stat().st_size
        visitor.send("cw/v1/S1/m1/telemetry", b"{}")
        visitor.close()
        assert "PUBLISH" not in broker.server.log.read_bytes()[size:].decode()


def test_a_broken_plugin_does_not_keep_the_broker_from_its_work(broker: Broker) -> None:
    (plugin,) = (broker.server.folder / "plugin").glob("*.so")
    assert f"plugin {plugin}\n" in (broker.server.folder / "mosquitto.conf").read_text()
    broker.stop()
    plugin.write_bytes(b"not a library")
    broker.start()
    assert visit(broker.mqtt_url, "ingest-1") == "Success"
    assert "plugin" not in (broker.server.folder / "mosquitto.conf").read_text()


def test_the_log_is_turned_and_nothing_in_it_is_lost_or_told_twice(pool: Pool, broker: Broker) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        assert visit(f"mqtt://127.0.0.1:{broker.port}", "first") == "Not authorized"
        watch.look(datetime.now(UTC))
        assert visit(f"mqtt://127.0.0.1:{broker.port}", "second") == "Not authorized"
        assert not broker.server.turn_log(broker.pid)
        assert broker.server.turn_log(broker.pid, least=1)
        wait_for(broker.server.log.is_file)
        assert visit(f"mqtt://127.0.0.1:{broker.port}", "third") == "Not authorized"
        watch.look(datetime.now(UTC))
        watch.look(datetime.now(UTC))
        with pool.connection() as connection:
            events = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=2))
        seen = sorted((str(event["client"]), int(event["times"])) for event in events)
        assert seen == [("first", 1), ("second", 1), ("third", 1)]
        assert "third" not in broker.server.log.with_name("broker.log.1").read_text()


def test_a_flood_of_names_is_bounded(pool: Pool) -> None:
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    with pool, pool.connection() as connection:
        for part in range(3):
            names = [f"n{part * 100 + n}" for n in range(100)]
            devices.write_security_events(connection, [SecurityEvent(now, "not_authorised", name) for name in names])
        events = devices.security_events(connection, now - timedelta(hours=1))
        others = [event for event in events if event["client"] == ""]
        assert (len(events), others[0]["times"]) == (devices.MOST_ROWS + 1, 300 - devices.MOST_ROWS)


def test_the_watch_records_frees_and_ends_when_asked(pool: Pool, database: str, services_runtime: Path) -> None:
    runtime = Path(tempfile.mkdtemp(prefix="watch-", dir=services_runtime))
    runtime.chmod(0o755)
    try:
        endpoints = local.ensure(runtime, database_url=database)
        stranger = f"mqtt://127.0.0.1:{endpoints.mqtt_url.rpartition(':')[2]}"
        environment = {**os.environ, "COLLATERAL_DATABASE_URL": database, "COLLATERAL_RUNTIME": str(runtime)}
        command = [sys.executable, "-m", "collateral.cli", "security", "watch", "--every", "0.2", "--json"]
        with pool, pool.connection() as connection:
            devices.set_credential(connection, "m1", hash_password("word"), "ann")
            devices.block_until(connection, "m1", datetime.now(UTC))
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
            try:
                assert visit(stranger, "stranger") == "Not authorized"
                wait_for(lambda: number(database, "SELECT count(*) FROM security_event WHERE client = 'stranger'") == 1)
                account = endpoints.mqtt_url.replace("ingest:", "m1:")
                word = account.rpartition("@")[0].rpartition(":")[2]
                wait_for(lambda: visit(account.replace(word, "word"), "m1") == "Success", what="the block ends")
                change(
                    database,
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()",
                )
                assert visit(stranger, "later") == "Not authorized"
                wait_for(lambda: number(database, "SELECT count(*) FROM security_event WHERE client = 'later'") == 1)
            finally:
                process.terminate()
            said = json.loads(process.communicate(timeout=30)[0])
        assert process.returncode == 0 and said["events"] >= 1
        folder = runtime / "mosquitto"
        assert folder.stat().st_mode & 0o777 == 0o700 and (folder / "plugin").stat().st_mode & 0o777 == 0o700
        for name in ("passwords", "devices", "access", "mosquitto.conf", "broker.log"):
            assert (folder / name).stat().st_mode & 0o077 == 0, name
    finally:
        local.down(runtime)
