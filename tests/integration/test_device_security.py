"""At the broker's door: every kind of intruder is refused, and it is recorded."""

from __future__ import annotations

import base64
import json
import socket
import tempfile
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from collateral.cli import main
from collateral.db import devices
from collateral.db.passports import Passport
from collateral.db.pool import Pool, Role
from collateral.errors import InvalidInputError, ServiceError
from collateral.services import local
from collateral.services.mosquitto import Tls, hash_password
from collateral.services.system import free_port
from iot import devices_commands
from iot.devices import BrokerAccounts, export_accounts, issue, revoke
from iot.devices import register as add_device
from iot.mqtt import with_password
from iot.payload import encode_telemetry
from iot.security import BLOCK, Watch
from tests.door_support import Authority, Visitor, kinds, pool, tell, url_of, visit
from tests.iot_support import device, ingest_process, number, register, wait_for
from tests.services_support import Broker

__all__ = ["pool"]

NOW_MS = 1_704_067_200_000


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


@pytest.mark.parametrize("failure", [ServiceError("away"), OSError("full"), psycopg2.OperationalError("cut")])
def test_a_password_is_handed_over_whatever_fails_after_it_was_committed(
    pool: Pool, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
) -> None:  # fmt: skip
    def fail(*_: object) -> int:
        raise failure

    server = {"port": 1, "pid": 0, "birth": None, "version": "", "origin": ""}
    state = {"home": str(tmp_path), "servers": {"broker": server}, "endpoints": {}}
    (tmp_path / "services.json").write_text(json.dumps(state))
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setattr(BrokerAccounts, "sync", fail)
    assert main(["devices", "commission", "m1", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert len(said["password"]) > 20 and "devices tell" in said["problem"]
    pool.close()


def test_a_password_in_a_file_outlives_a_command_that_is_refused(
    pool: Pool, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    word = tmp_path / "word"
    assert main(["devices", "rotate", "ghost", "--out", str(word)]) == 1
    assert not word.exists(), "no empty file for a device that is not there"
    capsys.readouterr()
    command = ["devices", "commission", "m1", "--out", str(word)]
    assert main(command) == 0
    kept = word.read_text()
    assert main(command) == 1, "it has one already"
    assert "rotate" in capsys.readouterr().err
    assert word.read_text() == kept and len(kept) > 20
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    pool.close()


def test_what_the_broker_was_not_told_is_told_with_the_next_look(
    pool: Pool, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Accounts:
        def __init__(self, runtime: Path) -> None: ...

        def audit(self, on: bool) -> bool:
            return False

        def turn_log(self) -> bool:
            return False

        def sync(self, pool: Pool) -> int:
            told.append("sync")
            if len(told) == 1:
                raise ServiceError("not now")
            return 1

    server = {"port": 1, "pid": 0, "birth": None, "version": "", "origin": ""}
    state = {"home": str(tmp_path), "servers": {"broker": server}, "endpoints": {}}
    (tmp_path / "services.json").write_text(json.dumps(state))
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(tmp_path))
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    monkeypatch.setattr(devices_commands, "BrokerAccounts", Accounts)
    monkeypatch.setattr(devices_commands.signal, "signal", lambda *_: None)
    with pool, pool.connection() as connection:
        devices.set_credential(connection, "m1", hash_password("word"), "ann")
        devices.block_until(connection, "m1", datetime.now(UTC))
    assert main(["security", "watch", "--every", "0.1", "--looks", "3"]) == 0
    assert told == ["sync", "sync"], "once in vain, once again, and then there is nothing to tell"


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


def test_the_first_backlog_of_a_new_device_is_no_flood(pool: Pool, broker: Broker, database: str, tmp_path: Path) -> None:
    """A tracker kept a day's positions, a minute apart, before it was registered, and sends them at once."""
    with pool:
        watch = Watch(pool, broker.server.log)
        now = datetime.now(UTC)
        watch.look(now)
        add_device(pool, device("new", ["active_power_kw"], interval_s=60.0), "ann")
        password = issue(pool, "new", "ann")
        tell(broker, pool)
        with ingest_process(database, broker.mqtt_url, tmp_path):
            visitor = Visitor(url_of(broker, "new", password), "backlog")
            begin = round(now.timestamp() * 1000) - 86_400_000
            for n in range(1_440):
                payload = encode_telemetry(n, begin + n * 60_000, {"active_power_kw": 1.0})
                visitor.client.publish("cw/v1/S1/new/telemetry", payload, 1)
            assert visitor.until(lambda: visitor.acknowledged == 1_440)
            wait_for(lambda: number(database, "SELECT coalesce(sum(messages), 0) FROM device_state") == 1_440)
            assert watch.look(now + timedelta(seconds=5)) == ([], False)
            visitor.close()
            assert visit(url_of(broker, "new", password), "again") == "Success"


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
        with pytest.raises(ServiceError, match="check that its folder is there"):
            export_accounts(pool, tmp_path / "mistyped" / "passwords")
    assert not (tmp_path / "mistyped").exists()
    assert path.stat().st_mode & 0o777 == 0o600 and path.read_text().startswith("m1:$7$")


def test_hashes_are_as_the_broker_writes_them() -> None:
    assert hash_password("word", b"123456789012") == hash_password("word", b"123456789012")
    kind, rounds, salt, digest = hash_password("word").split("$")[1:]
    assert (kind, rounds, len(salt), len(digest)) == ("7", "1000", 16, 88)
