"""Many devices over few connections, with the troubles of the field: jitter, loss, outages, clocks that are off, replays.

Each device numbers its messages and keeps the newest in a buffer, as a good device does: what was lost on the way is asked
for again (topic `request`) or sent again after a broken connection. Drawn from a seed; one thread, one select loop.
"""

from __future__ import annotations

import heapq
import math
import random
import select
import time
import zlib
from collections import deque
from dataclasses import dataclass, field

import orjson
import paho.mqtt.client as paho

from collateral.db.devices import RegisteredDevice
from collateral.errors import ServiceError
from collateral.quantities import READING_QUANTITIES, Adds
from iot.mqtt import leave, make_client
from iot.payload import encode_samples, encode_telemetry
from iot.topics import PREFIX, Channel, build_topic

WINDOW = 2_000
"""Messages of one connection on the way to the broker at once."""
RECONNECT_S = 0.5
STALL_S = 60.0
"""Without any acknowledgement for this long at the end, the rest is given up and counted."""


@dataclass(frozen=True)
class Troubles:
    """Shares are of messages or devices, 0 to 1."""

    jitter: float = 0.1
    """Of the interval, either way."""
    loss: float = 0.0
    """Of messages that never reach the broker; they stay in the device's buffer."""
    outage: float = 0.0
    """Chance per message that the device falls silent for `outage_s`, then brings the past in one message."""
    outage_s: float = 10.0
    skew: float = 0.0
    """Of devices whose clock is off by up to `skew_s` either way."""
    skew_s: float = 300.0
    set_back: float = 0.0
    """Of devices whose clock is set back half-way."""
    set_back_s: float = 3_600.0
    replay: float = 0.0
    """Chance per message that an old message is sent again word for word, as an attacker would."""
    tamper: float = 0.0
    """Chance per message that an old one is sent again with another value: a conflict."""


@dataclass(frozen=True)
class SimulationPlan:
    """How much and how."""

    url: str
    """Broker, with an account that may write for all devices."""
    devices: tuple[RegisteredDevice, ...]
    rate: float
    """Messages a second, all devices together."""
    seconds: float
    connections: int = 4
    troubles: Troubles = Troubles()
    buffer_s: float = 30.0
    """Devices keep this much, and send it again after a broken connection."""
    seed: int = 1


@dataclass
class SimulationReport:
    """What was done. Messages are counted once however often they are sent."""

    messages: int = 0
    values: int = 0
    """Different (device, quantity, time): what the table should hold."""
    acknowledged: int = 0
    sendings: int = 0
    lost_on_purpose: int = 0
    replayed: int = 0
    conflicting: int = 0
    """Values that contradict an earlier one."""
    asked_again: int = 0
    reconnects: int = 0
    not_acknowledged: int = 0
    seconds: float = 0.0


@dataclass
class _Device:
    about: RegisteredDevice
    topic: str
    skew_ms: int
    sequence: int = 0
    last_ms: int = 0
    set_back_at: float = math.inf
    silent_until: float = 0.0
    past: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    buffer: deque[tuple[float, int, bytes]] = field(default_factory=deque)
    """(monotonic time, sequence, payload)."""
    registers: dict[str, float] = field(default_factory=dict)
    tampered: set[int] = field(default_factory=set)


class _Line:
    """One connection and what it still has to bring."""

    def __init__(self, url: str, number: int, report: SimulationReport, asked: deque[tuple[str, int, int]]) -> None:
        self.client = make_client(url, f"simulate-{time.monotonic_ns()}-{number}", clean_session=True, window=WINDOW)
        self.waiting: deque[tuple[str, bytes]] = deque()
        self.on_the_way: dict[int, tuple[str, bytes]] = {}
        self.report, self.asked = report, asked
        self.next_try = 0.0
        self.ready = False
        self.broke = False
        self.topics: list[str] = []
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_publish = self._on_publish
        self.client.on_message = self._on_message

    def keep_up(self, now: float) -> None:
        """Connects where there is no connection, and hands over what waits."""
        if self.client.socket() is None:
            if now < self.next_try:
                return
            self.next_try = now + RECONNECT_S
            try:
                self.client.reconnect()
            except OSError:
                return
        while self.ready and self.waiting and len(self.on_the_way) < WINDOW:
            topic, payload = self.waiting.popleft()
            info = self.client.publish(topic, payload, qos=1)
            if info.rc != paho.MQTT_ERR_SUCCESS:
                self.waiting.appendleft((topic, payload))
                return
            self.on_the_way[info.mid] = (topic, payload)
            self.report.sendings += 1
        self.client.loop_misc()

    def _on_connect(self, client: object, userdata: object, flags: object, reason: object, properties: object) -> None:
        self.ready = not getattr(reason, "is_failure", False)
        if self.ready:
            self.client.subscribe([(topic, 1) for topic in self.topics])

    def _on_disconnect(self, *_: object) -> None:
        if self.ready:
            self.report.reconnects += 1
            self.broke = True
        self.ready = False
        self.client._out_messages.clear()  # sent again from our own list, in its order
        self.waiting.extendleft(reversed(self.on_the_way.values()))
        self.on_the_way.clear()

    def _on_publish(self, client: object, userdata: object, mid: int, reason: object, properties: object) -> None:
        if self.on_the_way.pop(mid, None) is not None:
            self.report.acknowledged += 1

    def _on_message(self, client: object, userdata: object, message: paho.MQTTMessage) -> None:
        try:
            wanted = orjson.loads(message.payload)["resend"]
            self.asked.append((message.topic, int(wanted["first"]), int(wanted["last"])))
        except (ValueError, KeyError, TypeError):
            return


class Simulator:
    """Runs one plan."""

    def __init__(self, plan: SimulationPlan) -> None:
        self.plan = plan
        self.report = SimulationReport()
        self._rng = random.Random(plan.seed)
        self._asked: deque[tuple[str, int, int]] = deque()
        self._lines = [_Line(plan.url, n, self.report, self._asked) for n in range(max(1, plan.connections))]
        self._devices = [self._device(about) for about in plan.devices]
        self._by_request = {_request_topic(device.about): n for n, device in enumerate(self._devices)}
        for topic, number in self._by_request.items():
            self._lines[number % len(self._lines)].topics.append(topic)

    def run(self) -> SimulationReport:
        """Sends until the time is over and all is acknowledged.

        Raises:
            ServiceError: the broker was never reached.
        """
        plan, began = self.plan, time.monotonic()
        interval = len(self._devices) / plan.rate
        due = [(began + self._rng.random() * interval, number) for number in range(len(self._devices))]
        heapq.heapify(due)
        end = began + plan.seconds
        while (now := time.monotonic()) < end:
            while due[0][0] <= now:
                at, number = heapq.heappop(due)
                self._speak(self._devices[number], number, now)
                wobble = 1 + plan.troubles.jitter * self._rng.uniform(-1, 1)
                heapq.heappush(due, (max(at + interval * wobble, now - 5 * interval), number))
            self._turn(min(0.02, max(0.0, due[0][0] - time.monotonic())))
        for number, device in enumerate(self._devices):
            self._bring_past(device, number)
        self._finish()
        self.report.seconds = time.monotonic() - began
        return self.report

    def listen(self, seconds: float) -> SimulationReport:
        """Goes on answering requests for `seconds`, as devices would; until what they brought is acknowledged."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn(0.05)
        self._finish()
        return self.report

    def close(self) -> None:
        """Leaves the broker."""
        for line in self._lines:
            line.ready = False
            leave(line.client)

    def _device(self, about: RegisteredDevice) -> _Device:
        troubles = self.plan.troubles
        skewed = self._rng.random() < troubles.skew
        skew = round(self._rng.uniform(-1, 1) * troubles.skew_s * 1_000) if skewed else 0
        made = _Device(about, build_topic(about.site_id, about.device_id, Channel.TELEMETRY), skew)
        if self._rng.random() < troubles.set_back:
            made.set_back_at = time.monotonic() + self.plan.seconds / 2
        return made

    def _speak(self, device: _Device, number: int, now: float) -> None:
        troubles = self.plan.troubles
        if now >= device.set_back_at:
            device.skew_ms -= round(troubles.set_back_s * 1_000)
            device.last_ms, device.set_back_at = 0, math.inf
        stamp = max(device.last_ms + 1, time.time_ns() // 1_000_000 + device.skew_ms)
        device.last_ms = stamp
        values = {name: self._value(device, name) for name in device.about.quantities}
        self.report.values += len(values)
        if now < device.silent_until:
            device.past.append((stamp, values))
            return
        self._bring_past(device, number)
        self._send(device, number, encode_telemetry(device.sequence, stamp, values), now)
        if self._rng.random() < troubles.outage:
            device.silent_until = now + troubles.outage_s
        if device.buffer and self._rng.random() < troubles.replay:
            self.report.replayed += 1
            self._line(number).waiting.append((device.topic, self._rng.choice(device.buffer)[2]))
        if device.buffer and self._rng.random() < troubles.tamper:
            self._tamper(device, number)

    def _bring_past(self, device: _Device, number: int) -> None:
        if device.past:
            payload = encode_samples(device.sequence, device.past)
            device.past = []
            self._send(device, number, payload, time.monotonic())

    def _send(self, device: _Device, number: int, payload: bytes, now: float) -> None:
        device.buffer.append((now, device.sequence, payload))
        device.sequence += 1
        self.report.messages += 1
        while device.buffer[0][0] < now - self.plan.buffer_s:
            device.buffer.popleft()
        if self._rng.random() < self.plan.troubles.loss:
            self.report.lost_on_purpose += 1
        else:
            self._line(number).waiting.append((device.topic, payload))

    def _tamper(self, device: _Device, number: int) -> None:
        _, sequence, payload = self._rng.choice(device.buffer)
        body = orjson.loads(payload)
        if "values" not in body or sequence in device.tampered:
            return
        device.tampered.add(sequence)
        name = next(iter(body["values"]))
        body["values"] = {name: _other(name, float(body["values"][name]))}
        self.report.conflicting += 1
        self._line(number).waiting.append((device.topic, orjson.dumps(body)))

    def _value(self, device: _Device, name: str) -> float:
        row = READING_QUANTITIES[name]
        if row.adds is Adds.REGISTER:
            device.registers[name] = device.registers.get(name, 1_000.0) + round(self._rng.random(), 3)
            return device.registers[name]
        if row.adds is Adds.STATE:
            return float(self._rng.random() < 0.7)
        low, high = max(row.low, -100.0), min(row.high, 500.0)
        wave = 0.5 + 0.3 * math.sin(time.time() / 600 + phase(device.about.device_id))
        return round(low + (high - low) * min(1.0, max(0.0, wave + self._rng.gauss(0, 0.02))), 3)

    def _line(self, number: int) -> _Line:
        return self._lines[number % len(self._lines)]

    def _turn(self, wait_s: float) -> None:
        now = time.monotonic()
        for index, line in enumerate(self._lines):
            line.keep_up(now)
            if line.broke and line.ready:
                line.broke = False
                self._send_buffers(index, now)
        self._answer_requests()
        sockets = {sock: line for line in self._lines if (sock := line.client.socket()) is not None}
        if not sockets:
            time.sleep(min(0.05, wait_s + 0.01))
            return
        writing = [sock for sock, line in sockets.items() if line.client.want_write()]
        readable, writable, _ = select.select(list(sockets), writing, [], wait_s)
        for sock in readable:
            sockets[sock].client.loop_read()
        for sock in writable:
            sockets[sock].client.loop_write()

    def _send_buffers(self, index: int, now: float) -> None:
        """A broker that broke may have lost what it acknowledged: everything still kept is sent again."""
        line = self._lines[index]
        for number in range(index, len(self._devices), len(self._lines)):
            device = self._devices[number]
            line.waiting.extend(
                (device.topic, payload) for at, _, payload in device.buffer if at >= now - self.plan.buffer_s
            )

    def _answer_requests(self) -> None:
        while self._asked:
            topic, first, last = self._asked.popleft()
            number = self._by_request.get(topic)
            if number is None:
                continue
            device = self._devices[number]
            for _, sequence, payload in device.buffer:
                if first <= sequence <= last:
                    self.report.asked_again += 1
                    self._line(number).waiting.append((device.topic, payload))

    def _finish(self) -> None:
        """Until everything is acknowledged; gives up `STALL_S` after the last acknowledgement."""
        last, since = self.report.acknowledged, time.monotonic()
        while any(line.waiting or line.on_the_way for line in self._lines):
            self._turn(0.02)
            if self.report.acknowledged != last:
                last, since = self.report.acknowledged, time.monotonic()
            if time.monotonic() - since > STALL_S:
                break
        self.report.not_acknowledged = sum(len(line.waiting) + len(line.on_the_way) for line in self._lines)
        if not self.report.acknowledged and self.report.messages:
            raise ServiceError("The broker acknowledged nothing; check its address and account.")


def phase(device_id: str) -> int:
    """Where a device stands in the common wave, 0 to 6; the same in every run, which `hash` of a text is not."""
    return zlib.crc32(device_id.encode()) % 7


def _request_topic(device: RegisteredDevice) -> str:
    return f"{PREFIX}/{device.site_id}/{device.device_id}/request"


def _other(name: str, value: float) -> float:
    row = READING_QUANTITIES[name]
    if row.adds is Adds.STATE:
        return 1.0 - value
    return value + 1.0 if value + 1.0 <= row.high else value - 1.0
