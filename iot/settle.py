"""Settles the numbers of messages after their commit: one process at a time, whichever of several stored them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from collateral.db import arrivals, telemetry
from collateral.db.arrivals import HeardRow
from collateral.db.pool import Pool
from collateral.db.telemetry import DeviceEvent, from_us
from iot.sequences import Heard, Run, Turn, continued, run_of, turns, weave


def settle(pool: Pool, now_us: int, patience_us: int) -> int:
    """Takes in what was heard and tells of gaps and restarts; returns how many transactions' messages were settled.

    Args:
        pool: acting as ingest or the application.
        now_us: our clock.
        patience_us: what came less than this ago is left for later: the missing ones may be with another process of the
            group, and only what is settled together is surely put in its order.
    """
    with pool.connection() as connection:
        if not arrivals.may_settle(connection):
            return 0
        rows = arrivals.read_heard(connection, now_us - patience_us)
        heard = by_device(rows)
        before = {
            device: [run_of(row) for row in stored]
            for device, stored in arrivals.sequence_runs(connection, sorted(heard)).items()
        }
        after: dict[str, list[Run]] = {}
        events: list[DeviceEvent] = []
        for device in sorted(heard):
            after[device], told = turns(taken_in(before.get(device, []), heard[device]))
            events.extend(_event(device, turn) for turn in told)
        changed = {device: [run.row() for run in runs] for device, runs in after.items() if runs != before.get(device)}
        if changed:
            arrivals.write_sequence_runs(connection, changed, now_us)
        telemetry.write_device_events(connection, events)
        arrivals.forget_heard(connection, [row.heard_id for row in rows])
    return len(rows)


@dataclass(frozen=True)
class DeviceHeard:
    """What came of one device."""

    messages: Heard
    stretch: Run | None
    """All of it, where it is one stretch without a hole."""


def by_device(rows: Sequence[HeardRow]) -> dict[str, DeviceHeard]:
    """What was heard of each device."""
    if not any(len(row.messages) for row in rows):
        return {}
    numbers: dict[str, int] = {}
    names = [np.array([numbers.setdefault(name, len(numbers)) for name in row.devices], np.int64) for row in rows]
    device = np.concatenate([known[row.messages["device"]] for known, row in zip(names, rows, strict=True)])
    messages = np.concatenate([row.messages for row in rows])
    number, moment = messages["sequence"].astype(np.int64), messages["time_us"].astype(np.int64)
    received = np.repeat([row.received_us for row in rows], [len(row.messages) for row in rows])
    order = np.lexsort((received, moment, number, device))
    device, number, moment, received = device[order], number[order], moment[order], received[order]
    same = device[1:] == device[:-1]
    kept = np.append(True, ~(same & (np.diff(number) == 0) & (np.diff(moment) == 0)))
    device, number, moment, received = device[kept], number[kept], moment[kept], received[kept]
    broken = np.append(False, (device[1:] == device[:-1]) & ((np.diff(number) != 1) | (np.diff(moment) < 0)))
    breaks = np.append(0, np.cumsum(broken))
    bounds = np.searchsorted(device, np.arange(len(numbers) + 1)).tolist()
    heard: dict[str, DeviceHeard] = {}
    for name, begin, end in zip(numbers, bounds, bounds[1:], strict=False):
        if begin == end:
            continue
        part = Heard(number[begin:end], moment[begin:end], received[begin:end])
        whole = breaks[begin] == breaks[end]
        last = end - 1
        stretch = Run(
            0, int(number[begin]), int(number[last]), int(moment[begin]), int(moment[last]), int(received[begin]), False
        )  # fmt: skip
        heard[name] = DeviceHeard(part, stretch if whole else None)
    return heard


def taken_in(runs: list[Run], heard: DeviceHeard) -> list[Run]:
    """The runs of a device after more was heard."""
    longer = continued(runs, heard.stretch) if heard.stretch else None
    return weave(runs, heard.messages) if longer is None else longer


def _event(device_id: str, turn: Turn) -> DeviceEvent:
    return DeviceEvent(device_id, from_us(turn.time_us), turn.kind, turn.detail, from_us(turn.received_us))
