"""Settles the numbers of messages after their commit: one process at a time, whichever of several stored them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from collateral.db import arrivals, telemetry
from collateral.db.arrivals import HeardRow
from collateral.db.pool import Pool
from collateral.db.telemetry import DeviceEvent, from_us
from iot.sequences import Heard, Run, Turn, run_of, turns, weave


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
            after[device], told = turns(weave(before.get(device, ()), heard[device]))
            events.extend(_event(device, turn) for turn in told)
        changed = {device: [run.row() for run in runs] for device, runs in after.items() if runs != before.get(device)}
        if changed:
            arrivals.write_sequence_runs(connection, changed, now_us)
        telemetry.write_device_events(connection, events)
        arrivals.forget_heard(connection, [row.heard_id for row in rows])
    return len(rows)


def by_device(rows: Sequence[HeardRow]) -> dict[str, Heard]:
    """What was heard of each device."""
    if not rows:
        return {}
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    names = [np.array([numbers[name] for name in row.devices], np.int64) for row in rows]
    device = np.concatenate([known[row.messages["device"]] for known, row in zip(names, rows, strict=True)])
    messages = np.concatenate([row.messages for row in rows])
    received = np.repeat([row.received_us for row in rows], [len(row.messages) for row in rows])
    order = np.argsort(device, kind="stable")
    bounds = np.searchsorted(device[order], np.arange(len(numbers) + 1))
    heard: dict[str, Heard] = {}
    for name, number in numbers.items():
        chosen = order[bounds[number] : bounds[number + 1]]
        if len(chosen):
            part = messages[chosen]
            heard[name] = Heard(part["sequence"].astype(np.int64), part["time_us"].astype(np.int64), received[chosen])
    return heard


def _event(device_id: str, turn: Turn) -> DeviceEvent:
    return DeviceEvent(device_id, from_us(turn.time_us), turn.kind, turn.detail, from_us(turn.received_us))
