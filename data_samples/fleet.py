"""The devices of a sample world, live: one MQTT session each, QoS 1, going on where the world's recorded telemetry ends.

Values are the world's own truth at the present moment, so registers go on growing and a dead inverter stays dead. Message
numbers go on too; they are kept in WORLD/fleet.json between runs. A gap of less than two days since the last message is
filled first, as a device with a memory does after an outage.
"""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from paho.mqtt.client import MQTTMessageInfo

from collateral.errors import InvalidInputError, ServiceError
from collateral.progress import progress
from collateral.quantities import READING_QUANTITIES, Adds
from data_samples.telemetry import DECIMALS, DeviceSeries
from data_samples.world import World
from iot.mqtt import leave, make_client
from iot.payload import encode_last_will, encode_status, encode_telemetry
from iot.topics import Channel, build_topic

log = logging.getLogger(__name__)

GAP_MS = 2 * 86_400_000
CONNECT_S = 30.0
FLUSH_S = 30.0
STATE_FILE = "fleet.json"
_STEPPED = (Adds.STATE, Adds.POSITION)
_WHOLE = ("tags_present", "door_openings_total", "speed_km_h")


@dataclass(frozen=True)
class FleetReport:
    """What a run of the fleet did."""

    devices: int
    filled: int
    """Messages that filled the gap since the last ones."""
    live: int
    """Messages with present values."""
    unacknowledged: int
    """Messages the broker had not acknowledged at the end."""
    seconds: float


class LiveDevice:
    """One device: what it measures at any moment, and its message counter."""

    def __init__(self, series: DeviceSeries, sequence: int, last_ms: int) -> None:
        self.series = series
        self.device = series.device
        self.sequence = sequence
        self.last_ms = last_ms
        self._counting = threading.Lock()

    def values_at(self, moment_ms: int) -> dict[str, float]:
        """Present values: between two recorded moments gauges and registers are interpolated, states hold.

        Raises:
            InvalidInputError: the world's truth does not reach `moment_ms`.
        """
        times = self.series.times_ms
        if not times[0] <= moment_ms <= times[-1]:
            raise InvalidInputError(
                f"This world's truth ends {(times[-1] - moment_ms) / 86_400_000:.0f} days from now; write a new world."
            )
        before = int(np.searchsorted(times, moment_ms, side="right")) - 1
        found: dict[str, float] = {}
        for quantity, values in self.series.values.items():
            if READING_QUANTITIES[quantity].adds in _STEPPED or quantity in _WHOLE:
                found[quantity] = float(values[before])
            else:
                found[quantity] = round(float(np.interp(moment_ms, times, values)), DECIMALS[quantity])
        return found

    def missed(self, until_ms: int) -> Iterator[tuple[int, dict[str, float]]]:
        """Recorded moments after the last message and up to `until_ms`, with their values."""
        gap = self.series.between(self.last_ms, until_ms)
        for index, moment in enumerate(gap.times_ms.tolist()):
            yield moment, {quantity: float(values[index]) for quantity, values in gap.values.items()}

    def next_sequence(self) -> int:
        """Number of the next message."""
        with self._counting:  # a reconnect says "online" from the session's own thread
            self.sequence += 1
            return self.sequence


class Link:
    """The MQTT session of one device."""

    def __init__(self, url: str, live: LiveDevice) -> None:
        device = live.device
        self._live = live
        self._telemetry = build_topic(device.site_id, device.device_id, Channel.TELEMETRY)
        self._status = build_topic(device.site_id, device.device_id, Channel.STATUS)
        self._client = make_client(url, f"device-{device.device_id}", clean_session=True)
        self._client.will_set(self._status, encode_last_will(), qos=1, retain=True)
        self._client.reconnect_delay_set(1, 30)
        self._client.on_connect = self._on_connect
        self.connected = threading.Event()
        self.refused = ""
        self._pending: list[MQTTMessageInfo] = []

    def open(self) -> None:
        """Begins to connect in a thread of its own, and again whenever the connection breaks."""
        self._client.loop_start()

    def _on_connect(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self.refused = str(reason)
            return
        self._say("online")
        self.connected.set()

    def _say(self, state: str) -> MQTTMessageInfo:
        payload = encode_status(state, self._live.next_sequence(), int(time.time() * 1000))
        return self._client.publish(self._status, payload, qos=1, retain=True)

    def send(self, moment_ms: int, values: Mapping[str, float]) -> None:
        """Publishes one message; paho keeps it until the broker acknowledges."""
        payload = encode_telemetry(self._live.next_sequence(), moment_ms, values)
        self._pending = [info for info in self._pending if not info.is_published()]
        self._pending.append(self._client.publish(self._telemetry, payload, qos=1))
        self._live.last_ms = max(self._live.last_ms, moment_ms)

    def flush(self, deadline: float) -> int:
        """Waits until `deadline` (monotonic) for acknowledgements; returns how many are missing."""
        for info in self._pending:
            with suppress(ValueError, RuntimeError):
                info.wait_for_publish(max(deadline - time.monotonic(), 0.001))
        self._pending = [info for info in self._pending if not info.is_published()]
        return len(self._pending)

    def close(self, deadline: float) -> None:
        """Says offline and leaves."""
        if self.connected.is_set():
            with suppress(ValueError, RuntimeError):
                self._say("offline").wait_for_publish(max(deadline - time.monotonic(), 0.001))
        leave(self._client)


def live_devices(world: World, folder: Path, now_ms: int) -> list[LiveDevice]:
    """All devices of a world as they stand now: counters from FOLDER/fleet.json, else from the recorded telemetry."""
    state = _read_state(folder / STATE_FILE)
    found: list[LiveDevice] = []
    for plan in progress(world.plans, "fleet", unit="site"):
        for series in world.series(plan, world.truth(plan)):
            recorded = series.between(0, world.end_ms)
            known = state.get(series.device.device_id, {})
            sequence = int(known.get("sequence", recorded.sequence[-1]))
            last_ms = int(known.get("last_ms", recorded.times_ms[-1]))
            kept = series.between(min(last_ms, now_ms) - GAP_MS, int(series.times_ms[-1]))
            found.append(LiveDevice(kept, sequence, last_ms))
    return found


def run_fleet(
    world: World, folder: Path, url: str, interval_s: float, duration_s: float | None, stop: threading.Event
) -> FleetReport:
    """Publishes until `duration_s` is over or `stop` is set.

    Raises:
        ServiceError: the broker cannot be reached within half a minute or refuses the sign-in.
    """
    began = time.monotonic()
    devices = live_devices(world, folder, _now_ms())
    links = [Link(url, device) for device in devices]
    filled = live = 0
    try:
        for link in links:
            link.open()
        _await_all(links, stop)
        filled = _fill_gaps(devices, links)
        live = _publish(devices, links, folder, interval_s, duration_s, stop)
    finally:
        deadline = time.monotonic() + FLUSH_S
        missing = sum(link.flush(deadline) for link in links)
        for link in links:
            link.close(deadline)
        _write_state(folder / STATE_FILE, devices)
    return FleetReport(len(devices), filled, live, missing, time.monotonic() - began)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _await_all(links: Sequence[Link], stop: threading.Event) -> None:
    deadline = time.monotonic() + CONNECT_S
    for link in links:
        while not link.connected.wait(0.2) and not stop.is_set():
            if link.refused:
                raise ServiceError(f"The broker refused a device: {link.refused}. Check user and password of its address.")
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"The broker did not accept all devices within {CONNECT_S:.0f} s; see `collateral services status`."
                )


def _fill_gaps(devices: Sequence[LiveDevice], links: Sequence[Link]) -> int:
    now_ms, count = _now_ms(), 0
    for device, link in zip(devices, links, strict=True):
        if now_ms - device.last_ms > GAP_MS:
            log.warning("%s has been silent for %.1f days: that gap stays", device.device.device_id,
                        (now_ms - device.last_ms) / 86_400_000)
            continue
        for moment, values in device.missed(now_ms):
            link.send(moment, values)
            count += 1
    return count


def _publish(
    devices: Sequence[LiveDevice], links: Sequence[Link], folder: Path, interval_s: float, duration_s: float | None,
    stop: threading.Event,
) -> int:
    """Rounds of present values, one at once and then one each interval; a late round is left out, not caught up."""
    count, started, rounds = 0, time.monotonic(), 0
    while not stop.is_set():
        moment = _now_ms()
        for device, link in zip(devices, links, strict=True):
            link.send(moment, device.values_at(moment))
        count += len(links)
        _write_state(folder / STATE_FILE, devices)
        elapsed = time.monotonic() - started
        rounds = max(rounds + 1, int(elapsed / interval_s) + 1)
        due = rounds * interval_s
        if duration_s is not None and due >= duration_s:
            stop.wait(max(duration_s - elapsed, 0.0))
            return count
        stop.wait(due - elapsed)
    return count


def _read_state(path: Path) -> Mapping[str, Mapping[str, int]]:
    if not path.exists():
        return {}
    try:
        state: Mapping[str, Mapping[str, int]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); remove it to count messages anew.") from error
    return state


def _write_state(path: Path, devices: Sequence[LiveDevice]) -> None:
    state = {d.device.device_id: {"sequence": d.sequence, "last_ms": d.last_ms} for d in devices}
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(state), encoding="utf-8")
    partial.replace(path)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, so that devices say goodbye."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
