"""A cheap MQTT load generator: PUBLISH frames made beforehand, blasted over one socket at QoS 1 within a window.

paho would need a core of its own for 10,000 messages a second; on two cores the generator must not be what is measured.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from collateral.errors import ServiceError

WINDOW = 4_000
CHUNK = 250


@dataclass(frozen=True)
class LoadReport:
    """When messages were handed over."""

    sent_at: tuple[tuple[int, float], ...]
    """(messages sent so far, wall clock)."""
    acknowledged: int
    seconds: float


def blast(url: str, messages: Sequence[tuple[bytes, bytes]], rate: float = 0.0) -> LoadReport:
    """Publishes (topic, payload) pairs at QoS 1 and waits for every acknowledgement.

    `rate`: messages a second; 0 is as fast as the broker takes them. Raises `ServiceError` when the broker falls silent.
    """
    connection = _connect(url)
    began = time.monotonic()
    marks: list[tuple[int, float]] = []
    sent = acknowledged = 0
    rest = b""
    try:
        while acknowledged < len(messages):
            may = min(CHUNK, len(messages) - sent, WINDOW - (sent - acknowledged))
            due = rate <= 0 or sent < (time.monotonic() - began) * rate
            if may > 0 and due:
                chunk = messages[sent : sent + may]
                connection.sendall(b"".join(_publish(*message, sent + i) for i, message in enumerate(chunk)))
                sent += may
                marks.append((sent, time.time()))
            connection.settimeout(0.0005 if sent < len(messages) else 20.0)
            try:
                data = rest + connection.recv(65_536)
            except (TimeoutError, BlockingIOError):
                if sent == len(messages):
                    raise ServiceError(f"The broker acknowledged {acknowledged} of {sent} messages.") from None
                continue
            whole = len(data) // 4 * 4  # nothing but 4-byte PUBACKs comes
            acknowledged += whole // 4
            rest = data[whole:]
            connection.settimeout(20.0)
    finally:
        connection.close()
    return LoadReport(tuple(marks), acknowledged, time.monotonic() - began)


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    name, word = unquote(parts.username or "").encode(), unquote(parts.password or "").encode()
    connection = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 1883), timeout=10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    body = _text(b"MQTT") + struct.pack("!BBH", 4, 0xC2, 600) + _text(b"load") + _text(name) + _text(word)
    connection.sendall(b"\x10" + _length(len(body)) + body)
    answer = connection.recv(4)
    if answer[3:4] != b"\x00":
        raise ServiceError("The broker refuses the load generator.")
    return connection


def _publish(topic: bytes, payload: bytes, number: int) -> bytes:
    body = _text(topic) + struct.pack("!H", number % 65_535 + 1) + payload
    return b"\x32" + _length(len(body)) + body


def _text(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, digit = divmod(size, 128)
        out.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(out)
