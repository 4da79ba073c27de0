"""The maker's check: a device that speaks as it should passes, each fault fails its own point."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from collateral.errors import ServiceError
from iot.conformance import Heard, Listener, Point, check
from iot.payload import encode_status, encode_telemetry
from tests.iot_support import Publisher
from tests.services_support import Broker

TOPIC = "cw/v1/S1/m1/telemetry"
NOW_US = 1_800_000_000_000_000


def good(count: int = 5) -> list[Heard]:
    out = [Heard("cw/v1/S1/m1/status", encode_status("online", 0, NOW_US // 1000), 1, True, NOW_US)]
    for n in range(1, count):
        at = NOW_US + n * 1_000_000
        out.append(Heard(TOPIC, encode_telemetry(n, at // 1000, {"active_power_kw": 5.0}), 1, False, at))
    return out


def verdict(points: list[Point]) -> dict[str, bool | None]:
    return {point.name: point.passed for point in points}


def test_a_good_device_passes_every_point() -> None:
    assert set(verdict(check(good(), 1.0)).values()) == {True}


def test_nothing_heard_decides_nothing_but_that() -> None:
    found = verdict(check([]))
    assert found.pop("heard") is False
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("readable", Heard(TOPIC, b"{", 1, False, NOW_US + 9_000_000)),
        ("values", Heard(TOPIC, encode_telemetry(5, NOW_US // 1000 + 9_000, {"power": 1.0}), 1, False, NOW_US + 9_000_000)),
        ("sequence", Heard(TOPIC, encode_telemetry(9, NOW_US // 1000, {"active_power_kw": 1.0}), 1, False, NOW_US)),
        (
            "clock",
            Heard(TOPIC, encode_telemetry(5, NOW_US // 1000, {"active_power_kw": 1.0}), 1, False, NOW_US + 60_000_000),
        ),
        ("qos", Heard(TOPIC, encode_telemetry(5, NOW_US // 1000, {"active_power_kw": 1.0}), 0, False, NOW_US)),
        ("retained", Heard(TOPIC, encode_telemetry(5, NOW_US // 1000, {"active_power_kw": 1.0}), 1, True, NOW_US)),
    ],
)
def test_each_fault_fails_its_point(point: str, message: Heard) -> None:
    assert verdict(check([*good(), message]))[point] is False


def test_a_wrong_interval_fails() -> None:
    assert verdict(check(good(8), 60.0))["interval"] is False


@pytest.fixture
def speaking(broker: Broker) -> Iterator[Broker]:
    publisher = Publisher(broker.mqtt_fleet_url)
    stop = threading.Event()

    def speak() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            publisher.send([(TOPIC, encode_telemetry(number, time.time_ns() // 1_000_000, {"active_power_kw": 5.0}))])
            stop.wait(0.2)

    thread = threading.Thread(target=speak)
    thread.start()
    yield broker
    stop.set()
    thread.join()
    publisher.close()


def test_listening_on_a_real_broker(speaking: Broker) -> None:
    points = verdict(check(Listener(speaking.mqtt_url, "m1").listen(2.0), 0.2))
    assert points.pop("status") is None
    assert set(points.values()) == {True}
    with pytest.raises(ServiceError, match="not let this check in"):
        Listener(speaking.mqtt_url.replace(speaking.passwords["ingest"], "wrong"), "m1").listen(1.0)
