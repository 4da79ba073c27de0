"""Whatever the order of messages and however they are split over two writers, the database says the same of a device."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collateral.db.pool import Pool, Role
from iot.intake import Block, RawMessage, block_of
from iot.observe import observe
from iot.payload import encode_samples, encode_status, encode_telemetry
from iot.settle import settle
from iot.writer import BatchWriter
from tests.iot_support import device, register, rows, site

ZONE = "Europe/Berlin"
QUANTITIES = ("active_power_kw", "energy_total_kwh", "energy_interval_kwh")
T0 = datetime(2026, 10, 24, 20, tzinfo=UTC)  # the clocks of Berlin go back in the night after
T0_MS = round(T0.timestamp() * 1000)
NOW = T0 + timedelta(hours=52)  # marked dirty by the day in the first hours, by the hour after them
NOW_US = round(NOW.timestamp() * 1_000_000)
EXAMPLES = 6

Said = tuple[str, bytes]
"""Channel and payload."""


@st.composite
def conversations(draw: st.DrawFn) -> list[Said]:
    """What a device says in two days: moments, past samples, states, numbers that are missing, some contradictions."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    said: list[Said] = []
    for number in range(draw(st.integers(5, 60))):
        at = T0_MS + number * 2_400_000 + rng.randrange(100) * 1000
        values = {name: float(rng.randrange(500)) for name in QUANTITIES if rng.random() < 0.8} or {QUANTITIES[0]: 1.0}
        if rng.random() < 0.15:
            continue
        if rng.random() < 0.1:
            said.append(("status", encode_status(rng.choice(["online", "offline"]), number, at)))
        elif rng.random() < 0.2:
            said.append(("telemetry", encode_samples(number, [(at - k * 20_000, values) for k in range(4)])))
        else:
            said.append(("telemetry", encode_telemetry(number, at, values)))
        if rng.random() < 0.1:
            said.append(("telemetry", encode_telemetry(number, at, {name: value + 1 for name, value in values.items()})))
    return said


def blocks(device_id: str, said: Sequence[Said]) -> list[Block]:
    return [
        block_of([RawMessage(f"cw/v1/S1/{device_id}/{channel}".encode(), payload, NOW_US - 1000 + n, False)])
        for n, (channel, payload) in enumerate(said)
    ]


def split(data: st.DataObject, said: Sequence[Said]) -> list[list[Said]]:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(said) - 1)), max_size=5)))
    return [list(said[a:b]) for a, b in zip([0, *cuts], [*cuts, len(said)], strict=True) if said[a:b]]


def expected_rollups(readings: Sequence[tuple[str, datetime, float]]) -> dict[tuple[str, str, datetime], tuple[float, ...]]:
    """All roll-ups made from raw readings in the plainest way."""
    found: dict[tuple[str, str, datetime], list[tuple[float, float | None]]] = defaultdict(list)
    last: dict[str, float] = {}
    for quantity, time, value in sorted(readings):
        delta: float | None = None
        if quantity == "energy_total_kwh":
            delta = max(0.0, value - last[quantity]) if quantity in last else 0.0
        elif quantity == "energy_interval_kwh":
            delta = value
        last[quantity] = value
        local = time.astimezone(ZoneInfo(ZONE))
        midnight = datetime(local.year, local.month, local.day, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
        hour = time.replace(minute=0, second=0, microsecond=0)
        for width, bucket in (("1m", time.replace(second=0, microsecond=0)), ("1h", hour), ("day", midnight)):
            found[quantity, width, bucket].append((value, delta))
    return {
        key: (
            len(held), round(sum(v for v, _ in held) / len(held), 6), min(held)[0], max(held)[0], held[0][0], held[-1][0],
            -1.0 if held[0][1] is None else round(sum(d or 0.0 for _, d in held), 6),
        )
        for key, held in found.items()
    }  # fmt: skip


def stored_rollups(database: str, device_id: str) -> dict[tuple[str, str, datetime], tuple[float, ...]]:
    found = rows(
        database,
        "SELECT quantity, width, bucket, n, mean, low, high, first, last, delta FROM rollup JOIN series USING (series_id)"
        " WHERE device_id = %s",
        (device_id,),
    )
    return {
        (quantity, width, bucket): (n, round(mean, 6), *rest, -1.0 if delta is None else round(delta, 6))
        for quantity, width, bucket, n, mean, *rest, delta in found
    }


def readings(database: str, device_id: str, table: str = "reading") -> list[tuple[str, datetime, float]]:
    return rows(
        database,
        f"SELECT quantity, time, value FROM {table} JOIN series USING (series_id) WHERE device_id = %s",  # noqa: S608
        (device_id,),
    )


def state(database: str, device_id: str) -> list[tuple[Any, ...]]:
    found = rows(
        database, "SELECT last_time, last_sequence, online FROM device_state WHERE device_id = %s", (device_id,)
    )
    runs = rows(database, "SELECT runs FROM device_sequence WHERE device_id = %s", (device_id,))
    query = "SELECT time, kind FROM device_event WHERE device_id = %s AND kind NOT LIKE 'seq%%'"
    events = rows(database, query, (device_id,))
    return [*found, *sorted(tuple(run[:3]) for run in runs[0][0]), *sorted(events)]


def test_any_order_and_splitting_gives_the_same(database: str) -> None:
    names = [f"{kind}{n}" for kind in ("plain", "mixed") for n in range(EXAMPLES)]
    register(database, [device(name, list(QUANTITIES)) for name in names], [site(zone=ZONE)])
    left = list(range(EXAMPLES))

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(said=conversations(), data=st.data())
    def check(said: list[Said], data: st.DataObject) -> None:
        if not left or not said:
            return
        number = left.pop()
        plain, mixed = f"plain{number}", f"mixed{number}"
        with Pool(database, Role.INGEST, size=2) as pool, Pool(database, Role.APP, size=2) as application:
            one, other = (BatchWriter(pool, name, NOW) for name in ("one", "other"))
            one.write(blocks(plain, said))
            observe(application, NOW)
            again = data.draw(st.lists(st.sampled_from(said), max_size=4))
            for part in split(data, data.draw(st.permutations(said + again))):
                data.draw(st.sampled_from([one, other])).write(blocks(mixed, part))
                if data.draw(st.booleans()):
                    observe(application, NOW)
            observe(application, NOW)
            settle(pool, NOW_US, 0)
        for name in (plain, mixed):
            assert stored_rollups(database, name) == expected_rollups(readings(database, name))
        first, second = readings(database, plain), readings(database, mixed)
        conflicts = [readings(database, name, "reading_conflict") for name in (plain, mixed)]
        assert {row[:2] for row in first} == {row[:2] for row in second}
        assert {*first, *conflicts[0]} == {*second, *conflicts[1]}
        assert state(database, mixed) == state(database, plain)

    check()
    assert not left
    tally = rows(database, "SELECT sum(points), sum(stored + duplicates + conflicts + quarantined) FROM ingest_tally")
    assert tally[0][0] == tally[0][1]
