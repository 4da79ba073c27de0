"""A paho client that takes publications in blocks: one receive call, one walk over the frames, one write of the answers.

paho spends four system calls, six locks and an object with fifteen fields on each message, about 30 microseconds; here a
message costs about one. Only the reading of packets is replaced (`_packet_read`): connecting, subscribing, keep-alive,
writing and everything that is not a PUBLISH stay paho's, which gets those packets whole. The few names of paho's inside that
are used are listed in `PAHO_INSIDE`; a test checks that the pinned version has them.
"""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MalformedPacket

PAHO_INSIDE = ("_packet_read", "_packet_handle", "_in_packet", "_sock_recv", "_packet_queue", "_last_bytes_received")
RECEIVE_BYTES = 128 * 1024
"""Read at once: some 800 messages of three values."""
_PUBLISH = 0x30
_DOLLAR = 0x24
_PUBACK_HEAD = b"\x40\x02"


class RawMessage(NamedTuple):
    """One delivery of the broker."""

    topic: bytes
    payload: bytes
    received_us: int
    """Our clock at arrival, microseconds since 1970."""
    retained: bool
    """Kept by the broker from earlier: it says nothing new about when."""


@dataclass(frozen=True, slots=True)
class Block:
    """Publications of one receive call, as they came."""

    data: bytes
    bounds: array[int]
    """Four numbers a message: begin and end of the topic, begin and end of the payload. A begin of the topic below zero
    marks a retained message (-1 - begin)."""
    received_us: int
    """Our clock when the first came; each further one counts a microsecond later, so that their order is kept."""

    def __len__(self) -> int:
        return len(self.bounds) // 4

    def topic(self, n: int) -> bytes:
        """Where number `n` was published."""
        begin, end = self.bounds[4 * n : 4 * n + 2]
        return self.data[begin if begin >= 0 else -1 - begin : end]

    def message(self, n: int) -> RawMessage:
        """One publication on its own."""
        topic, topic_end, begin, end = self.bounds[4 * n : 4 * n + 4]
        begun = topic if topic >= 0 else -1 - topic
        return RawMessage(self.data[begun:topic_end], self.data[begin:end], self.received_us + n, topic < 0)

    def slice(self, first: int, last: int) -> Block:
        """Publications `first` to `last` as a block of their own."""
        return Block(self.data, self.bounds[4 * first : 4 * last], self.received_us + first)


def block_of(messages: list[RawMessage]) -> Block:
    """A block of messages that did not come from the broker; arrival times run on from the first."""
    data = bytearray()
    bounds = array("i")
    for message in messages:
        begin = len(data)
        middle = begin + len(message.topic)
        data += message.topic + message.payload
        bounds.extend((-1 - begin if message.retained else begin, middle, middle, len(data)))
    return Block(bytes(data), bounds, messages[0].received_us if messages else 0)


class Intake(paho.Client):
    """A client whose publications are collected instead of being handed to `on_message`.

    The caller takes what came with `take` and acknowledges with `acknowledge`.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._rest = b""
        self._taken: list[tuple[Block, bytes]] = []
        self.said: list[tuple[bytes, bytes]] = []
        """(topic, payload) of what the broker published about itself, until the caller empties it."""
        self.more = False
        """The last call found more than it read, which select may not tell (TLS)."""

    def take(self) -> list[tuple[Block, bytes]]:
        """What came since the last call: blocks, each with the acknowledgements it is owed."""
        taken, self._taken = self._taken, []
        return taken

    def acknowledge(self, owed: bytes) -> None:
        """Queues acknowledgements as `take` gave them, as one write."""
        if owed:
            self._packet_queue(paho.PUBACK, owed, 0, 0)

    def reconnect(self) -> MQTTErrorCode:
        """As paho's; what was read and not taken belongs to the old connection."""
        self._rest = b""
        self._taken = []
        return super().reconnect()

    def _packet_read(self) -> MQTTErrorCode:
        """Reads once and deals with every whole packet in it."""
        self.more = False
        try:
            fresh = self._sock_recv(RECEIVE_BYTES)
        except BlockingIOError:
            return paho.MQTT_ERR_AGAIN
        except OSError:
            return paho.MQTT_ERR_CONN_LOST
        if not fresh:
            return paho.MQTT_ERR_CONN_LOST
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        line: Any = self._sock
        self.more = len(fresh) == RECEIVE_BYTES or (hasattr(line, "pending") and line.pending() > 0)
        data = self._rest + fresh if self._rest else fresh
        return self._walk(data, time.time_ns() // 1000)

    def _walk(self, data: bytes, now_us: int) -> MQTTErrorCode:
        """Notes where the publications lie; hands every other packet to paho."""
        bounds: list[int] = []
        owed: list[bytes] = []
        position, size = 0, len(data)
        code = paho.MQTT_ERR_SUCCESS
        while position + 2 <= size and not code:
            command, length = data[position], data[position + 1]
            begin = position + 2
            if length > 127:
                found = _length(data, position + 1)
                if found is None:
                    if size - position > 5:
                        code = paho.MQTT_ERR_PROTOCOL
                    break
                length, begin = found
            end = begin + length
            if end > size:
                break
            if command & 0xF0 == _PUBLISH:
                topic_end = begin + 2 + (data[begin] << 8 | data[begin + 1]) if length >= 2 else size + 1
                payload = topic_end
                if command & 6:
                    payload += 2
                    owed.append(data[topic_end:payload])
                if payload > end or end == begin + 2:
                    code = paho.MQTT_ERR_PROTOCOL
                    break
                if data[begin + 2] == _DOLLAR and not command & 6:
                    self.said.append((data[begin + 2 : topic_end], data[payload:end]))
                else:
                    bounds += (begin + 2 if not command & 1 else -3 - begin, topic_end, payload, end)
            else:
                code = self._control(command, data[begin:end])
            position = end
        self._rest = data[position:]
        if bounds:
            acknowledgements = _PUBACK_HEAD + _PUBACK_HEAD.join(owed) if owed else b""
            self._taken.append((Block(data, array("i", bounds), now_us), acknowledgements))
        return code

    def _control(self, command: int, body: bytes) -> MQTTErrorCode:
        """One whole packet for paho's own handlers."""
        packet = self._in_packet
        packet["command"], packet["remaining_length"] = command, len(body)
        packet["packet"], packet["pos"] = bytearray(body), 0
        try:
            code = self._packet_handle()
        except MalformedPacket:
            code = paho.MQTT_ERR_PROTOCOL
        self._in_packet["command"], self._in_packet["packet"] = 0, bytearray()
        return code


def _length(data: bytes, position: int) -> tuple[int, int] | None:
    """A remaining length of several bytes and where the packet's body begins; None when it is not whole or not one."""
    length = 0
    for k in range(4):
        if position + k >= len(data):
            return None
        digit = data[position + k]
        length |= (digit & 127) << 7 * k
        if digit < 128:
            return length, position + k + 1
    return None
