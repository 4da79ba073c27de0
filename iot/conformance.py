"""Does a device speak as docs/mqtt.md says? For its maker, against a test broker: listens a while and judges every point."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import paho.mqtt.client as paho

from collateral.errors import ServiceError
from iot.mqtt import leave, make_client
from iot.payload import Message, Rejection, decode
from iot.topics import PREFIX

Refused = TypeVar("Refused")
CLOCK_US = 5_000_000
"""A device's clock may be off by this."""
CONNECT_S = 10.0


@dataclass(frozen=True)
class Heard:
    """One message as the broker handed it over."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    received_us: int


@dataclass(frozen=True)
class Point:
    """One point of the check."""

    name: str
    passed: bool | None
    """None: nothing was seen that would tell."""
    finding: str


@dataclass
class Listener:
    """Collects what one device says."""

    url: str
    device_id: str
    heard: list[Heard] = field(default_factory=list)

    def listen(self, seconds: float) -> list[Heard]:
        """Returns all messages of `seconds`. Raises `ServiceError` when the broker does not let us in."""
        client = make_client(self.url, f"conformance-{time.monotonic_ns()}", clean_session=True)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        self._welcome = ""
        try:
            client.reconnect()
            end = time.monotonic() + CONNECT_S
            while not self._welcome and time.monotonic() < end:
                client.loop(0.1)
            if self._welcome != "Success":
                raise ServiceError(f"The broker does not let this check in ({self._welcome or 'no answer'}); see --broker.")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                client.loop(0.1)
        except OSError as error:
            raise ServiceError(f"The broker cannot be reached: {error}.") from error
        finally:
            leave(client)
        return self.heard

    def _on_connect(self, client: paho.Client, userdata: object, flags: object, reason: object, properties: object) -> None:
        self._welcome = str(reason)
        client.subscribe([(f"{PREFIX}/+/{self.device_id}/{channel}", 1) for channel in ("telemetry", "status")])

    def _on_message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        now = time.time_ns() // 1000
        self.heard.append(Heard(message.topic, bytes(message.payload), message.qos, message.retain, now))


def check(heard: Sequence[Heard], interval_s: float | None = None) -> list[Point]:
    """Judges what was heard.

    Args:
        heard: messages in order of arrival.
        interval_s: seconds between messages that the maker promises; None is not judged.
    """
    decoded = [decode(row.topic, row.payload, row.received_us) for row in heard]
    rejections = [item for item in decoded if isinstance(item, Rejection)]
    pairs = [(row, item) for row, item in zip(heard, decoded, strict=True) if isinstance(item, Message)]
    fresh = [(row, item) for row, item in pairs if not row.retained]
    values = [(row, item) for row, item in fresh if item.samples]
    return [
        Point("heard", bool(heard), f"{len(heard)} messages"),
        Point("readable", _all(not rejections, heard), _first(rejections, lambda item: f"{item.reason}: {item.detail}")),
        _values_accepted(fresh),
        _sequence(fresh),
        _clock(values),
        Point("qos", _all(all(row.qos == 1 for row in heard), heard), f"{sum(row.qos != 1 for row in heard)} not at QoS 1"),
        _telemetry_not_retained(heard),
        _says_online(pairs),
        _interval(values, interval_s),
    ]


def _values_accepted(fresh: Sequence[tuple[Heard, Message]]) -> Point:
    rejected = [sample for _, item in fresh for sample in item.rejected]
    return Point("values", _all(not rejected, fresh), _first(rejected, lambda sample: f"{sample.reason}: {sample.detail}"))


def _sequence(fresh: Sequence[tuple[Heard, Message]]) -> Point:
    numbers = [item.sequence for _, item in fresh]
    if len(numbers) < 2:
        return Point("sequence", None, "two messages are needed")
    if any(number is None for number in numbers):
        return Point("sequence", False, "a message has no seq: losses cannot be seen")
    steps = [b - a for a, b in pairwise(numbers) if a is not None and b is not None]
    odd = [step for step in steps if step != 1]
    return Point("sequence", not odd, f"{len(odd)} of {len(steps)} steps are not 1" if odd else f"{len(steps)} steps of 1")


def _clock(values: Sequence[tuple[Heard, Message]]) -> Point:
    if not values:
        return Point("clock", None, "no telemetry was heard")
    off = [max(sample.time_us for sample in item.samples) - row.received_us for row, item in values]
    worst = max(off, key=abs) / 1e6
    return Point("clock", abs(worst) * 1e6 <= CLOCK_US, f"newest value is off by {worst:+.1f} s at worst")


def _telemetry_not_retained(heard: Sequence[Heard]) -> Point:
    kept = sum(row.retained and row.topic.endswith("/telemetry") for row in heard)
    return Point("retained", _all(not kept, heard), f"{kept} telemetry messages are kept by the broker")


def _says_online(pairs: Sequence[tuple[Heard, Message]]) -> Point:
    states = [item.status.state for _, item in pairs if item.status is not None]
    return Point("status", bool(states) or None, ", ".join(sorted(set(states))) or "no status was heard; see last will")


def _interval(values: Sequence[tuple[Heard, Message]], interval_s: float | None) -> Point:
    if interval_s is None or len(values) < 3:
        return Point("interval", None, "not asked, or fewer than three messages")
    gaps = sorted((b.received_us - a.received_us) / 1e6 for (a, _), (b, _) in pairwise(values))
    middle = gaps[len(gaps) // 2]
    return Point("interval", 0.5 * interval_s <= middle <= 1.5 * interval_s, f"{middle:.2f} s in the middle")


def _all(holds: bool, seen: Sequence[object]) -> bool | None:
    return holds if seen else None


def _first(items: Sequence[Refused], say: Callable[[Refused], str]) -> str:
    return f"{len(items)}, the first: {say(items[0])}" if items else "none refused"
