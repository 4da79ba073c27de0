"""Sorts messages that are not plain into rows to store, rows for quarantine and what was heard of devices. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from collateral.db.telemetry import DeviceEvent, QuarantineRow, from_us
from iot.intake import RawMessage
from iot.payload import Message, Rejection, Status, decode, encode_single
from iot.registry import Registry
from iot.sparkplug import PREFIX
from iot.sparkplug_nodes import SparkplugBook
from iot.topics import Channel, build_topic


@dataclass
class SortedBatch:
    """Where everything in a batch goes."""

    points: list[tuple[str, str, int, float, int, int | None]] = field(default_factory=list)
    """(device_id, quantity, time_us, value, received_us, sequence)."""
    quarantined: list[QuarantineRow] = field(default_factory=list)
    heard: list[tuple[int, Message]] = field(default_factory=list)
    """(received_us, message) in order of arrival; retained ones are left out."""
    messages: int = 0


def sort_batch(raw: Sequence[RawMessage], registry: Registry, sparkplug: SparkplugBook) -> SortedBatch:
    """Decodes and checks every message; each value ends in `points` or in `quarantined`."""
    batch = SortedBatch(messages=len(raw))
    sparkplug.begin(row.topic for row in raw if row.topic.startswith(PREFIX))
    decoded = [(row, message) for row in raw for message in _decoded(row, sparkplug)]
    registry.prefetch(message.device_id for _, message in decoded if isinstance(message, Message))
    for row, message in decoded:
        if isinstance(message, Rejection):
            batch.quarantined.append(_whole(row, message.reason, message.detail, message.device_id))
            continue
        refusal = registry.refuses(message)
        if refusal is not None:
            if message.gateway_id is not None and not (message.samples or message.rejected):
                continue  # what lives and dies behind a node need not be ours
            batch.quarantined.append(_whole(row, refusal.reason, refusal.detail, message.device_id))
            continue
        _sort_values(batch, row, message, registry)
        if not row.retained:
            batch.heard.append((row.received_us, message))
    return batch


def _decoded(row: RawMessage, sparkplug: SparkplugBook) -> Sequence[Message | Rejection]:
    if row.topic.startswith(PREFIX):
        return sparkplug.read(row)
    return (decode(row.topic, row.payload, row.received_us),)


def _sort_values(batch: SortedBatch, row: RawMessage, message: Message, registry: Registry) -> None:
    device, topic = message.device_id, row.topic
    if message.gateway_id is not None:  # a value alone is kept in the form of the JSON topics
        topic = build_topic(message.site_id, device, Channel.TELEMETRY).encode()
    for rejected in message.rejected:
        batch.quarantined.append(
            QuarantineRow(row.received_us, topic, rejected.payload, rejected.reason, rejected.detail, device)
        )
    for sample in message.samples:
        if registry.declares(device, sample):
            batch.points.append(
                (device, sample.quantity, sample.time_us, sample.value, row.received_us, message.sequence)
            )
        else:
            moment = sample.time_us // 1000 if sample.time_us % 1000 == 0 else from_us(sample.time_us).isoformat()
            alone = encode_single(sample.quantity, moment, sample.value, message.sequence)
            detail = f"device {device} is not registered for {sample.quantity}"
            batch.quarantined.append(
                QuarantineRow(row.received_us, topic, alone, "undeclared_quantity", detail, device)
            )


def _whole(row: RawMessage, reason: str, detail: str, device_id: str) -> QuarantineRow:
    return QuarantineRow(row.received_us, row.topic, row.payload, reason, detail, device_id)


def status_event(device_id: str, status: Status, received_us: int) -> DeviceEvent:
    """What a device, or the broker on its behalf, said about its presence."""
    kind = "last_will" if status.reason == "last_will" else status.state
    moment = status.time_us if status.time_us is not None else received_us
    detail = {"stale": list(status.stale)} if status.stale else {}
    return DeviceEvent(device_id, from_us(moment), kind, detail, from_us(received_us))
