"""How the states of devices change with a batch of messages, in any order of arrival. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collateral.db.arrivals import HEARD, DeviceUpdate
from collateral.db.telemetry import NO_SEQUENCE
from iot.fastpath import Heard
from iot.payload import Message

NO_TIME = -(2**62)


@dataclass(frozen=True)
class Traces:
    """What messages say of the device that sent them; arrays of one length."""

    device: NDArray[np.int32]
    sequence: NDArray[np.int64]
    """`NO_SEQUENCE` where it counts none."""
    reading_us: NDArray[np.int64]
    """Newest reading in it, `NO_TIME` without one."""
    told_us: NDArray[np.int64]
    """When the device said so by its own clock, or when it arrived."""
    received_us: NDArray[np.int64]
    online: NDArray[np.bool_]


def traces_of(heard: Heard) -> Traces:
    """Messages with readings."""
    return Traces(
        heard.device, heard.sequence, heard.latest_us, heard.latest_us, heard.received_us, np.ones(len(heard.device), bool)
    )


def trace_messages(heard: Sequence[tuple[int, Message]], numbers: dict[str, int]) -> Traces:
    """Messages (received_us, message) of any kind; `numbers` names the index of each device."""
    sampled = [max((sample.time_us for sample in message.samples), default=NO_TIME) for _, message in heard]
    told = [
        newest if newest != NO_TIME else message.status.time_us if message.status and message.status.time_us else received
        for newest, (received, message) in zip(sampled, heard, strict=True)
    ]
    return Traces(
        np.array([numbers[message.device_id] for _, message in heard], np.int32),
        np.array([NO_SEQUENCE if message.sequence is None else message.sequence for _, message in heard], np.int64),
        np.array(sampled, np.int64),
        np.array(told, np.int64),
        np.array([received for received, _ in heard], np.int64),
        np.array([message.status is None or message.status.state == "online" for _, message in heard], bool),
    )


def joined(first: Traces, second: Traces) -> Traces:
    """Both, one after the other."""
    if len(second.device) == 0:
        return first
    return Traces(
        np.concatenate([first.device, second.device]),
        np.concatenate([first.sequence, second.sequence]),
        np.concatenate([first.reading_us, second.reading_us]),
        np.concatenate([first.told_us, second.told_us]),
        np.concatenate([first.received_us, second.received_us]),
        np.concatenate([first.online, second.online]),
    )


def device_update(traces: Traces, names: Sequence[str]) -> tuple[DeviceUpdate, NDArray[np.int32]]:
    """How the states of the devices change; and the numbers of those devices, in the same order."""
    order = np.argsort(traces.device, kind="stable")
    device = traces.device[order]
    begins = np.flatnonzero(np.diff(device, prepend=-1))
    numbers = device[begins]
    n = np.diff(np.append(begins, len(device)))
    newest = np.maximum.reduceat(traces.reading_us[order], begins)
    received = np.maximum.reduceat(traces.received_us[order], begins)
    last = begins + n - 1
    numbered = np.where(traces.sequence == NO_SEQUENCE, NO_TIME, traces.told_us)
    by_number = np.lexsort((traces.sequence, numbered, traces.device))[last]
    sequence, sequence_us = traces.sequence[by_number].tolist(), traces.told_us[by_number].tolist()
    # A device whose clock runs ahead must not seem present after its last will.
    present_us = np.minimum(traces.told_us, traces.received_us)
    by_presence = np.lexsort((~traces.online, present_us, traces.device))[last]
    without = [number == NO_SEQUENCE for number in sequence]
    return (
        DeviceUpdate(
            [names[number] for number in numbers.tolist()],
            [None if moment == NO_TIME else moment for moment in newest.tolist()],
            received.tolist(),
            [None if empty else number for number, empty in zip(sequence, without, strict=True)],
            [None if empty else moment for moment, empty in zip(sequence_us, without, strict=True)],
            traces.online[by_presence].tolist(),
            present_us[by_presence].tolist(),
            n.tolist(),
        ),
        numbers,
    )


def heard_numbers(traces: Traces, devices: NDArray[np.int32]) -> NDArray[np.void]:
    """The numbered messages as rows of `HEARD`, with the index into `devices` (sorted) for the device."""
    chosen = traces.sequence != NO_SEQUENCE
    rows = np.empty(int(chosen.sum()), HEARD)
    rows["device"] = np.searchsorted(devices, traces.device[chosen])
    rows["sequence"] = traces.sequence[chosen]
    rows["time_us"] = traces.told_us[chosen]
    return rows
