"""At the broker's door: every kind of intruder is refused, and it is recorded."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from collateral.cli import main
from collateral.db import devices
from collateral.db.devices import SecurityEvent
from collateral.db.passports import Passport
from collateral.db.pool import Pool, Role
from collateral.errors import InvalidInputError, ServiceError
from collateral.services import local
from collateral.services.mosquitto import Tls, hash_password
from collateral.services.system import free_port, server_account
from iot.devices import BrokerAccounts, export_accounts, issue, revoke
from iot.devices import register as add_device
from iot.mqtt import leave, make_client, with_password
from iot.payload import encode_telemetry
from iot.security import BLOCK, Watch
from tests.iot_support import change, device, ingest_process, number, register, wait_for
from tests.services_support import Broker

NOW_MS = 1_704_067_200_000


class Visitor:
    """A client that notes how it was received."""

    def __init__(self, url: str, name: str) -> None:
        self.reason = ""
        self.gone = False
        self.acknowledged = 0
        self.client = make_client(url, name, clean_session=True, window=1_000)
        self.client.on_connect = self._connected
        self.client.on_disconnect = self._left
        self.client.on_publish = self._published
        try:
            self.client.reconnect()
        except OSError as error:
            self.reason = str(error)
        self.until(lambda: bool(self.reason) or self.gone)

    def until(self, condition: Callable[[], bool], seconds: float = 10.0) -> bool:
        """Works until the condition holds; False when it does not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.client.loop(0.05)
        return True

    def send(self, topic: str, payload: bytes) -> None:
        """Publishes and waits for the broker's answer, or its goodbye."""
        before = self.acknowledged
        self.client.publish(topic, payload, qos=1)
        self.until(lambda: self.acknowledged > before or self.gone)

    def close(self) -> None:
        """Leaves."""
        leave(self.client)

    def _connected(self, client: object, userdata: object, flags: object, reason: object, properties: object) -> None:
        self.reason = str(reason)

    def _left(self, *_: object) -> None:
        self.gone = True

    def _published(self, *_: object) -> None:
        self.acknowledged += 1


def visit(url: str, name: str) -> str:
    visitor = Visitor(url, name)
    visitor.close()
    return visitor.reason


@pytest.fixture
def pool(database: str) -> Pool:
    register(database, [device("m1", ["active_power_kw"]), device("m2", ["active_power_kw"])])
    return Pool(database, Role.APP, size=1)


def tell(broker: Broker, pool: Pool) -> None:
    with pool.connection() as connection:
        known = devices.valid_hashes(connection)
    broker.server.set_devices(known, broker.pid)
    time.sleep(0.3)  # the broker reads its files on a signal


def url_of(broker: Broker, device_id: str, password: str) -> str:
    return f"mqtt://{device_id}:{password}@127.0.0.1:{broker.port}"


def kinds(pool: Pool, watch: Watch) -> set[str]:
    watch.look(datetime.now(UTC))
    with pool.connection() as connection:
        rows = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=1))
    return {str(row["kind"]) for row in rows}


def test_strangers_wrong_passwords_and_revoked_devices(pool: Pool, broker: Broker) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        assert visit(url_of(broker, "m1", password), "own") == "Success"
        assert visit(f"mqtt://127.0.0.1:{broker.port}", "anonymous") == "Not authorized"
        assert visit(url_of(broker, "m1", "guess"), "guesser") == "Not authorized"
        assert visit(url_of(broker, "m2", password), "other") == "Not authorized"
        stays = Visitor(url_of(broker, "m1", password), "stays")
        revoke(pool, "m1", "ann")
        tell(broker, pool)
        assert stays.until(lambda: stays.gone), "a revoked device is disconnected"
        stays.close()
        assert visit(url_of(broker, "m1", password), "revoked") == "Not authorized"
        watch.look(datetime.now(UTC))
        with pool.connection() as connection:
            events = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=1))
        refused = {str(row["client"]) for row in events if row["kind"] == "not_authorised"}
        assert {"anonymous", "guesser", "other", "revoked"} <= refused
        assert not any("guess" in str(row["detail"]) for row in events), "passwords are never recorded"


def test_another_devices_topic_is_refused_and_recorded(pool: Pool, broker: Broker, database: str, tmp_path: Path) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        with ingest_process(database, broker.mqtt_url, tmp_path):
            visitor = Visitor(url_of(broker, "m1", password), "m1-line")
            visitor.send("cw/v1/S1/m2/telemetry", encode_telemetry(1, NOW_MS, {"active_power_kw": 9.0}))
            visitor.send("cw/v1/S1/m1/telemetry", encode_telemetry(1, NOW_MS, {"active_power_kw": 5.0}))
            visitor.close()
            wait_for(lambda: number(database, "SELECT count(*) FROM reading") == 1)
        assert number(database, "SELECT value::int FROM reading") == 5
        assert "foreign_topic" in kinds(pool, watch)
        with pool.connection() as connection:
            event = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=1))[0]
        assert (event["client"], event["device_id"]) == ("m1-line", "m1")
        assert event["detail"] == {"action": "publish", "topic": "cw/v1/S1/m2/telemetry"}


def test_a_spy_is_recorded_and_hears_nothing(pool: Pool, broker: Broker) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        spy, heard = Visitor(url_of(broker, "m1", password), "spy 5:x topic 1:y"), []
        spy.client.on_message = lambda *given: heard.append(given)
        told: list[object] = []
        spy.client.on_subscribe = lambda *given: told.append(given)
        spy.client.subscribe([("cw/v1/+/m1/request", 1), ("spBv1.0/+/NCMD/m1", 1), ("cw/v1/#", 1)])
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
            (event,) = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=1))
        assert (event["client"], event["detail"]["topic"]) == ("spy 5:x topic 1:y", "cw/v1/#"), "its own topics are its own"


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


def test_a_password_is_handed_over_even_when_the_broker_cannot_be_told(
    pool: Pool, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = {"port": 1, "pid": 0, "birth": None, "version": "", "origin": ""}
    (tmp_path / "nowhere").write_text("a file where a folder should be")
    state = {"home": str(tmp_path / "nowhere"), "servers": {"broker": server}, "endpoints": {}}
    (tmp_path / "services.json").write_text(json.dumps(state))
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    assert main(["devices", "commission", "m1", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert not said["broker_told"] and "devices tell" in said["problem"]
    assert main(["devices", "rotate", "m1", "--out", str(tmp_path / "word"), "--json"]) == 1
    assert "password" not in json.loads(capsys.readouterr().out)
    word = (tmp_path / "word").read_text().strip()
    assert (tmp_path / "word").stat().st_mode & 0o777 == 0o600 and word != said["password"]
    with pool, pool.connection() as connection:
        salt, digest = devices.valid_hashes(connection)["m1"].split("$")[-2:]
    assert hash_password(word, base64.b64decode(salt)).endswith(digest)


def test_no_password_among_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "word").write_text("s/e:c@ret\n")
    assert with_password("mqtts://tester@h:1?ca=x", tmp_path / "word") == "mqtts://tester:s%2Fe%3Ac%40ret@h:1?ca=x"
    with pytest.raises(InvalidInputError, match="password-file") as caught:
        with_password("mqtt://tester:word@h", None)
    assert "word@" not in str(caught.value)


def test_an_oversized_payload_is_refused_and_recorded(pool: Pool, broker: Broker) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        visitor = Visitor(url_of(broker, "m1", password), "heavy")
        visitor.send("cw/v1/S1/m1/telemetry", b"x" * 2_000_000)
        assert visitor.until(lambda: visitor.gone)
        visitor.close()
        assert "too_large" in kinds(pool, watch)


def test_a_flood_is_recorded_and_the_device_barred_for_a_while(
    pool: Pool, broker: Broker, database: str, tmp_path: Path
) -> None:
    with pool:
        watch = Watch(pool, broker.server.log)
        password = issue(pool, "m1", "ann")
        tell(broker, pool)
        start = datetime.now(UTC)
        with ingest_process(database, broker.mqtt_url, tmp_path):
            assert watch.look(start) == ([], False)
            visitor = Visitor(url_of(broker, "m1", password), "flood")
            for n in range(600):
                visitor.client.publish("cw/v1/S1/m1/telemetry", encode_telemetry(n, NOW_MS + n, {"active_power_kw": 1.0}), 1)
            assert visitor.until(lambda: visitor.acknowledged == 600)
            wait_for(lambda: number(database, "SELECT coalesce(sum(messages), 0) FROM device_state") == 600)
            events, changed = watch.look(start + timedelta(seconds=5))
            assert [(event.kind, event.device_id) for event in events] == [("flood", "m1")]
            assert changed
            tell(broker, pool)
            assert visitor.until(lambda: visitor.gone)
            visitor.close()
            assert visit(url_of(broker, "m1", password), "barred") == "Not authorized"
            assert watch.look(start + timedelta(seconds=5) + BLOCK)[1], "the block ends"
            tell(broker, pool)
            assert visit(url_of(broker, "m1", password), "free") == "Success"
        assert number(database, "SELECT count(*) FROM reading") == 600  # what the broker took is kept


def test_certificates_of_the_banks_authority(pool: Pool, broker: Broker, tmp_path: Path) -> None:
    with pool:
        authority = Authority(broker.home / "tls")
        authority.issue("server", "127.0.0.1")
        broker.stop()
        broker.tls = Tls(authority.folder, free_port(), client_certificates=True)
        authority.hand_over()
        broker.start()
        watch = Watch(pool, broker.server.log)
        first, second = issue(pool, "m1", "ann"), issue(pool, "m2", "ann")
        tell(broker, pool)
        for name, days in (("m1", 30), ("m2", -1)):
            authority.issue(name, name, days)

        def door(device: str, word: str, certificate: str) -> str:
            files = (
                f"&cert={authority.folder / certificate}.crt&key={authority.folder / certificate}.key" if certificate else ""
            )
            assert broker.tls is not None
            return f"mqtts://{device}:{word}@127.0.0.1:{broker.tls.port}?ca={authority.folder / 'ca.crt'}{files}"

        assert visit(door("m1", first, "m1"), "m1-tls") == "Success"
        assert visit(door("m2", second, "m2"), "m2-tls") != "Success", "expired"
        assert visit(door("m1", first, ""), "without") != "Success"
        assert visit(door("m1", "guess", "m1"), "guesser") == "Not authorized", "the certificate alone is not enough"
        revoke(pool, "m1", "ann")
        tell(broker, pool)
        assert visit(door("m1", first, "m1"), "revoked") == "Not authorized"
        wait_for(  # on a busy machine a client may give up before it showed anything
            lambda: visit(door("m2", second, "m2"), "m2-tls") != "Success" and "certificate" in kinds(pool, watch)
        )
        with socket.create_connection(("127.0.0.1", broker.tls.port)) as plain:
            plain.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab")
            plain.settimeout(5)
            try:
                answer = plain.recv(16)
            except ConnectionResetError:
                answer = b""
            assert answer[:1] != b"\x20", "no welcome without TLS"


def test_the_private_broker_keeps_its_listener_for_devices(services_runtime: Path) -> None:
    runtime = Path(tempfile.mkdtemp(prefix="tls-", dir=services_runtime))
    runtime.chmod(0o755)
    authority = Authority(runtime / "tls")
    authority.issue("server", "127.0.0.1")
    tls = Tls(authority.folder, free_port())
    with pytest.raises(ServiceError, match=r"ca\.crt"):
        local.ensure(runtime, database_url="unused", tls=replace(tls, folder=runtime))
    authority.hand_over()
    try:
        for given in (tls, None):
            fleet = local.ensure(runtime, database_url="unused", tls=given).mqtt_fleet_url
            account = fleet.removeprefix("mqtt://").partition("@")[0]
            secure = f"mqtts://{account}@127.0.0.1:{tls.port}?ca={tls.folder / 'ca.crt'}"
            assert visit(secure, "over-tls") == visit(fleet, "plain") == "Success"
            with pytest.raises(ServiceError, match="services down"):
                local.ensure(runtime, database_url="unused", tls=replace(tls, client_certificates=True))
            local.down(runtime)
    finally:
        local.down(runtime)


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


def test_credentials_are_given_once_and_named_clearly(pool: Pool) -> None:
    with pool:
        first = issue(pool, "m1", "ann", Passport(firmware="1.2", ct_ratio=40.0))
        with pytest.raises(InvalidInputError, match="rotate"):
            issue(pool, "m1", "ann")
        second = issue(pool, "m1", "ann", again=True)
        assert first != second
        with pytest.raises(InvalidInputError, match="not registered"):
            issue(pool, "nobody", "ann")
        with pytest.raises(InvalidInputError, match="no valid credential"):
            revoke(pool, "m2", "ann")
        with pool.connection() as connection:
            listed = {row["device_id"]: row for row in devices.device_list(connection)}
            stored = devices.valid_hashes(connection)
        assert (listed["m1"]["credential"], listed["m1"]["firmware"], listed["m2"]["credential"]) == (
            "active",
            "1.2",
            "none",
        )
        assert second not in str(stored)


@pytest.mark.parametrize("name", ["a:b", "fleet", "ingest"])
def test_a_device_is_never_an_account_of_the_services(database: str, name: str) -> None:
    register(database, [device(name, ["active_power_kw"])])
    with Pool(database, Role.APP, size=1) as pool, pytest.raises(InvalidInputError, match="cannot be an account"):
        issue(pool, name, "ann")


def test_a_device_id_cannot_write_lines_of_the_password_file(pool: Pool) -> None:
    forged = replace(device("m3", ["active_power_kw"]), device_id="m3\nfleet")
    with pool, pytest.raises(InvalidInputError, match="cannot stand in a topic"):
        add_device(pool, forged, "ann")


def test_an_older_list_of_accounts_is_never_written_over_a_newer_one(pool: Pool, database: str, tmp_path: Path) -> None:
    server = {"port": 1, "pid": 0, "birth": None, "version": "", "origin": ""}
    state = {"home": str(tmp_path), "servers": {"broker": server}, "endpoints": {}}
    (tmp_path / "services.json").write_text(json.dumps(state))
    with pool, Pool(database, Role.APP, size=1) as other:
        issue(pool, "m1", "ann")
        issue(pool, "m2", "ann")
        with pool.connection() as connection:
            devices.hold_accounts(connection)
            telling = threading.Thread(target=BrokerAccounts(tmp_path).sync, args=(other,), daemon=True)
            telling.start()
            telling.join(0.5)
            devices.revoke_credential(connection, "m1", "ann")
        telling.join(10)
    assert [line.split(":")[0] for line in (tmp_path / "mosquitto" / "devices").read_text().splitlines()] == ["m2"]


def test_the_exported_list_is_private_whatever_was_there(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "passwords"
    path.write_text("old")
    path.chmod(0o644)
    with pool:
        issue(pool, "m1", "ann")
        assert export_accounts(pool, path) == 1
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_text().startswith("m1:$7$")


def test_hashes_are_as_the_broker_writes_them() -> None:
    assert hash_password("word", b"123456789012") == hash_password("word", b"123456789012")
    kind, rounds, salt, digest = hash_password("word").split("$")[1:]
    assert (kind, rounds, len(salt), len(digest)) == ("7", "1000", 16, 88)


class Authority:
    """A certificate authority of one test."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank")])
        self._write("ca", self._certificate(self._name, self._key, 365, authority=True), self._key)

    def issue(self, name: str, common_name: str, days: int = 30) -> None:
        """Writes NAME.crt and NAME.key; negative days: expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        self._write(name, self._certificate(subject, key, days), key)

    def hand_over(self) -> None:
        """Lets the broker's account read the files."""
        account = server_account()
        for path in (self.folder, *self.folder.iterdir()):
            if account.uid is not None:
                path.chmod(0o755 if path.is_dir() else 0o644)

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int, authority: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        begin = now - timedelta(days=10)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if subject.rfc4514_string() == "CN=127.0.0.1":
            names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        (self.folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        form = serialization.PrivateFormat.PKCS8
        (self.folder / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
