"""Sorts a batch of raw messages into rows to store, rows for quarantine, events and device states. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from collateral.db.telemetry import DeviceEvent, DeviceState, QuarantineRow, from_us, to_us
from iot.payload import Message, Rejection, decode, encode_telemetry
from iot.registry import Registry


class RawMessage(NamedTuple):
    """One delivery of the broker."""

    topic: bytes
    payload: bytes
    received_us: int
    """Our clock at arrival, microseconds since 1970."""
    retained: bool
    """Kept by the broker from earlier: it says nothing new about when."""


@dataclass
class SortedBatch:
    """Where everything in a batch goes."""

    points: list[tuple[str, str, int, float, int, int | None]] = field(default_factory=list)
    """(device_id, quantity, time_us, value, received_us, sequence)."""
    quarantined: list[QuarantineRow] = field(default_factory=list)
    heard: dict[str, list[tuple[int, Message]]] = field(default_factory=dict)
    """Per device: (received_us, message) in order of arrival; retained ones are left out."""
    messages: int = 0


def sort_batch(raw: Sequence[RawMessage], registry: Registry) -> SortedBatch:
    """Decodes and checks every message; each value ends in `points` or in `quarantined`."""
    batch = SortedBatch(messages=len(raw))
    decoded = [(row, decode(row.topic, row.payload, row.received_us)) for row in raw]
    registry.prefetch(message.device_id for _, message in decoded if isinstance(message, Message))
    for row, message in decoded:
        if isinstance(message, Rejection):
            batch.quarantined.append(_whole(row, message.reason, message.detail, message.device_id))
            continue
        refusal = registry.refuses(message)
        if refusal is not None:
            batch.quarantined.append(_whole(row, refusal.reason, refusal.detail, message.device_id))
            continue
        _sort_values(batch, row, message, registry)
        if not row.retained:
            batch.heard.setdefault(message.device_id, []).append((row.received_us, message))
    return batch


def _sort_values(batch: SortedBatch, row: RawMessage, message: Message, registry: Registry) -> None:
    device = message.device_id
    for rejected in message.rejected:
        batch.quarantined.append(
            QuarantineRow(row.received_us, row.topic, rejected.payload, rejected.reason, rejected.detail, device)
        )
    for sample in message.samples:
        if registry.declares(device, sample):
            batch.points.append(
                (device, sample.quantity, sample.time_us, sample.value, row.received_us, message.sequence)
            )
        else:
            alone = encode_telemetry(message.sequence or 0, sample.time_us // 1000, {sample.quantity: sample.value})
            detail = f"device {device} is not registered for {sample.quantity}"
            batch.quarantined.append(
                QuarantineRow(row.received_us, row.topic, alone, "undeclared_quantity", detail, device)
            )


def _whole(row: RawMessage, reason: str, detail: str, device_id: str) -> QuarantineRow:
    return QuarantineRow(row.received_us, row.topic, row.payload, reason, detail, device_id)


def follow_devices(
    heard: Mapping[str, Sequence[tuple[int, Message]]], states: Mapping[str, DeviceState]
) -> tuple[list[DeviceState], list[DeviceEvent]]:
    """How the devices' states change, and what happened on the way: gaps and restarts of numbering, coming and going."""
    updates: list[DeviceState] = []
    events: list[DeviceEvent] = []
    for device, messages in heard.items():
        state = states.get(device)
        sequence = state.last_sequence if state else None
        newest = to_us(state.last_time) if state and state.last_time else None
        online: bool | None = None
        for received_us, message in messages:
            latest = max((sample.time_us for sample in message.samples), default=None)
            if message.sequence is not None:
                event, sequence = _count(device, sequence, newest, message.sequence, latest, received_us)
                events.extend(event)
            if latest is not None:
                newest = latest if newest is None else max(newest, latest)
                online = True
            if message.status is not None:
                online = message.status.state == "online"
                kind = "last_will" if message.status.reason == "last_will" else message.status.state
                moment = message.status.time_us if message.status.time_us is not None else received_us
                events.append(DeviceEvent(device, from_us(moment), kind, {}, from_us(received_us)))
        last_time = None if newest is None else from_us(newest)
        updates.append(DeviceState(device, last_time, from_us(messages[-1][0]), sequence, online, len(messages)))
    return updates, events


def _count(
    device: str, last: int | None, newest_us: int | None, sequence: int, latest_us: int | None, received_us: int
) -> tuple[Iterable[DeviceEvent], int]:
    """Events and the new last number. An older number with nothing newer to say is a second delivery: nothing happened."""
    if last is None or sequence == last + 1:
        return (), sequence
    moment = from_us(received_us)
    if sequence > last + 1:
        detail = {"first_missing": last + 1, "last_missing": sequence - 1, "count": sequence - last - 1}
        return (DeviceEvent(device, moment, "sequence_gap", detail, moment),), sequence
    if sequence < last and latest_us is not None and newest_us is not None and latest_us > newest_us:
        return (DeviceEvent(device, moment, "sequence_reset", {"last": last, "now": sequence}, moment),), sequence
    return (), last
