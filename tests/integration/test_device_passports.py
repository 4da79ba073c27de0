"""Ratio, scale and calibration of a device: used where they belong, from when they hold, and history stays as it was."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from collateral.db import devices, passports
from collateral.db.passports import Passport
from collateral.db.pool import Pool, Role
from collateral.db.qualities import JudgedBlock
from collateral.db.telemetry import from_us, to_us
from collateral.errors import InvalidInputError
from iot import judging
from iot.devices import note_passport
from iot.observe import observe
from iot.quality import Flag
from tests.iot_support import device, number, register, rows, site, store, wait_for

START = datetime(2024, 3, 4, tzinfo=UTC)
STEP = timedelta(minutes=30)
QUANTITIES = ["active_power_kw", "energy_total_kwh", "temperature_degc"]
DAYS = 12
CHANGED, CORRECTED = START + timedelta(days=4), START + timedelta(days=8)
"""From 1 to 40, and from 40 to 50."""
RATIO = {0: 1.0, 1: 40.0, 2: 50.0}
Reading = tuple[str, str, int, float, int]


def readings(seed: int = 1) -> list[Reading]:
    """What the meter publishes: the secondary side of its transformer."""
    rng = np.random.default_rng(seed)
    times = [START + n * STEP for n in range(1, DAYS * 48 + 1)]
    power = (2 + rng.random(len(times))).round(3)
    values = {
        "active_power_kw": power,
        "energy_total_kwh": np.cumsum(power / 2).round(3),
        "temperature_degc": (20 + rng.random(len(times))).round(2),
    }
    return [
        ("m", name, to_us(time), float(values[name][n]), to_us(time) + 1_000_000)
        for name in QUANTITIES for n, time in enumerate(times)
    ]  # fmt: skip


def ratio_at(time_us: int) -> float:
    return RATIO[int(time_us >= to_us(CHANGED)) + int(time_us >= to_us(CORRECTED))]


def note(database: str, passport: Passport, at: datetime) -> None:
    """As if it was recorded at `at`."""
    with Pool(database, Role.APP, size=1) as pool, pool.connection() as connection:
        passports.add_passport(connection, "m", passport, "ann", at)


def look(database: str, now: datetime = START + timedelta(days=30), since: date | None = None) -> None:
    with Pool(database, Role.APP, size=2) as pool:
        done = observe(pool, now, since)
        assert not done.failed


@pytest.fixture
def meter(database: str) -> str:
    register(database, [device("m", QUANTITIES, interval_s=1800)], [site(zone="UTC")])
    return database


def test_a_day_sent_again_is_found_also_where_the_ratio_changed_between(meter: str) -> None:
    note(meter, Passport(ct_ratio=40.0), CHANGED)
    recorded = {(name, time): value for _, name, time, value, _ in readings() if name == "active_power_kw"}
    again_us = to_us(CHANGED + timedelta(days=2)) - to_us(START + timedelta(days=1))  # day 1 once more on day 6
    sent = [
        (*row[:3], recorded[row[1], row[2] - again_us], row[4])
        if START + timedelta(days=1) < from_us(row[2] - again_us) <= START + timedelta(days=2) else row
        for row in readings() if row[1] == "active_power_kw"
    ]
    store(meter, sent)
    look(meter)
    hours = rows(meter, "SELECT valid_from, value FROM observation WHERE quantity = 'replayed_hours' ORDER BY 1")
    found = {(at - START).days: value for at, value in hours}
    assert found[6] == pytest.approx(24, abs=0.6) and sum(found.values()) == found[6]
    flags = rows(meter, "SELECT time_from, flags FROM reading_quality WHERE flags & %s > 0", (int(Flag.REPLAYED),))
    assert [(at - START).days for at, _ in flags] == [6]


@pytest.mark.parametrize("seed", [1, 2])
def test_rollups_and_days_are_in_the_unit_whatever_the_order(meter: str, seed: int) -> None:
    note(meter, Passport(ct_ratio=40.0), CHANGED)
    note(meter, Passport(ct_ratio=50.0), CORRECTED)
    given = readings(seed)
    for part in np.array_split(np.random.default_rng(seed).permutation(len(given)), 3):
        store(meter, [given[n] for n in part])
        look(meter)
    look(meter, since=START.date())  # with arrival times that were in time, what came is taken in only so
    published = {(name, time): value for _, name, time, value, _ in given}
    assert {
        (name, time): value
        for name, time, value in rows(
            meter,
            "SELECT quantity, (extract(epoch FROM time) * 1000000)::bigint, value FROM reading JOIN series"
            " USING (series_id)",
        )
    } == published, "the table holds what was published"
    rollups = "SELECT quantity, width, (extract(epoch FROM bucket) * 1000000)::bigint, n, mean, low, high, delta FROM rollup"
    register_times = sorted(time for name, time in published if name == "energy_total_kwh")
    before = dict(zip(register_times[1:], register_times[:-1], strict=True))
    seen = 0
    for name, width, bucket, n, mean, low, high, delta in rows(meter, f"{rollups} JOIN series USING (series_id)"):
        length = {"1h": 3_600_000_000, "day": 86_400_000_000, "1m": 60_000_000}[width]
        times = [time for key, time in published if key == name and bucket <= time < bucket + length]
        factor = {time: ratio_at(time) if name != "temperature_degc" else 1.0 for time in times}
        values = [published[name, time] * factor[time] for time in times]
        assert n == len(times)
        assert (mean, low, high) == pytest.approx((np.mean(values), min(values), max(values)), rel=1e-12)
        if name == "energy_total_kwh":
            known = [time for time in times if time in before]
            grown = sum((published[name, time] - published[name, before[time]]) * factor[time] for time in known)
            assert delta == pytest.approx(grown, rel=1e-9), "no jump where the transformer was changed"
        seen += 1
    assert seen > DAYS * 24 * 3
    days = dict(rows(meter, "SELECT valid_from, value FROM observation WHERE quantity = 'energy_kwh_per_day'"
                     " ORDER BY valid_from, revision"))
    for index in range(1, DAYS):
        begin, end = to_us(START + timedelta(days=index)), to_us(START + timedelta(days=index + 1))
        used = sum(
            (published["energy_total_kwh", time] - published["energy_total_kwh", before[time]]) * ratio_at(time)
            for time in register_times if begin < time <= end
        )  # fmt: skip
        assert days[START + timedelta(days=index)] == pytest.approx(used, rel=0.002)


def test_another_ratio_leaves_history_as_it_was(meter: str) -> None:
    given = readings()
    held = [one for one in given if one[2] < to_us(CHANGED)]
    store(meter, [one for one in held if one[2] % 7_200_000_000])
    look(meter, CHANGED)
    everything = "SELECT width, bucket, n, mean, delta FROM rollup JOIN series USING (series_id) WHERE quantity = %s"
    note(meter, Passport(ct_ratio=40.0), CHANGED)
    with pytest.raises(InvalidInputError, match="has readings since"):
        note(meter, Passport(ct_ratio=41.0, valid_from=CHANGED - timedelta(days=1)), CHANGED)
    store(meter, held)  # what was late makes all days anew, under the new passport
    look(meter)
    power = rows(meter, everything + " ORDER BY 1, 2", ("active_power_kw",))
    published = [one[3] for one in held if one[1] == "active_power_kw"]
    assert sum(n * mean for width, _, n, mean, _ in power if width == "1h") == pytest.approx(sum(published))


def test_a_device_without_readings_may_be_described_afterwards(meter: str) -> None:
    note(meter, Passport(scale=0.001, valid_from=START), CHANGED)
    store(meter, readings()[:48])
    with Pool(meter, Role.APP, size=1) as pool, pool.connection() as connection:
        found = passports.factors(connection, [row[0] for row in rows(meter, "SELECT series_id FROM series")])
    assert [steps.factor.tolist() for steps in found.values()] == [[0.001]]


def test_what_is_not_said_stays_as_it_was(meter: str) -> None:
    with Pool(meter, Role.APP, size=1) as pool:
        note_passport(pool, "m", Passport(ct_ratio=40.0, firmware="1.2", calibration_expires_on=date(2030, 1, 1)), "ann")
        held = note_passport(pool, "m", Passport(place="hall 2"), "ann")
        with pytest.raises(InvalidInputError, match="what changed"):
            note_passport(pool, "m", Passport(), "ann")
        with pool.connection() as connection:
            (listed,) = devices.device_list(connection)
    assert (held.ct_ratio, held.firmware, held.place) == (40.0, "1.2", "hall 2")
    assert (listed["ct_ratio"], listed["place"], listed["calibration"]) == (40.0, "hall 2", "valid")


def test_what_is_planned_does_not_hold_yet(meter: str) -> None:
    later = datetime.now(UTC) + timedelta(days=30)
    with Pool(meter, Role.APP, size=1) as pool:
        note_passport(pool, "m", Passport(ct_ratio=40.0), "ann")
        note_passport(pool, "m", Passport(ct_ratio=60.0, valid_from=later), "ann")
        held = note_passport(pool, "m", Passport(firmware="1.3"), "ann")
        assert (held.ct_ratio, held.firmware) == (40.0, "1.3")
        with pool.connection() as connection:
            (listed,) = devices.device_list(connection)
            assert (listed["ct_ratio"], listed["firmware"]) == (40.0, "1.3")
            planned = passports.passport_at(connection, "m", later)
            assert planned is not None and planned.ct_ratio == 60.0


def test_a_move_noted_afterwards_leaves_the_ratios_of_its_time(meter: str) -> None:
    store(meter, [one for one in readings() if one[2] < to_us(CHANGED)])
    note(meter, Passport(ct_ratio=40.0), CHANGED)
    with Pool(meter, Role.APP, size=1) as pool:
        held = note_passport(pool, "m", Passport(place="hall 2", valid_from=START + timedelta(days=1)), "ann")
        assert (held.place, held.ct_ratio) == ("hall 2", None)
        with pytest.raises(InvalidInputError, match="has readings since"):
            note_passport(pool, "m", Passport(ct_ratio=40.0, valid_from=START + timedelta(days=1)), "ann")
        with pool.connection() as connection:
            found = passports.factors(connection, [row[0] for row in rows(meter, "SELECT series_id FROM series")])
    around = np.array([to_us(START + timedelta(days=2)), to_us(CHANGED)])
    assert [steps.at(around).tolist() for steps in found.values()] == [[1.0, 40.0]] * 2


def test_after_its_calibration_a_device_is_doubted_until_it_is_renewed(meter: str) -> None:
    ended = START + timedelta(days=6)
    note(meter, Passport(date(2023, 1, 1), (ended - timedelta(days=1)).date()), START - timedelta(days=1))
    store(meter, readings())
    look(meter)
    doubted = (
        "SELECT valid_from, quality, evidence -> 'calibration_expired', evidence -> 'otherwise_good' FROM observation"
        " WHERE quantity = %s"
    )
    days = rows(meter, doubted + " ORDER BY 1", ("energy_kwh_per_day",))
    assert len(days) == DAYS - 1 or len(days) == DAYS
    for begin, *said in days[:-1]:
        assert said == (["doubtful", ["m"], True] if begin >= ended else ["good", None, None]), begin
    owners = "SELECT DISTINCT evidence -> 'owners' FROM observation WHERE quantity = %s"
    assert rows(meter, owners, ("energy_kwh_per_day",)) == [(["third_party"],)]
    flagged = "SELECT coalesce(sum(readings), 0) FROM reading_quality WHERE flags & %s > 0"
    assert number(meter, flagged, (int(Flag.UNCALIBRATED),)) == 3 * (6 * 48 + 1)
    renewed = ended + timedelta(days=3)
    note(meter, Passport(renewed.date(), date(2030, 1, 1)), START + timedelta(days=20))
    look(meter)
    assert number(meter, flagged, (int(Flag.UNCALIBRATED),)) == 3 * 3 * 48
    assert rows(meter, doubted + " ORDER BY 1", ("energy_kwh_per_day",)) == days, "what was known then stays"
    assert number(meter, "SELECT count(*) FROM reading") == len(readings())


def test_a_calibration_noted_while_days_are_judged_counts(meter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = START + timedelta(days=6)
    note(meter, Passport(date(2023, 1, 1), (ended - timedelta(days=1)).date()), START - timedelta(days=1))
    store(meter, readings())
    renewed = Passport(ended.date(), date(2030, 1, 1))
    thread = threading.Thread(target=note, args=(meter, renewed, START + timedelta(days=20)))
    judge = judging.judged_block
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )

    def judged_meanwhile(*given: Any) -> JudgedBlock:
        if thread.ident is None:
            thread.start()
            wait_for(lambda: not thread.is_alive() or number(meter, waiting) > 0)
        return judge(*given)

    monkeypatch.setattr(judging, "judged_block", judged_meanwhile)
    look(meter)
    thread.join(30)
    look(meter)
    assert number(meter, "SELECT count(*) FROM reading_quality WHERE flags & %s > 0", (int(Flag.UNCALIBRATED),)) == 0
