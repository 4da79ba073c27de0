"""Frames out of the byte stream however it is cut, and what of paho's inside is leant on."""

from __future__ import annotations

import struct

import paho.mqtt.client as paho
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from iot.intake import PAHO_INSIDE, Intake, RawMessage, block_of
from iot.mqtt import make_client_of


def publish(topic: bytes, payload: bytes, number: int, qos: int = 1, retain: int = 0, dup: int = 0) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + (struct.pack("!H", number) if qos else b"") + payload
    size, length = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        length.append(digit | (128 if size else 0))
        if not size:
            return bytes([0x30 | dup << 3 | qos << 1 | retain]) + bytes(length) + body


class Stream(Intake):
    """An intake that reads from memory and notes what paho gets."""

    def __init__(self) -> None:
        super().__init__(CallbackAPIVersion.VERSION2)
        self.pieces: list[bytes] = []
        self.control: list[tuple[int, bytes]] = []

    def _sock_recv(self, bufsize: int) -> bytes:
        return self.pieces.pop(0)

    def _packet_handle(self) -> MQTTErrorCode:
        self.control.append((self._in_packet["command"], bytes(self._in_packet["packet"])))
        return paho.MQTT_ERR_SUCCESS


def fed(pieces: list[bytes]) -> tuple[list[RawMessage], bytes, list[tuple[int, bytes]]]:
    stream = Stream()
    stream.pieces = list(pieces)
    messages: list[RawMessage] = []
    owed = b""
    while stream.pieces:
        assert stream._packet_read() == paho.MQTT_ERR_SUCCESS
        for block, answers in stream.take():
            messages += [block.message(n) for n in range(len(block))]
            owed += answers
    return messages, owed, stream.control


frames = st.lists(
    st.tuples(
        st.binary(min_size=1, max_size=12), st.binary(max_size=300), st.integers(1, 65535), st.integers(0, 1),
        st.integers(0, 1), st.integers(0, 1),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(frames=frames, data=st.data())
def test_messages_are_the_same_however_the_stream_is_cut(
    frames: list[tuple[bytes, bytes, int, int, int, int]], data: st.DataObject
) -> None:
    stream = b"\xd0\x00".join(publish(*frame) for frame in frames)  # with a ping's answer in between
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=6)))
    messages, owed, control = fed([stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)])
    assert [(m.topic, m.payload, m.retained) for m in messages] == [(f[0], f[1], bool(f[4])) for f in frames]
    assert owed == b"".join(b"\x40\x02" + struct.pack("!H", f[2]) for f in frames if f[3])
    assert control == [(0xD0, b"")] * (len(frames) - 1)


def test_order_of_arrival_shows_in_the_times() -> None:
    messages, _, _ = fed([publish(b"t", b"1", 1) + publish(b"t", b"2", 2)])
    assert messages[1].received_us == messages[0].received_us + 1


@pytest.mark.parametrize(
    "frame", [b"\x32\x01\x00", b"\x32\x04\x00\x09ab", b"\x32\xff\xff\xff\xff\x7f", b"\x32\x03\x00\x01a"]
)
def test_a_broken_stream_ends_the_connection(frame: bytes) -> None:
    stream = Stream()
    stream.pieces = [frame + bytes(8)]
    assert stream._packet_read() == paho.MQTT_ERR_PROTOCOL


def test_blocks_keep_messages_and_can_be_cut() -> None:
    messages = [RawMessage(b"t%d" % n, b"p" * n, 100 + n, n == 2) for n in range(5)]
    block = block_of(messages)
    assert [block.message(n) for n in range(5)] == messages
    part = block.slice(2, 4)
    assert [part.message(n) for n in range(len(part))] == messages[2:4] and part.topic(0) == b"t2"


def test_paho_has_what_is_leant_on() -> None:
    client = make_client_of(Intake, "mqtt://u:p@127.0.0.1:1", "c", clean_session=True)
    assert [name for name in PAHO_INSIDE if not hasattr(client, name)] == []
    assert {"command", "packet", "remaining_length", "pos"} <= set(client._in_packet)


class Wild(Intake):
    """An intake of a broker that sends anything; paho's own handlers read it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(CallbackAPIVersion.VERSION2)
        self.data = data

    def _sock_recv(self, bufsize: int) -> bytes:
        return self.data


@pytest.mark.parametrize("frame", [b"\x30\x02\x00\x00", b"\x90\x00", b"\x90\x01\x00", b"\xb0\x01\x00", b"\x20\x00"])
def test_a_frame_shorter_than_its_kind_ends_the_connection(frame: bytes) -> None:
    assert Wild(frame)._packet_read() == paho.MQTT_ERR_PROTOCOL


@settings(max_examples=300, deadline=None)
@given(kind=st.integers(0, 255), body=st.binary(max_size=40), rest=st.binary(max_size=20))
def test_garbage_from_the_broker_raises_nothing(kind: int, body: bytes, rest: bytes) -> None:
    assert isinstance(Wild(bytes([kind, len(body)]) + body + rest)._packet_read(), int)
