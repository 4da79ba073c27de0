"""JSON payloads of devices: encode, and decode any bytes into samples or a stated rejection. Pure; grammar in docs/mqtt.md.

`decode` never raises. What is wrong with the message as a whole rejects the message (and keeps its bytes); what is wrong
with one value rejects that value and leaves its neighbours. Only stateless checks are made: schema, range and clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from collateral.quantities import READING_QUANTITIES, Adds
from iot.topics import Channel, Topic, parse_topic

VERSION = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RANGES: Mapping[str, tuple[float, float, bool]] = {
    key: (row.low, row.high, row.adds is Adds.STATE) for key, row in READING_QUANTITIES.items()
}
_STATES = ("online", "offline")


@dataclass(frozen=True)
class Limits:
    """What the door lets in."""

    payload_bytes: int = 262_144
    """Longest payload."""
    points: int = 10_000
    """Most values in one message."""
    future_us: int = 600_000_000
    """A device clock may be this far ahead of ours, microseconds."""
    oldest_us: int = 946_684_800_000_000
    """Oldest time accepted, microseconds since 1970; 2000-01-01 tells a device whose clock was never set."""


LIMITS = Limits()


class Sample(NamedTuple):
    """One value that passed the stateless checks."""

    quantity: str
    time_us: int
    """Microseconds since 1970 UTC, by the device's clock."""
    value: float


@dataclass(frozen=True, slots=True)
class RejectedSample:
    """One value that did not pass."""

    reason: str
    detail: str
    payload: bytes
    """The value alone, as a payload of the single form, so that it can be tried again."""


@dataclass(frozen=True, slots=True)
class Status:
    """A device says that it is there or leaving."""

    state: str
    """`online` or `offline`."""
    time_us: int | None
    """None for a last will, which was written before the device went."""
    reason: str
    stale: tuple[str, ...] = ()
    """Quantities whose last values hold no longer (a death in Sparkplug)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A payload that was understood."""

    site_id: str
    device_id: str
    sequence: int | None
    """The device's message number."""
    samples: tuple[Sample, ...] = ()
    rejected: tuple[RejectedSample, ...] = ()
    status: Status | None = None
    gateway_id: str | None = None
    """Sparkplug: the edge node that speaks for the device, empty when it is the device itself; None on the JSON topics."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A payload that was not understood."""

    reason: str
    """`topic`, `too_large`, `not_json`, `schema`, `version`, `time`, `future` or `past`; Sparkplug also `not_protobuf` and
    `unknown_alias`."""
    detail: str
    device_id: str = ""


class _RefusedError(ValueError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def encode_telemetry(sequence: int, time: datetime | int, values: Mapping[str, float]) -> bytes:
    """Several quantities of one moment. `time`: aware, or milliseconds since 1970 UTC."""
    return orjson.dumps({"v": VERSION, "seq": sequence, "time": _time_out(time), "values": dict(values)})


def encode_samples(sequence: int, samples: Iterable[tuple[datetime | int, Mapping[str, float]]]) -> bytes:
    """Past samples in one message, as a device sends them after an outage."""
    body = [{"time": _time_out(time), "values": dict(values)} for time, values in samples]
    return orjson.dumps({"v": VERSION, "seq": sequence, "samples": body})


def encode_single(quantity: str, time: Any, value: Any, sequence: int | None) -> bytes:
    """One value as a message of its own; `time` as it stands in a payload."""
    body: dict[str, Any] = {"v": VERSION, "quantity": quantity, "time": time, "value": value}
    if sequence is not None:
        body["seq"] = sequence
    return orjson.dumps(body)


def encode_status(state: str, sequence: int, time: datetime | int) -> bytes:
    """`online` or `offline`, said by the device itself."""
    return orjson.dumps({"v": VERSION, "seq": sequence, "state": state, "time": _time_out(time)})


def encode_last_will() -> bytes:
    """What a device leaves with the broker, retained, to be said when its connection breaks."""
    return orjson.dumps({"v": VERSION, "state": "offline", "reason": "last_will"})


def encode_resend(first: int, last: int) -> bytes:
    """Asks a device to send its messages `first` to `last` again."""
    return orjson.dumps({"v": VERSION, "resend": {"first": first, "last": last}})


def decode(topic: bytes | str, payload: bytes, received_us: int, limits: Limits = LIMITS) -> Message | Rejection:
    """What `payload` says. `received_us`: our clock at arrival, microseconds since 1970. Never raises, on any bytes."""
    raw = topic.encode("utf-8", "surrogateescape") if isinstance(topic, str) else topic
    where = parse_topic(raw)
    if where is None:
        return Rejection("topic", "the topic is not cw/v1/SITE/DEVICE/telemetry or .../status")
    try:
        return _decode(where, payload, received_us, limits)
    except _RefusedError as refused:
        return Rejection(refused.reason, refused.detail, where.device_id)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return Rejection("schema", f"{type(error).__name__}", where.device_id)


def _decode(where: Topic, payload: bytes, received_us: int, limits: Limits) -> Message:
    if len(payload) > limits.payload_bytes:
        raise _RefusedError("too_large", f"{len(payload)} bytes; the limit is {limits.payload_bytes}")
    try:
        body = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise _RefusedError("not_json", ascii(str(error))[:160]) from None
    if type(body) is not dict:
        raise _RefusedError("schema", f"the payload is {_show(body)}, not an object")
    if body.get("v") != VERSION or body.get("v") is True:
        raise _RefusedError("version", f"v is {_show(body.get('v'))}; this service reads version {VERSION}")
    sequence = _sequence(body.get("seq"))
    if where.channel is Channel.STATUS:
        status = _status(body, received_us, limits)
        return Message(where.site_id, where.device_id, sequence, status=status)
    reader = _Reader(sequence, received_us, limits)
    reader.read(body)
    return Message(where.site_id, where.device_id, sequence, tuple(reader.samples), tuple(reader.rejected))


def read_values(
    values: Iterable[tuple[str, int | None, Any]], received_us: int, limits: Limits = LIMITS
) -> tuple[tuple[Sample, ...], tuple[RejectedSample, ...]] | Rejection:
    """Values of another protocol (quantity, milliseconds since 1970, value) under the checks of this one."""
    reader = _Reader(None, received_us, limits)
    try:
        for quantity, time_ms, value in values:
            reader.read_value(quantity, time_ms, value)
    except _RefusedError as refused:
        return Rejection(refused.reason, refused.detail)
    return tuple(reader.samples), tuple(reader.rejected)


class _Reader:
    """Collects the values of one telemetry payload."""

    __slots__ = ("_limits", "_received_us", "_sequence", "rejected", "samples")

    def __init__(self, sequence: int | None, received_us: int, limits: Limits) -> None:
        self._sequence = sequence
        self._received_us = received_us
        self._limits = limits
        self.samples: list[Sample] = []
        self.rejected: list[RejectedSample] = []

    def read(self, body: dict[str, Any]) -> None:
        forms = [name for name in ("values", "samples", "quantity") if name in body]
        if len(forms) != 1:
            raise _RefusedError("schema", "exactly one of values, samples and quantity must be there")
        if forms[0] == "samples":
            self._read_array(body["samples"])
            return
        raw_time = body.get("time")
        time_us = _time_in(raw_time, self._received_us, self._limits)
        if forms[0] == "values":
            self._read_values(body["values"], raw_time, time_us)
        else:
            if "value" not in body:
                raise _RefusedError("schema", "value is missing")
            quantity = body["quantity"]
            if type(quantity) is not str:
                raise _RefusedError("schema", f"quantity is {_show(quantity)}, not a text")
            self._read_values({quantity: body["value"]}, raw_time, time_us)

    def _read_array(self, samples: Any) -> None:
        if type(samples) is not list or not samples:
            raise _RefusedError("schema", f"samples is {_show(samples)}, not a list with entries")
        for entry in samples:
            if type(entry) is not dict or "values" not in entry or "time" not in entry:
                raise _RefusedError("schema", "a sample is not an object with time and values")
            raw_time = entry["time"]
            try:
                time_us = _time_in(raw_time, self._received_us, self._limits)
            except _RefusedError as refused:
                self._check_scalar(raw_time)
                for quantity, value in self._checked(entry["values"]).items():
                    self._reject(refused.reason, refused.detail, quantity, raw_time, value)
                continue
            self._read_values(entry["values"], raw_time, time_us)

    def read_value(self, quantity: str, time_ms: int | None, value: Any) -> None:
        """One value of another protocol; its time is checked on its own."""
        try:
            time_us = _time_in(time_ms, self._received_us, self._limits)
        except _RefusedError as refused:
            self._checked({quantity: value})
            self._reject(refused.reason, refused.detail, quantity, time_ms, value)
            return
        self._read_values({quantity: value}, time_ms, time_us)

    def _read_values(self, values: Any, raw_time: Any, time_us: int) -> None:
        for quantity, value in self._checked(values).items():
            known = _RANGES.get(quantity)
            if known is None:
                self._reject("unknown_quantity", f"{_show(quantity)} is not a quantity", quantity, raw_time, value)
                continue
            low, high, is_state = known
            if type(value) is not float and type(value) is not int and not (is_state and type(value) is bool):
                self._reject("wrong_type", f"{quantity} is {_show(value)}", quantity, raw_time, value)
                continue
            number = float(value)
            if low <= number <= high and math.isfinite(number):
                self.samples.append(Sample(quantity, time_us, number))
            else:
                self._reject("range", f"{quantity} is {number!r}, outside {low} to {high}", quantity, raw_time, value)

    def _checked(self, values: Any) -> dict[str, Any]:
        if type(values) is not dict or not values:
            raise _RefusedError("schema", f"values is {_show(values)}, not an object with entries")
        if len(self.samples) + len(self.rejected) + len(values) > self._limits.points:
            raise _RefusedError("too_large", f"more than {self._limits.points} values in one message")
        for value in values.values():
            self._check_scalar(value)
        return values

    @staticmethod
    def _check_scalar(value: Any) -> None:
        if type(value) in (list, dict):
            raise _RefusedError("schema", f"{_show(value)} where one value belongs")

    def _reject(self, reason: str, detail: str, quantity: str, raw_time: Any, value: Any) -> None:
        payload = encode_single(quantity, raw_time, value, self._sequence)
        self.rejected.append(RejectedSample(reason, detail, payload))


def _status(body: dict[str, Any], received_us: int, limits: Limits) -> Status:
    state = body.get("state")
    if state not in _STATES:
        raise _RefusedError("schema", f"state is {_show(state)}; use online or offline")
    reason = body.get("reason", "")
    if type(reason) is not str:
        raise _RefusedError("schema", f"reason is {_show(reason)}, not a text")
    time_us = None if body.get("time") is None else _time_in(body["time"], received_us, limits)
    return Status(state, time_us, ascii(reason)[1:-1][:100])


def _sequence(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < 2**62:
        raise _RefusedError("schema", f"seq is {_show(value)}, not a whole number from 0")
    return value


def _time_in(value: Any, received_us: int, limits: Limits) -> int:
    if type(value) is int:
        time_us = value * 1000
    elif type(value) is str:
        time_us = iso_us(value)
    else:
        raise _RefusedError("time", f"time is {_show(value)}; use ISO 8601 with offset or epoch milliseconds")
    if time_us > received_us + limits.future_us:
        raise _RefusedError("future", f"time {_show(value)} is {_seconds(time_us - received_us)} s ahead of our clock")
    if time_us < limits.oldest_us:
        raise _RefusedError("past", f"time {_show(value)} lies before the oldest time accepted")
    return time_us


def iso_us(text: str) -> int:
    """ISO 8601 with an offset as microseconds since 1970 UTC.

    Raises:
        ValueError: it is not.
    """
    try:
        moment = datetime.fromisoformat(text) if len(text) <= 40 else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise _RefusedError("time", f"time is {_show(text)}; use ISO 8601 with offset or epoch milliseconds")
    return (moment - _EPOCH) // _MICROSECOND


def _seconds(microseconds: int) -> int:
    return microseconds // 1_000_000


def _time_out(time: datetime | int) -> str | int:
    if isinstance(time, int):
        return time
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _show(value: Any) -> str:
    """A short text for a message, plain ASCII without NUL, whatever the value is."""
    if value is None or type(value) in (str, int, float, bool):
        return ascii(value)[:80]
    return f"a {type(value).__name__}"
