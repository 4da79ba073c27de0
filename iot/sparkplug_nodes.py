"""What Sparkplug edge nodes said of themselves, and what their messages mean by it.

A DATA message may name its metrics by aliases that only the last birth explains. Births are kept (migration 0016), so that a
restart of ingest forgets nothing. Every ingest service reads all Sparkplug topics, in the order in which the node published;
what is delivered again is recognised by times, bdSeq and, in the table of readings, by its key.

Where it is not certain which birth explains a message (delivered again after the aliases changed, or tried again from
quarantine), the births in question must agree on every alias in it; else it is `unknown_alias` and goes to quarantine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from collateral.db.sparkplug import BirthRow, NodeRow
from collateral.db.telemetry import DeviceEvent, from_us
from collateral.quantities import READING_QUANTITIES
from iot.intake import RawMessage
from iot.payload import LIMITS, Message, Rejection, Status, read_values
from iot.sparkplug import BD_SEQ, Metric, Packet, Place, number_of, parse_packet, parse_place, quantity_of

NodeKey = tuple[str, str]
"""(group, node)."""
ASK_EVERY_S = 30.0
"""A node is asked for its births at most this often."""
MAX_NODES = 200_000
_FAR_MS = 1 << 53


@dataclass(frozen=True)
class Rebirth:
    """A node that is to be asked for its births."""

    group_id: str
    node_id: str


@dataclass(frozen=True)
class Birth:
    """What the metrics of a node, or of a device behind it, are."""

    born_ms: int
    received_us: int
    after_us: int
    names: dict[int, str]
    """By alias."""
    datatypes: dict[str, int]
    """By name."""

    def same_meaning(self, other: Birth) -> bool:
        """True when no message would be read otherwise."""
        return self.names == other.names and self.datatypes == other.datatypes


@dataclass
class Node:
    """One edge node as far as it was heard."""

    born_ms: int = -1
    bd_seq: int | None = None
    seq: int | None = None
    seq_ms: int = 0
    died_us: int = 0
    alive: set[str] = field(default_factory=set)
    births: dict[str, list[Birth]] = field(default_factory=dict)
    """By device, '' for the node; oldest first."""


Find = Callable[[Sequence[NodeKey]], tuple[Sequence[NodeRow], Sequence[BirthRow]]]


class SparkplugBook:
    """Reads Sparkplug messages in the order of arrival; `begin` ... `read` ... `changes` ... `committed` for each batch."""

    def __init__(self, find: Find, replaying: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """`find`: reads nodes that were heard before. `replaying`: messages of the past, they say nothing of the present."""
        self._find = find
        self._replaying = replaying
        self._clock = clock
        self._nodes: dict[NodeKey, Node] = {}
        self._changed: set[NodeKey] = set()
        self._births: list[BirthRow] = []
        self._asked: dict[NodeKey, float] = {}
        self._open = False
        self.asks: list[Rebirth] = []
        """Nodes to ask, until the caller empties it."""
        self.born: set[str] = set()
        """Registered ids whose metrics became known, until the caller empties it."""
        self.gaps: list[tuple[str, DeviceEvent]] = []
        """(site, event) of this batch: numbers of a node that are missing."""

    def begin(self, topics: Iterable[bytes]) -> None:
        """A batch begins. When the one before was not committed, what it said is forgotten and read anew."""
        if self._open or len(self._nodes) > MAX_NODES:
            self._nodes.clear()
        self._changed, self._births, self.gaps, self._open = set(), [], [], True
        places = {parse_place(topic) for topic in topics}
        wanted = sorted({(p.group_id, p.node_id) for p in places if p is not None} - self._nodes.keys())
        if not wanted:
            return
        rows, births = self._find(wanted)
        self._nodes.update({key: Node() for key in wanted})
        for row in rows:
            self._nodes[row.group_id, row.node_id] = Node(
                row.born_ms, row.bd_seq, row.seq, row.seq_ms, row.died_us, set(row.alive)
            )
        for birth in births:
            versions = self._nodes[birth.group_id, birth.node_id].births.setdefault(birth.device_id, [])
            versions.append(_birth_of(birth))

    def changes(self) -> tuple[list[NodeRow], list[BirthRow]]:
        """What is to be stored with the batch."""
        rows = [
            NodeRow(*key, node.born_ms, node.bd_seq, node.seq, node.seq_ms, node.died_us, tuple(sorted(node.alive)))
            for key, node in ((key, self._nodes[key]) for key in self._changed)
        ]
        return ([] if self._replaying else rows), self._births

    def committed(self) -> None:
        """What the batch said is stored."""
        self._open = False

    def read(self, row: RawMessage) -> Sequence[Message | Rejection]:
        """What one message says: of one device, or at a death of all behind the node. Never raises, on any bytes."""
        place = parse_place(row.topic)
        if place is None:
            return [Rejection("topic", "the topic is not spBv1.0/SITE/NBIRTH|NDATA|NDEATH/NODE or .../D.../NODE/DEVICE")]
        packet = parse_packet(row.payload)
        if isinstance(packet, Rejection):
            return [Rejection(packet.reason, packet.detail, place.subject)]
        node = self._nodes[place.group_id, place.node_id]
        if place.kind == "DEATH":
            return [] if self._replaying else self._death(place, packet, node, row.received_us)
        if packet.time_ms is None:
            return [Rejection("time", "the payload has no timestamp", place.subject)]
        if place.kind == "BIRTH":
            return [self._birth(place, packet, packet.time_ms, node, row.received_us)]
        self._follow(place, packet, node, row.received_us)
        return [self._data(place, packet, packet.time_ms, node, row.received_us)]

    def _birth(self, place: Place, packet: Packet, born_ms: int, node: Node, received_us: int) -> Message | Rejection:
        if any(not metric.name for metric in packet.metrics):
            return Rejection("schema", "a metric of a birth has no name", place.subject)
        born_ms = min(born_ms, _FAR_MS)
        if not place.device_id:
            self._session(place, packet, born_ms, node)
        else:
            self._follow(place, packet, node, received_us)
        if not self._replaying:
            node.alive.add(place.device_id)
            if "" not in node.alive:
                self._ask(place)
        self._changed.add((place.group_id, place.node_id))
        self._explain(place, packet, born_ms, node, received_us)
        in_time = LIMITS.oldest_us <= born_ms * 1000 <= received_us + LIMITS.future_us
        status = None if self._replaying else Status("online", born_ms * 1000 if in_time else None, "birth")
        return _message(place, packet.metrics, received_us, status)

    def _session(self, place: Place, packet: Packet, born_ms: int, node: Node) -> None:
        """An NBIRTH ends what was born before, unless it is an old one that was delivered again."""
        bd_seq = _bd_seq(packet)
        follows = bd_seq is not None and node.bd_seq is not None and bd_seq == (node.bd_seq + 1) % 256
        if self._replaying or not (born_ms > node.born_ms or follows or not node.alive):
            return
        if bd_seq != node.bd_seq and node.alive and node.births.get(""):  # its death was not heard
            node.died_us = max(node.died_us, node.births[""][-1].received_us)
        node.born_ms, node.bd_seq, node.seq, node.seq_ms = born_ms, bd_seq, packet.seq, born_ms
        node.alive = set()

    def _explain(self, place: Place, packet: Packet, born_ms: int, node: Node, received_us: int) -> None:
        """Keeps what a birth says of its metrics, where it is not what was known."""
        birth = Birth(
            born_ms,
            received_us,
            node.died_us,
            {metric.alias: metric.name for metric in packet.metrics if metric.alias is not None},
            {metric.name: metric.datatype for metric in packet.metrics},
        )
        self.born.add(place.subject)
        versions = node.births.setdefault(place.device_id, [])
        before = [known for known in versions if known.born_ms <= born_ms]
        if before and before[-1].same_meaning(birth):
            return
        while any(known.born_ms == birth.born_ms for known in versions):  # two in one millisecond, or said again
            if any(known.same_meaning(birth) for known in versions if known.born_ms == birth.born_ms):
                return
            birth = replace(birth, born_ms=birth.born_ms + 1)
        versions.append(birth)
        versions.sort(key=lambda known: known.born_ms)
        aliases = {metric.name: metric.alias for metric in packet.metrics}
        metrics = tuple((name, aliases[name], datatype) for name, datatype in birth.datatypes.items())
        self._births.append(
            BirthRow(place.group_id, place.node_id, place.device_id, birth.born_ms, received_us, node.died_us, metrics)
        )

    def _data(self, place: Place, packet: Packet, sent_ms: int, node: Node, received_us: int) -> Message | Rejection:
        here = self._replaying or place.device_id in node.alive
        versions = node.births.get(place.device_id, []) if here else []
        if not here:
            self._ask(place)
        births = _explaining(versions, sent_ms, received_us if self._replaying else None)
        named: list[Metric] = []
        for metric in packet.metrics:
            meanings = {_meaning(metric, birth) for birth in births} if births else {_meaning(metric, None)}
            meaning = meanings.pop()
            if meaning is None or meanings:
                self._ask(place)
                what = f"metric {ascii(metric.name)[:80]}" if metric.name else f"alias {metric.alias}"
                path = "/".join(filter(None, (place.group_id, place.node_id, place.device_id)))
                return Rejection("unknown_alias", f"{what} of {path}: no birth says for certain what it is", place.subject)
            named.append(metric._replace(name=meaning[0], datatype=meaning[1]))
        return _message(place, named, received_us, None)

    def _death(self, place: Place, packet: Packet, node: Node, received_us: int) -> list[Message | Rejection]:
        """Of a node: of all that was alive behind it. An old will that comes after the next birth says nothing."""
        self._changed.add((place.group_id, place.node_id))
        if place.device_id:
            self._follow(place, packet, node, received_us)
            gone, reason = [place.device_id] if place.device_id in node.alive else [], "death"
            node.alive.discard(place.device_id)
        else:
            bd_seq = _bd_seq(packet)
            if (bd_seq is not None and node.bd_seq is not None and bd_seq != node.bd_seq) or (
                node.born_ms >= 0 and not node.alive
            ):
                return []
            gone, reason = sorted(node.alive | {""}), "last_will"
            node.alive, node.seq, node.died_us = set(), None, received_us
        return [
            Message(
                place.group_id, device or place.node_id, None, status=Status("offline", None, reason, _stale(node, device)),
                gateway_id=place.node_id if device else "",
            )
            for device in gone
        ]  # fmt: skip

    def _follow(self, place: Place, packet: Packet, node: Node, received_us: int) -> None:
        """Sequence numbers count by one from 0 to 255 and around, over the node and all behind it."""
        if self._replaying or packet.seq is None:
            return
        sent_ms = min(packet.time_ms or 0, _FAR_MS)
        if node.seq is not None and packet.seq != (node.seq + 1) % 256:
            back = (node.seq - packet.seq) % 256
            if back < 128 and sent_ms <= node.seq_ms:
                return  # delivered again
            count = (packet.seq - node.seq - 1) % 256
            detail = {
                "sparkplug": True, "count": count, "first_missing": (node.seq + 1) % 256,
                "last_missing": (packet.seq - 1) % 256,
            }  # fmt: skip
            moment = from_us(received_us)
            event = DeviceEvent(place.node_id, moment, "sequence_gap", detail, moment)
            self.gaps.append((place.group_id, event))
            self._ask(place)
        node.seq, node.seq_ms = packet.seq, sent_ms
        self._changed.add((place.group_id, place.node_id))

    def _ask(self, place: Place) -> None:
        key, now = (place.group_id, place.node_id), self._clock()
        if self._replaying or now - self._asked.get(key, -ASK_EVERY_S) < ASK_EVERY_S:
            return
        if len(self._asked) > MAX_NODES:
            self._asked.clear()
        self._asked[key] = now
        self.asks.append(Rebirth(*key))


def _message(
    place: Place, metrics: Sequence[Metric], received_us: int, status: Status | None
) -> Message | Rejection:
    """Readings of metrics whose names and datatypes are known; what is null was not measured."""
    values = read_values(
        (
            (quantity_of(metric.name), metric.time_ms, number_of(metric.value, metric.datatype))
            for metric in metrics
            if metric.value is not None and not metric.is_control
        ),
        received_us,
    )
    if isinstance(values, Rejection):
        return Rejection(values.reason, values.detail, place.subject)
    gateway = place.node_id if place.device_id else ""
    return Message(place.group_id, place.subject, None, *values, status=status, gateway_id=gateway)


def _meaning(metric: Metric, birth: Birth | None) -> tuple[str, int] | None:
    """Name and datatype of a metric of a DATA message; None when the birth does not say."""
    name = metric.name
    if not name:
        known = birth.names.get(metric.alias) if birth is not None and metric.alias is not None else None
        if known is None:
            return None
        name = known
    datatype = metric.datatype or (birth.datatypes.get(name, 0) if birth is not None else 0)
    if not datatype and type(metric.value) is int:
        return None  # -1 or 4294967295?
    return name, datatype or (9 if type(metric.value) is float else 11)


def _explaining(versions: Sequence[Birth], sent_ms: int, received_us: int | None) -> list[Birth]:
    """The births that may explain a message: the one by the node's clock, and the one by ours (None: it came just now)."""
    if received_us is None:
        current = sorted(versions, key=lambda birth: birth.received_us)[-1:]
        return [*([birth for birth in versions if birth.born_ms <= sent_ms][-1:] or versions[:1]), *current]
    if len(versions) <= 1:
        return [birth for birth in versions if received_us > birth.after_us or sent_ms >= birth.born_ms]
    by_clock = [birth for birth in versions if birth.born_ms <= sent_ms][-1:] or versions[:1]
    session = max((birth.after_us for birth in versions if birth.after_us < received_us), default=None)
    if session is None:
        return [] if versions[0].born_ms > sent_ms else list(by_clock)
    lived = [birth for birth in versions if birth.after_us == session]
    by_arrival = [birth for birth in lived if birth.received_us <= received_us][-1:] or lived[:1]
    return [*by_clock, *by_arrival]


def _bd_seq(packet: Packet) -> int | None:
    found = [metric.value for metric in packet.metrics if metric.name == BD_SEQ]
    return min(found[0], _FAR_MS) if found and type(found[0]) is int else None


def _stale(node: Node, device: str) -> tuple[str, ...]:
    """Quantities of a device whose last values hold no longer."""
    names = {quantity_of(name) for birth in node.births.get(device, [])[-1:] for name in birth.datatypes}
    return tuple(sorted(names & READING_QUANTITIES.keys()))


def _birth_of(row: BirthRow) -> Birth:
    names = {alias: name for name, alias, _ in row.metrics if alias is not None}
    return Birth(row.born_ms, row.received_us, row.after_us, names, {name: datatype for name, _, datatype in row.metrics})
