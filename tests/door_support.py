"""What the tests at the broker's door share: two meters, visitors, and a certificate authority."""

from __future__ import annotations

import time
from collections.abc import Callable
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
from collateral.services.system import server_account
from iot.mqtt import leave, make_client
from iot.security import Watch
from tests.iot_support import device, register
from tests.services_support import Broker


@pytest.fixture
def pool(database: str) -> Pool:
    """A database with two meters, for one caller at a time."""
    register(database, [device("m1", ["active_power_kw"]), device("m2", ["active_power_kw"])])
    return Pool(database, Role.APP, size=1)


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
    """How a client is received."""
    visitor = Visitor(url, name)
    visitor.close()
    return visitor.reason


def tell(broker: Broker, pool: Pool) -> None:
    """Tells the broker who may sign in."""
    with pool.connection() as connection:
        known = devices.valid_hashes(connection)
    broker.server.set_devices(known, broker.pid)
    time.sleep(0.3)  # the broker reads its files on a signal


def url_of(broker: Broker, device_id: str, password: str) -> str:
    """Address for a device."""
    return f"mqtt://{device_id}:{password}@127.0.0.1:{broker.port}"


def kinds(pool: Pool, watch: Watch) -> set[str]:
    """Kinds of refusals, after a look."""
    watch.look(datetime.now(UTC))
    with pool.connection() as connection:
        rows = devices.security_events(connection, datetime.now(UTC) - timedelta(hours=1))
    return {str(row["kind"]) for row in rows}


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
