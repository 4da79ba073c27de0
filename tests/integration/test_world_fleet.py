"""The live fleet over a real broker: it fills the gap, goes on with values and message numbers, and leaves its will."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collateral.errors import ServiceError
from data_samples.fleet import FleetReport, Link, live_devices, run_fleet
from data_samples.world import World, make_config, plan_world, write_world
from iot.mqtt import drop, leave, make_client
from tests.services_support import Broker

Message = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Path]:
    """A world of three sites that ended three hours ago."""
    folder = tmp_path_factory.mktemp("fleet")
    world = plan_world(make_config(4, datetime.now(UTC) - timedelta(hours=3), 3, 0.3, 1.0))
    write_world(world, folder)
    return world, folder


@contextmanager
def listening(broker: Broker, topic: str) -> Iterator[list[Message]]:
    """Everything that arrives under `topic` while inside."""
    heard: list[Message] = []
    ready = threading.Event()
    client = make_client(broker.mqtt_url, "listener", clean_session=True)
    client.on_connect = lambda c, *rest: c.subscribe(topic, qos=1)
    client.on_subscribe = lambda *rest: ready.set()
    client.on_message = lambda c, u, message: heard.append((message.topic, json.loads(message.payload)))
    client.loop_start()
    assert ready.wait(10)
    try:
        yield heard
    finally:
        leave(client)


def wait_for(heard: list[Message], count: int) -> None:
    deadline = time.monotonic() + 10
    while len(heard) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(heard) >= count


def run(recorded: tuple[World, Path], broker: Broker, duration_s: float = 1.0) -> FleetReport:
    world, folder = recorded
    return run_fleet(world, folder, broker.mqtt_fleet_url, 0.4, duration_s, threading.Event())


def test_gap_is_filled_and_numbers_and_registers_go_on(recorded: tuple[World, Path], broker: Broker) -> None:
    world, folder = recorded
    last = {live.device.device_id: live for live in live_devices(world, folder, int(time.time() * 1000))}
    before = {name: (live.sequence, live.values_at(world.end_ms)) for name, live in last.items()}
    with listening(broker, "cw/v1/+/+/telemetry") as heard:
        first = run(recorded, broker)
        second = run(recorded, broker, 0.1)
        wait_for(heard, first.filled + first.live + second.live)
    assert first.devices == len(last) > 9
    assert first.unacknowledged == second.unacknowledged == 0
    assert 5 * first.devices <= first.filled <= 7 * first.devices
    assert first.live == 3 * first.devices
    assert second.filled == 0
    for name, (sequence, values) in before.items():
        mine = [body for topic, body in heard if topic.split("/")[3] == name]
        numbers = [body["seq"] for body in mine]
        assert numbers == sorted(set(numbers))
        assert sequence < numbers[0] <= sequence + 2
        # online, offline and online again are messages too
        assert numbers[-1] - numbers[0] <= len(numbers) + 3
        times = [datetime.fromisoformat(b["time"]).timestamp() if isinstance(b["time"], str) else b["time"] for b in mine]
        assert times == sorted(times)
        assert times[0] > world.end_ms
        for quantity in values:
            if quantity.endswith("_total_kwh") or quantity == "door_openings_total":
                readings = [values[quantity], *(body["values"][quantity] for body in mine)]
                assert readings == sorted(readings)


def test_status_is_retained_and_the_will_speaks_when_the_line_breaks(
    recorded: tuple[World, Path], broker: Broker
) -> None:
    world, folder = recorded
    live = live_devices(world, folder, int(time.time() * 1000))[0]
    device = live.device
    topic = f"cw/v1/{device.site_id}/{device.device_id}/status"
    link = Link(broker.mqtt_fleet_url, live)
    link.open()
    assert link.connected.wait(10)
    with listening(broker, topic) as heard:
        wait_for(heard, 1)
        assert heard[0][1]["state"] == "online"
        drop(link._client)
        wait_for(heard, 2)
        assert heard[1][1] == {"v": 1, "state": "offline", "reason": "last_will"}
    link.close(time.monotonic() + 1)


def test_wrong_password_is_said_at_once(recorded: tuple[World, Path], broker: Broker) -> None:
    world, folder = recorded
    wrong = broker.mqtt_fleet_url.replace("fleet:", "fleet:no")
    with pytest.raises(ServiceError, match="refused"):
        run_fleet(world, folder, wrong, 1.0, 1.0, threading.Event())


def test_stop_ends_the_run_between_rounds(recorded: tuple[World, Path], broker: Broker) -> None:
    world, folder = recorded
    stop = threading.Event()
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    report = run_fleet(world, folder, broker.mqtt_fleet_url, 600.0, None, stop)
    timer.join()
    assert report.live == report.devices
    assert report.seconds < 20
