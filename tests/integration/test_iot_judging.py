"""Quality beside the readings: equal to a recomputation from raw whatever the order of arrival; a day costs weeks only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from collateral.db import rollups
from collateral.db.pool import Pool, Role
from iot import judging
from iot.days import DAY_US
from iot.judging import AFTER, BEFORE, block_us, limits_of, touched
from iot.observe import observe
from iot.quality import VERSION, Flag, judge
from iot.signals import Signal
from tests.iot_support import change, device, number, register, rows, site, store

START = int(datetime(2024, 3, 7, tzinfo=UTC).timestamp()) * 1_000_000
STEP = 1_800_000_000
DAYS = 45
WEEK = 7 * DAY_US
Reading = tuple[str, str, int, float, int]
Spans = list[tuple[int, int, int, int]]


def readings(quantity: str, seed: int) -> list[Reading]:
    """Power with faults of many kinds, some of it out of order or by a wrong clock; and a counter replaced once."""
    rng = np.random.default_rng(seed)
    time = START + np.arange(1, DAYS * 48 + 1, dtype=np.int64) * STEP
    value = (100 + 20 * rng.random(len(time))).round(2)
    received = time + 2_000_000
    if quantity == "active_power_kw":
        value[300:340] = value[300]
        value[700] = 900.0
        value[1000:1060] = value[400:460]
        value[1500:1530] *= 1000
        received[1200:1210] += 6 * 3_600_000_000
        time[1600:1680] += 20 * 60_000_000
    else:
        value = np.cumsum(value).round(1)
        value[800:] -= value[800] - 3.0
    return [("m", quantity, int(t), float(v), int(r)) for t, v, r in zip(time, value, received, strict=True)]


def recomputed(given: list[Reading], quantity: str) -> Spans:
    """Week by week from all readings at once."""
    mine = sorted({reading[2]: reading for reading in given if reading[1] == quantity}.values(), key=lambda one: one[2])
    time = np.array([one[2] for one in mine])
    value, received = np.array([one[3] for one in mine]), np.array([one[4] for one in mine])
    out: Spans = []
    for week in range(int(time[0] // WEEK), int(time[-1] // WEEK) + 1):
        window = (time >= (week - BEFORE) * WEEK) & (time < (week + 1 + AFTER) * WEEK)
        signal = Signal("m", quantity, STEP, time[window], value[window], received[window])
        inside = (signal.time_us >= week * WEEK) & (signal.time_us < (week + 1) * WEEK)
        flags, times = judge(signal, limits_of(quantity))[inside], signal.time_us[inside]
        starts = [i for i in range(len(flags)) if i == 0 or flags[i] != flags[i - 1]]
        for first, end in zip(starts, [*starts[1:], len(flags)], strict=True):
            if flags[first]:
                out.append((int(times[first]), int(times[end - 1]), end - first, int(flags[first])))
    return out


def stored(database: str, quantity: str) -> Spans:
    query = (
        "SELECT (extract(epoch FROM time_from) * 1000000)::bigint, (extract(epoch FROM time_to) * 1000000)::bigint,"
        " readings, flags FROM reading_quality JOIN series USING (series_id) WHERE quantity = %s ORDER BY time_from"
    )
    return rows(database, query, (quantity,))


def look(database: str, now: datetime) -> Any:
    with Pool(database, Role.APP, size=2) as pool:
        return observe(pool, now)


@pytest.mark.parametrize("seed", [1, 2])
def test_quality_equals_a_recomputation_in_any_order(database: str, seed: int) -> None:
    quantities = ["active_power_kw", "energy_total_kwh"]
    register(database, [device("m", quantities, interval_s=1800)], [site()])
    given = [one for quantity in quantities for one in readings(quantity, seed)]
    order = np.random.default_rng(seed).permutation(len(given))
    for part in np.array_split(order, 4):
        store(database, [given[i] for i in part])
        look(database, datetime(2024, 6, 1, tzinfo=UTC))
    for quantity in quantities:
        assert stored(database, quantity) == recomputed(given, quantity)
    seen = np.bitwise_or.reduce([flags for _, _, _, flags in stored(database, "active_power_kw")])
    assert Flag(int(seen)) & Flag.UNIT and Flag(int(seen)) & Flag.STALE and Flag(int(seen)) & Flag.CLOCK
    assert Flag.RESET in [Flag(flags) for *_, flags in stored(database, "energy_total_kwh")]
    assert number(database, "SELECT count(*) FROM reading_judged WHERE due OR version <> %s", (VERSION,)) == 0
    assert number(database, "SELECT sum(readings) FROM reading_judged") == len(given)
    ahead = rows(database, "SELECT clock_ahead_s FROM reading_quality WHERE clock_ahead_s IS NOT NULL")
    assert ahead and all(1100 < seconds < 1300 for (seconds,) in ahead)


def test_a_day_reads_weeks_and_what_is_the_same_stays(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(database, [device("m", ["active_power_kw"], interval_s=1800)], [site()])
    given = readings("active_power_kw", 3)
    store(database, given[: -2 * 48])
    look(database, datetime.fromtimestamp((START + (DAYS - 2) * DAY_US) / 1e6, UTC) + timedelta(hours=3))
    before = rows(database, "SELECT * FROM reading_quality ORDER BY time_from")
    spans: list[int] = []
    read = rollups.read_readings

    def watched(connection: Any, series_ids: Any, from_us: int, to_us: int) -> Any:
        if len(series_ids) == 1 and to_us < 2**52:
            spans.append(to_us - from_us)
        return read(connection, series_ids, from_us, to_us)

    monkeypatch.setattr(rollups, "read_readings", watched)
    store(database, given[-2 * 48 :])
    look(database, datetime.fromtimestamp((START + DAYS * DAY_US) / 1e6, UTC) + timedelta(hours=3))
    # Roll-ups read the two days; quality the three weeks before and the week after the two weeks that are touched.
    assert max(spans) <= (BEFORE + AFTER + 2) * WEEK
    assert rows(database, "SELECT * FROM reading_quality ORDER BY time_from")[: len(before)] == before


def test_blocks_follow_the_interval_and_end_with_the_series() -> None:
    assert [block_us(seconds * 1_000_000) // 3_600_000_000 for seconds in (1, 30, 60, 300, 900)] == [6, 24, 24, 168, 168]
    blocks = touched(5, 100 * WEEK, 100 * WEEK + 1, 102 * WEEK + 5, 900_000_000)
    assert [block.from_us // WEEK for block in blocks] == [99, 100, 101, 102]
    assert touched(5, 100 * WEEK, 100 * WEEK, 102 * WEEK, 900_000_000)[0].series_id == 5


def test_what_older_rules_judged_is_judged_anew_some_in_each_run(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(database, [device("m", ["active_power_kw"], interval_s=1800)], [site()])
    store(database, readings("active_power_kw", 1))
    now = datetime(2024, 6, 1, tzinfo=UTC)
    look(database, now)
    today, blocks = stored(database, "active_power_kw"), number(database, "SELECT count(*) FROM reading_judged")
    change(database, "UPDATE reading_judged SET version = %s", (VERSION - 1,))
    change(database, "UPDATE reading_quality SET version = %s, flags = %s", (VERSION - 1, int(Flag.RANGE)))
    monkeypatch.setattr(judging, "REJUDGED_BLOCKS", 3)
    assert stats(database)["outdated"] == blocks > 6
    done = look(database, now)
    assert (done.rejudged, done.sites) == (3, 0), "nothing was written, and still it goes on"
    newest = "SELECT count(*) FROM (SELECT * FROM reading_judged ORDER BY block_from DESC LIMIT 3) n WHERE version = %s"
    assert number(database, newest, (VERSION,)) == 3
    assert (stats(database)["outdated"], stats(database)["judged"]) == (blocks - 3, 3)
    for _ in range(blocks // 3):
        look(database, now)
    assert (stats(database)["outdated"], stats(database)["due"]) == (0, 0)
    assert stored(database, "active_power_kw") == today
    assert look(database, now).rejudged == 0


def stats(database: str) -> dict[str, int]:
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        return judging.judging_stats(connection)
