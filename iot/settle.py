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


@dataclass(frozen=True)
class Missing:
    """Numbers of a device that did not come, to be asked for once."""

    site_id: str
    device_id: str
    first: int
    last: int


def settle(pool: Pool, now_us: int, patience_us: int) -> list[Missing]:
    """Takes in what was heard, tells of gaps and restarts, and returns the gaps found just now.

    Args:
        pool: acting as ingest or the application.
        now_us: our clock.
        patience_us: what came less than this ago is left for later: the missing ones may be with another process of the
            group, and only what is settled together is surely put in its order.
    """
    with pool.connection() as connection:
        if not arrivals.may_settle(connection):
            return []
        rows = arrivals.read_heard(connection, now_us - patience_us)
        heard = by_device(rows)
        before = {
            device: [run_of(row) for row in stored]
            for device, stored in arrivals.sequence_runs(connection, sorted(heard)).items()
        }
        after: dict[str, list[Run]] = {}
        told: dict[str, list[Turn]] = {}
        for device in sorted(heard):
            after[device], told[device] = turns(taken_in(before.get(device, []), heard[device]))
        changed = {device: [run.row() for run in runs] for device, runs in after.items() if runs != before.get(device)}
        if changed:
            arrivals.write_sequence_runs(connection, changed, now_us)
        events = [_event(device, turn) for device, said in told.items() for turn in said]
        telemetry.write_device_events(connection, events)
        arrivals.forget_heard(connection, [row.heard_id for row in rows])
        gaps = [(device, turn.missing) for device, said in told.items() for turn in said if turn.missing]
        places = telemetry.device_entries(connection, sorted({device for device, _ in gaps})) if gaps else {}
    return [Missing(places[device].site_id, device, *numbers) for device, numbers in gaps if device in places]


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
