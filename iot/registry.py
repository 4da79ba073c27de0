"""Which devices may report what: the registered devices, looked up on first sight and kept for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from collateral.db.telemetry import DeviceEntry
from iot.payload import Message, Sample

KEPT_S = 30.0
"""A change in the portfolio reaches ingest after this time at the latest."""
UNKNOWN_KEPT_S = 1.0
"""A device that was not registered is asked for again after this time."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a whole message is not this system's."""

    reason: str
    detail: str


class Registry:
    """A cache over `lookup`, which names those of some device ids that are registered."""

    def __init__(
        self, lookup: Callable[[Sequence[str]], Mapping[str, DeviceEntry]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lookup = lookup
        self._clock = clock
        self._entries: dict[str, tuple[DeviceEntry | None, float]] = {}

    def prefetch(self, device_ids: Iterable[str]) -> None:
        """Asks once for all of `device_ids` that are not known or known for too long."""
        now = self._clock()
        wanted = [device for device in sorted(set(device_ids)) if self._stale(device, now)]
        if not wanted:
            return
        found = self._lookup(wanted)
        if len(self._entries) > 2_000_000:  # made-up device ids must not fill the memory
            self._entries.clear()
        for device in wanted:
            self._entries[device] = (found.get(device), now)

    def refuses(self, message: Message) -> Refusal | None:
        """None when the device is registered at the topic's site, and behind the gateway that speaks for it."""
        entry = self._entries[message.device_id][0]
        if entry is None:
            return Refusal("unknown_device", f"device {message.device_id} is not registered")
        if entry.site_id != message.site_id:
            return Refusal("wrong_site", f"device {message.device_id} belongs to site {entry.site_id}")
        if message.gateway_id and message.gateway_id != entry.gateway_id:
            said = f"device {message.device_id} is not registered behind gateway {message.gateway_id}"
            return Refusal("wrong_gateway", said)
        return None

    def at(self, device_id: str, site_id: str) -> DeviceEntry | None:
        """The device when it was looked up and is registered at that site."""
        entry = self._entries.get(device_id, (None, 0.0))[0]
        return entry if entry is not None and entry.site_id == site_id else None

    def may_be_at(self, device_id: str, site_id: str) -> bool:
        """False when the device is known to be registered at another site."""
        entry = self._entries.get(device_id, (None, 0.0))[0]
        return entry is None or entry.site_id == site_id

    def declares(self, device_id: str, sample: Sample) -> bool:
        """True when the device is registered for the sample's quantity."""
        entry = self._entries[device_id][0]
        return entry is not None and sample.quantity in entry.quantities

    def _stale(self, device: str, now: float) -> bool:
        held = self._entries.get(device)
        if held is None:
            return True
        entry, since = held
        return now - since > (KEPT_S if entry is not None else UNKNOWN_KEPT_S)
