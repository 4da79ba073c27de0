"""Topic grammar: `cw/v1/{site_id}/{device_id}/telemetry|status|request`. Pure; documented in docs/mqtt.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from collateral.domain import TOPIC_ID
from collateral.errors import InvalidInputError

PREFIX = "cw/v1"
SPARKPLUG = tuple(
    f"spBv1.0/+/{whose}{kind}/{name}"
    for whose, name in (("N", "+"), ("D", "+/+"))
    for kind in ("BIRTH", "DATA", "DEATH")
)
"""What edge nodes publish; commands to them are not read."""
_ID_PATTERN = re.compile(TOPIC_ID)
_TOPIC = re.compile(rf"cw/v1/(?P<site>{TOPIC_ID})/(?P<device>{TOPIC_ID})/(?P<channel>telemetry|status)".encode())


class Channel(StrEnum):
    """What a topic of a device is for."""

    TELEMETRY = "telemetry"
    STATUS = "status"
    REQUEST = "request"
    """What the device is asked for; ingest writes it."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that follows the grammar."""

    site_id: str
    device_id: str
    channel: Channel


def parse_topic(topic: bytes) -> Topic | None:
    """The parts of `topic`, or None when it breaks the grammar (any bytes are allowed in)."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    site, device, channel = match.groups()
    return Topic(site.decode("ascii"), device.decode("ascii"), Channel(channel.decode("ascii")))


def build_topic(site_id: str, device_id: str, channel: Channel) -> str:
    """The topic a device publishes on.

    Raises:
        InvalidInputError: an id cannot stand in a topic.
    """
    for name, value in (("site", site_id), ("device", device_id)):
        if _ID_PATTERN.fullmatch(value) is None:
            raise InvalidInputError(
                f"The {name} id {value!r} cannot stand in a topic: use 1 to 64 of letters, digits, '_', '.', ':', '-', "
                "beginning with a letter or digit."
            )
    return f"{PREFIX}/{site_id}/{device_id}/{channel}"


def subscriptions(share: str = "", sparkplug: bool = True) -> tuple[str, ...]:
    """Filters of the ingest service; with `share`, members of that group split the messages between them.

    Sparkplug topics are never split: their messages explain each other and must be read in order.
    """
    head = f"$share/{share}/" if share else ""
    json = tuple(f"{head}{PREFIX}/+/+/{channel}" for channel in (Channel.TELEMETRY, Channel.STATUS))
    return (*json, *SPARKPLUG) if sparkplug else json
