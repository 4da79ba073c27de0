"""What the broker says about itself on $SYS, and when that is alarming. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from collateral.services.mosquitto import MAX_QUEUED_BYTES

FILTERS = (
    "$SYS/broker/store/messages/bytes",
    "$SYS/broker/store/messages/count",
    "$SYS/broker/publish/messages/dropped",
)
"""Mosquitto's names, subscribed to at QoS 0: they are never queued. Another broker says nothing there."""
NEARLY_FULL_BYTES = 0.8 * MAX_QUEUED_BYTES
"""Of `max_queued_bytes`, beyond which Mosquitto drops what it had acknowledged."""


@dataclass(frozen=True)
class BrokerFigures:
    """The broker's queue."""

    stored: int = 0
    """Messages kept for all clients."""
    stored_bytes: int = 0
    dropped: int = 0
    """Since the broker started."""
    alarm: bool = False
    """The queue is nearly full, or more was dropped than before."""

    def after(self, said: Iterable[tuple[bytes, bytes]]) -> BrokerFigures:
        """The figures after some (topic, payload) of $SYS; what is no number changes nothing."""
        figures = self
        for topic, payload in said:
            if not payload.isdigit() or len(payload) > 18:
                continue
            number = int(payload)
            if topic.endswith(b"/messages/bytes"):
                figures = replace(figures, stored_bytes=number)
            elif topic.endswith(b"/messages/count"):
                figures = replace(figures, stored=number)
            elif topic.endswith(b"/messages/dropped"):
                figures = replace(figures, dropped=number, alarm=number > figures.dropped)
        return replace(figures, alarm=figures.alarm or figures.stored_bytes > NEARLY_FULL_BYTES)
