"""What the writer remembers between batches: which topic is which device, which of its series have numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from collateral.quantities import READING_QUANTITIES
from iot.fastpath import Route, SlotBook
from iot.registry import KEPT_S, Registry
from iot.topics import Channel, parse_topic

SeriesKey = tuple[str, str]
"""(device_id, quantity)."""


class TopicBook:
    """Routes of known topics, renewed as often as the registry is."""

    def __init__(
        self, registry: Registry, find_series: Callable[[Sequence[str]], Mapping[SeriesKey, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.by_topic: dict[bytes, Route] = {}
        self.slots = SlotBook()
        self.names: list[str] = []
        """Device of each number."""
        self.numbers: dict[str, int] = {}
        self.series: dict[SeriesKey, int] = {}
        self._registry = registry
        self._find_series = find_series
        self._clock = clock
        self._places: dict[bytes, tuple[str, str]] = {}
        self._renewed = clock()

    def number(self, device_id: str) -> int:
        """The device's index in `names`."""
        found = self.numbers.get(device_id)
        if found is None:
            found = self.numbers[device_id] = len(self.names)
            self.names.append(device_id)
        return found

    def learn(self, topics: Iterable[bytes]) -> bool:
        """Makes routes for those topics on which registered devices send readings; True when there are new ones."""
        new: dict[bytes, tuple[str, str]] = {}
        for raw in topics:
            where = parse_topic(raw) if raw not in self.by_topic else None
            if where is not None and where.channel is Channel.TELEMETRY:
                new[raw] = (where.site_id, where.device_id)
        if not new:
            return False
        self._registry.prefetch(device for _, device in new.values())
        wanted = {device for site, device in new.values() if self._registry.at(device, site) is not None}
        if not wanted:
            return False
        self.series.update(self._find_series(sorted(wanted)))
        for raw, place in new.items():
            self._make(raw, place)
        return True

    def add_series(self, found: Mapping[SeriesKey, int]) -> None:
        """Series that got a number just now."""
        self.series.update(found)
        devices = {device for device, _ in found}
        for raw, place in list(self._places.items()):
            if place[1] in devices:
                self._make(raw, place)

    def slot(self, device_id: str, quantity: str) -> int:
        """The slot of a numbered series."""
        return self.slots.slot(self.series[device_id, quantity], self.number(device_id), quantity)

    def renew(self) -> None:
        """Asks again who is registered when the answers have become old."""
        now = self._clock()
        if now - self._renewed <= KEPT_S:
            return
        self._registry.prefetch(device for _, device in self._places.values())
        self._renewed = now
        for raw, place in list(self._places.items()):
            self._make(raw, place)

    def _make(self, raw: bytes, place: tuple[str, str]) -> None:
        site, device = place
        entry = self._registry.at(device, site)
        if entry is None:
            self.by_topic.pop(raw, None)
            self._places.pop(raw, None)
            return
        known = [name for name in entry.quantities if (device, name) in self.series and name in READING_QUANTITIES]
        slots = {name: self.slot(device, name) for name in known}
        self.by_topic[raw] = Route(self.number(device), slots)
        self._places[raw] = place
