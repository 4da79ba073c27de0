"""At the broker's door: every kind of intruder is refused, and it is recorded."""

from __future__ import annotations

import json
import socket
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

from collateral.db import devices
from collateral.db.pool import Pool, Role
from collateral.errors import InvalidInputError
from collateral.services.mosquitto import Tls, hash_password
from collateral.services.system import free_port, server_account
from iot.devices import BrokerAccounts, export_accounts, issue, revoke
from iot.devices import register as add_device
from iot.mqtt import leave, make_client
from iot.payload import encode_telemetry
from iot.security import BLOCK, Watch
from tests.iot_support import device, ingest_process, number, register, wait_for
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
        broker.stop()
        broker.audit = True
        broker.start()
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
        assert (event["client"], event["detail"]["topic"]) == ("m1-line", "cw/v1/S1/m2/telemetry")


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
        wait_for(lambda: "certificate" in kinds(pool, watch), 10, "the broker tells of the certificate")
        with socket.create_connection(("127.0.0.1", broker.tls.port)) as plain:
            plain.sendall(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02ab")
            plain.settimeout(5)
            try:
                answer = plain.recv(16)
            except ConnectionResetError:
                answer = b""
            assert answer[:1] != b"\x20", "no welcome without TLS"


def test_credentials_are_given_once_and_named_clearly(pool: Pool) -> None:
    with pool:
        first = issue(pool, "m1", "ann", devices.Passport(firmware="1.2", ct_ratio=40.0))
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
