"""The fast path of payloads decides nothing: what it takes, the full reader would have taken, to the last value."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from iot.fastpath import PlainReader, Route, SlotBook
from iot.intake import Block, RawMessage, block_of
from iot.payload import LIMITS, Message, decode, encode_samples, encode_telemetry

NOW = 1_780_000_000_000_000
TOPIC = b"cw/v1/S1/m1/telemetry"
QUANTITIES = ("active_power_kw", "energy_total_kwh", "machine_running")


def reader() -> PlainReader:
    book = SlotBook()
    slots = {name: book.slot(number + 7, 0, name) for number, name in enumerate(QUANTITIES)}
    return PlainReader({TOPIC: Route(0, slots)}, book)


def block(*payloads: bytes, topic: bytes = TOPIC, retained: bool = False) -> Block:
    return block_of([RawMessage(topic, payload, NOW, retained) for payload in payloads])


def taken(*payloads: bytes) -> tuple[list[list[tuple[str, int, float]]], list[int], list[int]]:
    """Values, numbers and indices of the payloads that were taken as plain."""
    plain = reader()
    others = plain.read([block(*payloads)])
    points, heard, refused = plain.finish()
    values: list[list[tuple[str, int, float]]] = [[] for _ in heard.device]
    for slot, moment, value, message in zip(points.slot, points.time_us, points.value, points.message, strict=True):
        values[message].append((QUANTITIES[slot], int(moment), float(value)))
    left = {n for _, n in (*others, *refused)}
    return values, heard.sequence.tolist(), [n for n in range(len(payloads)) if n not in left]


def test_the_three_forms_are_plain() -> None:
    payloads = [
        encode_telemetry(1, 1_700_000_000_000, {"active_power_kw": 1.5, "energy_total_kwh": 7}),
        b'{"v":1,"seq":2,"quantity":"active_power_kw","time":"2026-01-01T08:00:00+08:00","value":3}',
        encode_samples(3, [(1_700_000_000_000 + k, {"energy_total_kwh": float(k)}) for k in range(4)]),
    ]
    values, sequences, plain = taken(*payloads)
    assert plain == [0, 1, 2] and sequences == [1, 2, 3] and [len(row) for row in values] == [2, 1, 4]
    for payload, row in zip(payloads, values, strict=True):
        message = decode(TOPIC, payload, NOW)
        assert isinstance(message, Message) and [tuple(sample) for sample in message.samples] == row


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"1", b'"x"', b"null", b"{", b"\xff",
        b'{"v":1,"seq":1,"time":1700000000000,"values":{}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":["active_power_kw"]}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":"active_power_kw"}',
        b'{"v":true,"seq":1,"time":1700000000000,"values":{"active_power_kw":1}}',
        b'{"v":2,"seq":1,"time":1700000000000,"values":{"active_power_kw":1}}',
        b'{"v":1,"seq":true,"time":1700000000000,"values":{"active_power_kw":1}}',
        b'{"v":1,"seq":-1,"time":1700000000000,"values":{"active_power_kw":1}}',
        b'{"v":1,"seq":1,"time":true,"values":{"active_power_kw":1}}',
        b'{"v":1,"seq":1,"time":"2026-01-01T08:00:00","values":{"active_power_kw":1}}',
        b'{"v":1,"seq":1,"time":99999999999999999,"values":{"active_power_kw":1}}',
        b'{"v":1,"seq":1,"time":1,"values":{"active_power_kw":1}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"active_power_kw":"1"}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"active_power_kw":true}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"active_power_kw":null}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"active_power_kw":1e308}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"weight_kg":1}}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"active_power_kw":1},"samples":[]}',
        b'{"v":1,"seq":1,"samples":[]}', b'{"v":1,"seq":1,"samples":{}}', b'{"v":1,"seq":1,"samples":[1]}',
        b'{"v":1,"seq":1,"samples":[{"time":1700000000000,"values":{"active_power_kw":1}},{"time":1}]}',
        b'{"v":1,"seq":1,"quantity":["active_power_kw"],"time":1700000000000,"value":1}',
        b'{"v":1,"seq":1,"state":"online","time":1700000000000}',
        b'{"v":1,"seq":1,"time":1700000000000,"values":{"active_power_kw":1}}' + b" " * LIMITS.payload_bytes,
    ],
)  # fmt: skip
def test_what_is_not_plain_is_left_and_its_neighbours_are_taken(payload: bytes) -> None:
    good = encode_telemetry(9, 1_700_000_000_000, {"active_power_kw": 1.0})
    values, sequences, plain = taken(good, payload, good)
    assert plain == [0, 2] and sequences == [9, 9] and values[0] == values[1]


def test_unknown_topics_and_retained_messages_are_left() -> None:
    good = encode_telemetry(9, 1_700_000_000_000, {"active_power_kw": 1.0})
    plain = reader()
    kept = block(good, retained=True)
    other = block(good, topic=b"cw/v1/S1/m2/telemetry")
    assert plain.read([kept, other]) == [(kept, 0), (other, 0)]
    assert kept.message(0) == RawMessage(TOPIC, good, NOW, True)
    assert plain.read_again([(block(good), 0)]) == []
    assert len(plain.finish()[1].device) == 1


numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(-1e6, 1e6), st.booleans(), st.none(), st.text(max_size=3), st.floats(0, 100)
)
values_ = st.one_of(st.dictionaries(st.sampled_from([*QUANTITIES, "weight_kg", "x"]), numbers, max_size=4), numbers)
times = st.one_of(st.integers(1_600_000_000_000, 1_780_000_900_000), numbers, st.just("2026-01-01T00:00:00Z"))
bodies = st.one_of(
    st.fixed_dictionaries({"v": st.just(1), "seq": st.integers(0, 99), "time": times, "values": values_}),
    st.fixed_dictionaries(
        {"v": st.just(1), "seq": st.integers(0, 9)},
        optional={
            "samples": st.lists(st.fixed_dictionaries({"time": times, "values": values_}), max_size=3),
            "time": times, "quantity": st.sampled_from([*QUANTITIES, "x"]), "value": numbers, "extra": numbers,
        },
    ),
    st.dictionaries(st.sampled_from(["v", "seq", "time", "values", "samples"]), numbers, max_size=5),
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(bodies=st.lists(bodies, min_size=1, max_size=4))
@example(bodies=[{"v": 1, "seq": 0, "time": 1_780_000_600_000, "values": {"machine_running": True}}])
def test_whatever_is_taken_is_what_the_full_reader_says(bodies: list[dict[str, Any]]) -> None:
    payloads = [orjson.dumps(body) for body in bodies]
    values, sequences, plain = taken(*payloads)
    for n, row, sequence in zip(plain, values, sequences, strict=True):
        message = decode(TOPIC, payloads[n], NOW)
        assert isinstance(message, Message) and not message.rejected and message.sequence == sequence
        assert [tuple(sample) for sample in message.samples] == row
