"""A cheap MQTT load generator: blocks of PUBLISH frames of one length, patched with numpy, QoS 1 within a window.

paho would need a core of its own for 10,000 messages a second; on two cores the generator must not be what is measured. All
frames of a stream are equally long, so that numbers, times and packet ids are written into a whole block at once.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from collateral.errors import ServiceError

WINDOW = 4_000
"""Messages on the way to the broker at once, on each connection."""
BLOCK = 250
AHEAD = 20_000
"""Messages sent before the consumer is through with them: a second of full load, less for long messages."""
AHEAD_BYTES = 16 * 1024 * 1024
ASK_S = 0.1
SILENCE_S = 30.0
_IDS = 65_535
_FIRST_SEQUENCE = 1_000_000
_TELEMETRY = "cw/v1/S1/d{:03d}/telemetry"


@dataclass(frozen=True)
class Stream:
    """Messages of `devices` devices in turn: message n is number n // devices of device n % devices."""

    count: int
    start_ms: int
    """Time of the first samples; each message of a device continues a second (and `samples`) later."""
    quantities: tuple[str, ...]
    devices: int = 500
    samples: int = 0
    """0: one moment a message; else past samples in an array."""

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= 1000:
            raise ValueError(f"{self.devices} devices: use 1 to 1000")

    @property
    def points(self) -> int:
        """Values in all messages together."""
        return self.count * max(1, self.samples) * len(self.quantities)


@dataclass(frozen=True)
class LoadReport:
    """When messages were handed over."""

    sent_at: tuple[tuple[int, float], ...]
    """(messages sent so far, wall clock)."""
    acknowledged: int
    seconds: float
    cpu_s: float
    """Processor time of the generator itself."""


class _Frames:
    """Makes blocks of frames; every number has a fixed width, so that it stands at a fixed place."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        moments = max(1, stream.samples)
        payload, places = _template(stream.quantities, moments, stream.samples > 0)
        topic = _TELEMETRY.format(0).encode()
        rest = struct.pack("!H", len(topic)) + topic + b"\x00\x00" + payload
        head = b"\x32" + _length(len(rest))
        self._template = np.frombuffer(head + rest, np.uint8)
        begin = len(head) + 2
        self._device = begin + topic.index(b"/d000/") + 2
        self._id = begin + len(topic)
        self._payload = self._id + 2
        self._sequence, self._times, self._values = places
        self._moments = moments

    @property
    def size(self) -> int:
        """Bytes of a frame."""
        return len(self._template)

    def block(self, first: int, n: int, first_id: int) -> bytes:
        """Frames `first` to `first + n`; packet ids run on from `first_id`."""
        stream, base = self._stream, self._payload
        rows = np.repeat(self._template[None, :], n, axis=0)
        number = np.arange(first, first + n, dtype=np.int64)
        device, turn = number % stream.devices, number // stream.devices
        _digits(rows, self._device, device, 3)
        ids = (first_id + np.arange(n)) % _IDS + 1
        rows[:, self._id], rows[:, self._id + 1] = ids >> 8, ids & 255
        _digits(rows, base + self._sequence, _FIRST_SEQUENCE + turn, 7)
        for k in range(self._moments):
            moment = turn * self._moments + k
            _digits(rows, base + self._times[k], stream.start_ms + moment * 1000, 13)
            for place in self._values[k]:
                _digits(rows, base + place, 100 + moment % 900, 3)
        return rows.tobytes()


def _template(
    quantities: Sequence[str], moments: int, array: bool
) -> tuple[bytes, tuple[int, list[int], list[list[int]]]]:
    """A payload with zeros where numbers belong, and where those are: sequence, times, values of each moment."""
    text = '{"v":1,"seq":'
    sequence = len(text)
    text += "0" * 7 + ","
    times: list[int] = []
    values: list[list[int]] = []
    text += '"samples":[' if array else ""
    for k in range(moments):
        text += ("," if k else "") + ("{" if array else "")
        times.append(len(text) + len('"time":'))
        text += '"time":' + "0" * 13 + ',"values":{'
        places = []
        for j, quantity in enumerate(quantities):
            text += ("," if j else "") + f'"{quantity}":'
            places.append(len(text))
            text += "000.25"
        values.append(places)
        text += "}" + ("}" if array else "")
    return (text + ("]" if array else "") + "}").encode(), (sequence, times, values)


def _digits(rows: NDArray[np.uint8], place: int, numbers: NDArray[np.int64], width: int) -> None:
    for k in range(width - 1, -1, -1):
        rows[:, place + k] = 48 + numbers % 10
        numbers = numbers // 10


def blast(
    url: str, stream: Stream, rate: float = 0.0, connections: int = 1, window: int = WINDOW,
    done: Callable[[], int] | None = None,
) -> LoadReport:  # fmt: skip
    """Publishes `stream` at QoS 1 and waits for every acknowledgement of the broker.

    Args:
        url: of the broker.
        stream: what is sent.
        rate: messages a second; 0 is as fast as they are taken.
        connections: among which the blocks go around.
        window: messages without acknowledgement on each.
        done: how many the consumer is through with; the generator keeps `AHEAD` messages before it and no more, so that
            the consumer is measured and not a growing queue of the broker.

    Raises:
        ServiceError: the broker or the consumer falls silent.
    """
    lines = [_Line(url, n) for n in range(connections)]
    frames = _Frames(stream)
    began, cpu = time.monotonic(), time.process_time()
    heard = began
    marks: list[tuple[int, float]] = []
    sent = turn = 0
    through, asked = 0, began
    ahead = min(AHEAD, AHEAD_BYTES // frames.size)
    try:
        while (acknowledged := sum(line.acknowledged for line in lines)) < stream.count:
            now = time.monotonic()
            line = lines[turn % connections]
            may = min(BLOCK, stream.count - sent, window - line.waiting)
            if done is not None:
                if now - asked > ASK_S:
                    before, asked, through = through, now, done()
                    heard = now if through > before else heard
                may = min(may, through + ahead - sent)
            if rate > 0:
                may = min(may, int((now - began) * rate) + 1 - sent)
            if may >= min(BLOCK, stream.count - sent) or (may > 0 and rate > 0):
                line.send(frames.block(sent, may, line.sent), may)
                sent += may
                turn += 1
                marks.append((sent, time.time()))
                wait_s = 0.0
            else:
                turn += 1 if may <= 0 else 0
                wait_s = 0.005 if rate > 0 and sent < stream.count else 0.05
            readable, _, _ = select.select(lines, (), (), wait_s)
            for line in readable:
                line.read()
                heard = now
            if now - heard > SILENCE_S:
                raise ServiceError(f"The broker acknowledged {acknowledged} of {sent} messages and fell silent.")
    finally:
        for line in lines:
            line.close()
    return LoadReport(tuple(marks), acknowledged, time.monotonic() - began, time.process_time() - cpu)


class _Line:
    """One connection to the broker."""

    def __init__(self, url: str, number: int) -> None:
        parts = urlsplit(url)
        name, word = unquote(parts.username or "").encode(), unquote(parts.password or "").encode()
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 1883), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _text(b"MQTT") + struct.pack("!BBH", 4, 0xC2, 600) + _text(f"load{number}".encode())
        body += _text(name) + _text(word)
        self._socket.sendall(b"\x10" + _length(len(body)) + body)
        if self._socket.recv(4)[3:4] != b"\x00":
            raise ServiceError("The broker refuses the load generator.")
        self._socket.settimeout(SILENCE_S)
        self._bytes = 0
        self.sent = 0

    @property
    def acknowledged(self) -> int:
        """PUBACKs of four bytes; nothing else comes."""
        return self._bytes // 4

    @property
    def waiting(self) -> int:
        """Sent and not acknowledged."""
        return self.sent - self.acknowledged

    def fileno(self) -> int:
        """For select."""
        return self._socket.fileno()

    def send(self, data: bytes, messages: int) -> None:
        """Hands over whole frames."""
        self._socket.sendall(data)
        self.sent += messages

    def read(self) -> None:
        """Takes what is there."""
        data = self._socket.recv(65_536)
        if not data:
            raise ServiceError("The broker closed the connection of the load generator.")
        self._bytes += len(data)

    def close(self) -> None:
        """Breaks the line."""
        self._socket.close()


def _text(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, digit = divmod(size, 128)
        out.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(out)
