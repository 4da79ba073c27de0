"""The door of telemetry: the grammar is kept, and no bytes whatever make it raise."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collateral.errors import InvalidInputError
from collateral.quantities import READING_QUANTITIES
from iot.payload import (
    LIMITS,
    Message,
    Rejection,
    Sample,
    decode,
    encode_last_will,
    encode_samples,
    encode_status,
    encode_telemetry,
)
from iot.topics import Channel, build_topic, parse_topic, subscriptions

NOW_MS = 1_780_000_000_000
NOW_US = NOW_MS * 1000
TOPIC = b"cw/v1/S1/m1/telemetry"
STATUS = b"cw/v1/S1/m1/status"


def read(payload: bytes, topic: bytes = TOPIC) -> Message:
    message = decode(topic, payload, NOW_US)
    assert isinstance(message, Message), message
    return message


def refused(payload: bytes, topic: bytes = TOPIC) -> str:
    rejection = decode(topic, payload, NOW_US)
    assert isinstance(rejection, Rejection), rejection
    return rejection.reason


def test_three_forms_say_the_same() -> None:
    several = read(encode_telemetry(7, NOW_MS, {"active_power_kw": 1.5, "energy_total_kwh": 8.0}))
    assert several.sequence == 7
    assert several.samples == (Sample("active_power_kw", NOW_US, 1.5), Sample("energy_total_kwh", NOW_US, 8.0))
    single = read(b'{"v":1,"seq":7,"quantity":"active_power_kw","time":%d,"value":1.5}' % NOW_MS)
    assert single.samples == several.samples[:1]
    array = read(encode_samples(7, [(NOW_MS, {"active_power_kw": 1.5}), (NOW_MS + 1, {"active_power_kw": 2})]))
    assert array.samples == (Sample("active_power_kw", NOW_US, 1.5), Sample("active_power_kw", NOW_US + 1000, 2.0))


@pytest.mark.parametrize("text", ["2024-03-01T08:00:00+08:00", "2024-03-01T00:00:00Z", "2024-02-29T19:00:00-05:00"])
def test_times_with_any_offset_are_one_moment(text: str) -> None:
    message = read(orjson.dumps({"v": 1, "seq": 0, "time": text, "values": {"weight_kg": 1}}))
    assert message.samples[0].time_us == 1_709_251_200_000_000


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b'{"v":1,"seq":1,"time":1,"values":{"weight_kg":NaN}}', "not_json"),
        (b"[" * 100_000, "not_json"),
        (b"[]", "schema"),
        (b'{"v":2}', "version"),
        (b'{"v":true}', "version"),
        (b'{"v":1}', "schema"),
        (b'{"v":1,"seq":-1,"time":1,"values":{}}', "schema"),
        (b'{"v":1,"seq":1.5,"time":1,"values":{}}', "schema"),
        (b'{"v":1,"seq":1,"time":"2024-01-01T00:00:00","values":{"weight_kg":1}}', "time"),
        (b'{"v":1,"seq":1,"time":"yesterday","values":{"weight_kg":1}}', "time"),
        (b'{"v":1,"seq":1,"time":null,"values":{"weight_kg":1}}', "time"),
        (b'{"v":1,"seq":1,"time":0,"values":{"weight_kg":1}}', "past"),
        (b'{"v":1,"seq":1,"time":18446744073709551615,"values":{"weight_kg":1}}', "future"),
        (b'{"v":1,"seq":1,"time":1780000000000,"values":{}}', "schema"),
        (b'{"v":1,"seq":1,"time":1780000000000,"values":{"weight_kg":[1]}}', "schema"),
        (b'{"v":1,"seq":1,"time":1780000000000,"values":{"weight_kg":1},"samples":[]}', "schema"),
        (b'{"v":1,"seq":1,"samples":[]}', "schema"),
        (b'{"v":1,"seq":1,"time":1780000000000,"quantity":"weight_kg"}', "schema"),
        (b'"' + b"x" * LIMITS.payload_bytes + b'"', "too_large"),
    ],
)
def test_whole_message_is_refused_with_its_reason(payload: bytes, reason: str) -> None:
    assert refused(payload) == reason


def test_clock_ahead_of_ours_is_refused_only_beyond_ten_minutes() -> None:
    assert read(encode_telemetry(1, NOW_MS + 599_000, {"weight_kg": 1})).samples
    assert refused(encode_telemetry(1, NOW_MS + 601_000, {"weight_kg": 1})) == "future"


def test_one_bad_value_leaves_its_neighbours() -> None:
    values = {"weight_kg": -1, "nothing": 1, "tags_present": 4, "speed_km_h": "5", "machine_running": True}
    message = read(orjson.dumps({"v": 1, "seq": 3, "time": NOW_MS, "values": values}))
    assert message.samples == (Sample("tags_present", NOW_US, 4.0), Sample("machine_running", NOW_US, 1.0))
    assert [row.reason for row in message.rejected] == ["range", "unknown_quantity", "wrong_type"]
    again = orjson.loads(message.rejected[0].payload)
    assert again == {"v": 1, "seq": 3, "quantity": "weight_kg", "time": NOW_MS, "value": -1}


def test_bad_time_of_one_sample_leaves_the_others() -> None:
    bad = {"time": "x", "values": {"weight_kg": 1, "tags_present": 1}}
    good = {"time": NOW_MS, "values": {"weight_kg": 1}}
    message = read(orjson.dumps({"v": 1, "seq": 1, "samples": [bad, good]}))
    assert len(message.samples) == 1
    assert [row.reason for row in message.rejected] == ["time", "time"]


def test_status_and_last_will() -> None:
    status = read(encode_status("online", 4, NOW_MS), STATUS).status
    assert status is not None and (status.state, status.time_us, status.reason) == ("online", NOW_US, "")
    will = read(encode_last_will(), STATUS).status
    assert will is not None and (will.state, will.time_us, will.reason) == ("offline", None, "last_will")
    assert refused(b'{"v":1,"state":"asleep"}', STATUS) == "schema"


@pytest.mark.parametrize(
    "topic",
    [
        b"", b"cw/v1/S1/m1", b"cw/v2/S1/m1/telemetry", b"cw/v1//m1/telemetry", b"cw/v1/S1/m1/telemetry/x",
        b"cw/v1/S1/m\xff/telemetry", b"cw/v1/S1/m1/telemetry\n", b"cw/v1/S 1/m1/telemetry",
    ],
)  # fmt: skip
def test_topics_outside_the_grammar(topic: bytes) -> None:
    assert parse_topic(topic) is None
    assert refused(encode_telemetry(1, NOW_MS, {"weight_kg": 1}), topic) == "topic"


def test_topic_round_trip_and_filters() -> None:
    parsed = parse_topic(build_topic("S-1", "dev_2", Channel.STATUS).encode())
    assert parsed is not None and (parsed.site_id, parsed.device_id, parsed.channel) == ("S-1", "dev_2", Channel.STATUS)
    with pytest.raises(InvalidInputError, match="cannot stand in a topic"):
        build_topic("S/1", "d", Channel.STATUS)
    json = ("$share/g/cw/v1/+/+/telemetry", "$share/g/cw/v1/+/+/status")
    assert subscriptions("g", sparkplug=False) == json
    assert subscriptions("g")[:3] == (*json, "spBv1.0/+/NBIRTH/+"), "births must come in order: never shared"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_FIELD = st.sampled_from(["v", "seq", "time", "values", "samples", "quantity", "value", "state", "reason"])
_NEAR = st.fixed_dictionaries({"v": st.just(1)}).flatmap(
    lambda base: st.dictionaries(_FIELD, _JSON, max_size=6).map(lambda more: {**more, **base})
)


@settings(max_examples=400, deadline=None)
@given(
    st.binary(max_size=200) | _NEAR.map(lambda body: _dump(body)),
    st.sampled_from([TOPIC, STATUS]) | st.binary(max_size=40),
)
def test_no_bytes_make_it_raise(payload: bytes, topic: bytes) -> None:
    outcome = decode(topic, payload, NOW_US)
    if isinstance(outcome, Rejection):
        assert outcome.reason and outcome.detail.isascii() and "\0" not in outcome.detail
        return
    for sample in outcome.samples:
        row = READING_QUANTITIES[sample.quantity]
        assert row.low <= sample.value <= row.high and math.isfinite(sample.value)
        assert LIMITS.oldest_us <= sample.time_us <= NOW_US + LIMITS.future_us
    for rejected in outcome.rejected:
        assert rejected.reason and rejected.detail.isascii() and "\0" not in rejected.detail


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**40),
    st.datetimes(datetime(2001, 1, 1), datetime(2026, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.dictionaries(st.sampled_from(sorted(READING_QUANTITIES)), st.floats(0, 1), min_size=1),
)
def test_what_is_encoded_is_decoded(sequence: int, moment: datetime, offset: int, values: dict[str, float]) -> None:
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    message = read(encode_telemetry(sequence, aware, values))
    assert message.sequence == sequence
    assert {sample.quantity: sample.value for sample in message.samples} == values
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert {epoch + timedelta(microseconds=sample.time_us) for sample in message.samples} == {aware}


def _dump(body: object) -> bytes:
    try:
        return orjson.dumps(body)
    except (TypeError, orjson.JSONEncodeError):
        return b"{}"
