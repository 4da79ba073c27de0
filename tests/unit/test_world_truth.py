"""The sample world: the same seed gives the same world, healthy sites stay healthy, storylines really happen."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from collateral.domain import SiteKind
from collateral.errors import InvalidInputError
from collateral.portfolio.folder import read_folder
from collateral.portfolio.problems import errors
from data_samples.calendar import DayKind, day_kind
from data_samples.clock import PER_DAY, STEP_H, stream
from data_samples.inventory import SitePlan
from data_samples.operations import SiteTruth, onset_of
from data_samples.scenes import scene_states, write_scenes
from data_samples.storylines import LOCAL, STORYLINES, pick_onset
from data_samples.telemetry import OUTAGE, DeviceSeries
from data_samples.weather import Weather, plane_irradiance
from data_samples.world import World, WorldConfig, config_for, load_world, make_config, plan_world, write_world

END = datetime(2026, 6, 30, 8, 0, tzinfo=UTC)
CONFIG = WorldConfig(seed=3, end=END)


@cache
def world() -> World:
    return plan_world(CONFIG)


@cache
def truth_of(site_id: str) -> SiteTruth:
    return world().truth(world().plan(site_id))


@cache
def series_of(site_id: str) -> dict[str, DeviceSeries]:
    plan = world().plan(site_id)
    found = world().series(plan, truth_of(site_id))
    return {item.device.device_id: item.between(0, world().end_ms) for item in found}


def teller(name: str) -> SitePlan:
    return next(plan for plan in world().plans if onset_of(plan, name) is not None)


def twin_of(name: str) -> str:
    return next(story.twin for story in world().storylines if story.name == name)


def days_around(name: str) -> tuple[int, int, int]:
    """Day index of onset, of the end, and how many days lie between."""
    clock = world().clock
    plan = teller(name)
    assert plan.cast.onset is not None
    onset, last = clock.day_index(plan.cast.onset), clock.day_index(END)
    return onset, last, last - onset


def daily(series: DeviceSeries, quantity: str) -> dict[int, float]:
    """Growth of a register by local day index."""
    start = int(world().clock.start.timestamp()) * 1000
    day = (series.times_ms - start - 1) // 86_400_000
    found: dict[int, float] = {}
    values = series.values[quantity]
    for index in np.unique(day):
        inside = np.flatnonzero(day == index)
        if inside[0] > 0:
            found[int(index)] = float(values[inside[-1]] - values[inside[0] - 1])
    return found


def workday_indices() -> list[int]:
    found: list[int] = np.flatnonzero(world().clock.kinds() == DayKind.WORKDAY).tolist()
    return found


def test_all_storylines_twins_and_kinds_are_there() -> None:
    kinds = [plan.cast.kind for plan in world().plans]
    assert {kind: kinds.count(kind) for kind in SiteKind} == dict.fromkeys(SiteKind, 8)
    assert {story.name for story in world().storylines} == {story.name for story in STORYLINES}
    troubled = {story.site_id for story in world().storylines}
    for story in world().storylines:
        assert story.twin
        assert story.twin not in troubled
        assert world().plan(story.twin).cast.kind == world().plan(story.site_id).cast.kind
        assert world().plan(story.twin).cast.habits == world().plan(story.site_id).cast.habits
    assert len({plan.company.borrower_id for plan in world().plans}) == 12


@pytest.mark.parametrize("month", range(1, 13))
def test_onsets_lie_20_to_60_days_before_any_end(month: int) -> None:
    for year in (2025, 2026, 2027):
        end = datetime(year, month, 17, 3, 30, tzinfo=UTC)
        for story in STORYLINES:
            onset = pick_onset(story, end, np.random.default_rng(month))
            age = (end.astimezone(LOCAL).date() - onset.astimezone(LOCAL).date()).days
            assert 20 <= age <= 60
            if story.within_days < 30:
                assert day_kind(onset.astimezone(LOCAL).date()) == DayKind.WORKDAY


def test_the_same_config_gives_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    def digest(folder: Path, seed: int) -> dict[str, str]:
        write_world(plan_world(WorldConfig(seed, END, sites=3, years=0.3)), folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    first, again, other = (digest(tmp_path / name, seed) for name, seed in (("a", 5), ("b", 5), ("c", 6)))
    assert first == again
    assert first["telemetry/F01.npz"] != other["telemetry/F01.npz"]
    assert first["portfolio/sites.geojson"] != other["portfolio/sites.geojson"]


def test_registers_grow_by_the_integral_of_power() -> None:
    checked = 0
    for plan in world().plans:
        for device_id, series in series_of(plan.site_id).items():
            for register, gauge in (("energy_total_kwh", "active_power_kw"), ("ac_energy_total_kwh", "ac_power_kw")):
                if register not in series.values or device_id == f"{teller('sensor_frozen').site_id}-METER":
                    continue
                growth = np.diff(series.values[register])
                complete = np.diff(series.times_ms) == 1_800_000
                np.testing.assert_allclose(growth[complete], series.values[gauge][1:][complete] * STEP_H, atol=0.011)
                assert (growth >= 0).all()
                checked += 1
    assert checked == 7 + 8 * 4


def test_few_messages_are_lost_and_sequence_shows_it() -> None:
    for plan in world().plans:
        for series in series_of(plan.site_id).values():
            steps, missing = np.diff(series.times_ms) // 1_800_000, np.diff(series.sequence)
            np.testing.assert_array_equal(steps, missing)
            assert 0 < (steps - 1).sum() / len(steps) < 0.005
            assert (series.received_ms > series.times_ms).all()


def test_healthy_factories_keep_their_usual_day() -> None:
    troubled = {story.site_id for story in world().storylines}
    clock = world().clock
    workdays = np.flatnonzero(clock.kinds() == DayKind.WORKDAY).tolist()
    last = clock.day_index(END)
    for plan in world().plans:
        if plan.cast.kind != SiteKind.FACTORY or plan.site_id in troubled:
            continue
        energy = daily(series_of(plan.site_id)[f"{plan.site_id}-METER"], "energy_total_kwh")
        recent = [energy[day] for day in workdays if last - 60 <= day < last]
        before = [energy[day] for day in workdays if 5 <= day < last - 60]
        assert np.mean(recent) == pytest.approx(np.mean(before), rel=0.1)
        assert min(recent) > 0.5 * np.median(before)


def test_spring_festival_empties_factories() -> None:
    plan = teller("sudden_stop")
    index = (datetime(2026, 2, 17, tzinfo=UTC).date() - world().clock.first_day).days
    assert truth_of(plan.site_id).activity[index] < 0.15
    assert truth_of(plan.site_id).cars[index] < 0.3 * truth_of(plan.site_id).cars[index - 20:index - 5].max()


def test_slow_decline_is_seen_by_meter_and_from_above() -> None:
    onset, last, _ = days_around("slow_decline")
    site = teller("slow_decline").site_id
    energy = daily(series_of(site)[f"{site}-METER"], "energy_total_kwh")
    workdays = [day for day in workday_indices() if 0 < day < last]
    before = np.mean([energy[day] for day in workdays if onset - 60 <= day < onset])
    after = np.mean([energy[day] for day in workdays if day >= last - 14])
    assert 0.4 < after / before < 0.65
    cars = truth_of(site).cars
    assert np.mean(cars[[d for d in workdays if d >= last - 14]]) < 0.65 * np.mean(cars[[d for d in workdays if d < onset]])


def test_sudden_stop_leaves_standby_only_and_the_twin_goes_on() -> None:
    onset, last, _ = days_around("sudden_stop")
    site, twin = teller("sudden_stop").site_id, twin_of("sudden_stop")
    for name, low, high in ((site, 0.02, 0.3), (twin, 0.85, 1.15)):
        energy = daily(series_of(name)[f"{name}-METER"], "energy_total_kwh")
        workdays = [d for d in workday_indices() if 0 < d < last]
        ratio = np.mean([energy[d] for d in workdays if d >= onset]) / np.mean([energy[d] for d in workdays if d < onset])
        assert low < ratio < high
    assert truth_of(site).cars[onset:last].max() == 0


def test_frozen_meter_stands_still_while_machines_run() -> None:
    plan = teller("sensor_frozen")
    assert plan.cast.onset is not None
    onset_ms = int(plan.cast.onset.timestamp() * 1000)
    meter = series_of(plan.site_id)[f"{plan.site_id}-METER"].between(onset_ms, world().end_ms)
    assert len(meter.times_ms) > 500
    assert len(np.unique(meter.values["active_power_kw"])) == len(np.unique(meter.values["energy_total_kwh"])) == 1
    assert meter.values["active_power_kw"][0] > 0
    controller = series_of(plan.site_id)[f"{plan.site_id}-CTRL1"].between(onset_ms, world().end_ms)
    assert 0.1 < controller.values["machine_running"].mean() < 0.8


def test_replayed_meter_repeats_an_earlier_fortnight_while_the_yard_is_empty() -> None:
    plan = teller("sensor_replayed")
    assert plan.cast.onset is not None
    clock, onset = world().clock, plan.cast.onset
    power = series_of(plan.site_id)[f"{plan.site_id}-METER"]
    by_time = dict(zip(power.times_ms.tolist(), power.values["active_power_kw"].tolist(), strict=True))
    begin = int(onset.timestamp() * 1000)
    fresh = [t for t in by_time if begin < t <= begin + 14 * 86_400_000]
    matches = []
    for weeks in range(2, 9):
        pairs = [(by_time[t], by_time.get(t - weeks * 7 * 86_400_000)) for t in fresh]
        matches.append(np.mean([now == past for now, past in pairs if past is not None]))
    assert max(matches) == 1.0
    day, last = clock.day_index(onset), clock.day_index(END)
    assert truth_of(plan.site_id).cars[day:last].max() == 0
    states = scene_states(world(), plan, truth_of(plan.site_id), "all")
    empty = [state for state in states if state.acquired_at > onset]
    assert len(empty) >= 4
    assert all(state.cars == 0 and max(state.stock_cover.values()) < 0.06 for state in empty)
    healthy = series_of(twin_of("sensor_replayed"))[f"{twin_of('sensor_replayed')}-METER"].values["active_power_kw"]
    assert np.mean(healthy[-14 * PER_DAY:] == healthy[-28 * PER_DAY:-14 * PER_DAY]) < 0.05


def test_gateway_outage_is_silence_then_a_burst_with_true_times() -> None:
    plan = teller("gateway_outage")
    assert plan.cast.onset is not None
    begin = int(plan.cast.onset.timestamp() * 1000)
    end = begin + int(OUTAGE.total_seconds() * 1000)
    for series in series_of(plan.site_id).values():
        arrivals = series.received_ms
        late_before = 2_700_000
        assert not ((arrivals > begin + late_before) & (arrivals < end)).any()
        inside = (series.times_ms > begin) & (series.times_ms <= end)
        assert inside.sum() > 130
        assert (arrivals[inside] < end + 3_600_000).all()


def test_stock_leaves_at_night_by_gate_scale_tags_and_bays() -> None:
    plan = teller("stock_removed_at_night")
    assert plan.cast.onset is not None
    begin = int(plan.cast.onset.timestamp() * 1000)
    site = series_of(plan.site_id)
    weight = site[f"{plan.site_id}-SCALE"]
    before, after = weight.between(0, begin), weight.between(begin + 5 * 3_600_000, world().end_ms)
    assert after.values["weight_kg"].max() < 0.62 * before.values["weight_kg"].min()
    openings = site[f"{plan.site_id}-GATE"].between(begin - 1_800_000, begin + 4 * 3_600_000).values["door_openings_total"]
    assert openings[-1] - openings[0] > 20
    states = scene_states(world(), plan, truth_of(plan.site_id), "all")
    bays = {state.acquired_at > plan.cast.onset: len(state.occupied) for state in states}
    assert bays[True] < 0.8 * bays[False]


def test_soiled_panels_lose_yield_and_one_dead_inverter_gives_nothing() -> None:
    def ratio(plan: SitePlan, days: slice) -> float:
        signals = truth_of(plan.site_id).signals
        power = np.sum([signals[f"{plan.site_id}-INV{number}"]["ac_power_kw"] for number in range(1, 5)], axis=0)
        poa = np.clip(signals[f"{plan.site_id}-MET"]["irradiance_poa_w_m2"], 0, None)
        part = slice(days.start * PER_DAY, days.stop * PER_DAY)
        return float(power[part].sum() / (world().things[plan.site_id].kwp * poa[part].sum() / 1000.0))

    dead_site = world().things[teller("inverter_dead").site_id]
    for name, change in (("panels_soiled", 0.855), ("inverter_dead", 1 - dead_site.arrays[-1].kwp / dead_site.kwp)):
        onset, last, _ = days_around(name)
        troubled, twin = teller(name), world().plan(twin_of(name))
        changes = [ratio(plan, slice(last - 14, last)) / ratio(plan, slice(onset - 14, onset)) for plan in (troubled, twin)]
        assert changes[1] == pytest.approx(1.0, abs=0.07)  # season and temperature
        assert changes[0] / changes[1] == pytest.approx(change, abs=0.04)
        assert 0.75 < ratio(twin, slice(5, last)) < 0.92
    dead = series_of(teller("inverter_dead").site_id)[f"{teller('inverter_dead').site_id}-INV4"]
    assert dead.values["ac_power_kw"][-15 * PER_DAY:].max() == 0
    soiled = scene_states(world(), teller("panels_soiled"), truth_of(teller("panels_soiled").site_id), "all")
    assert min(look.soiled_fraction for look in soiled[-1].arrays.values()) > 0.4
    assert max(look.soiled_fraction for look in soiled[0].arrays.values()) == 0


def test_sun_shines_by_day_only_and_as_much_as_in_eastern_china() -> None:
    plan = teller("panels_soiled")
    daily_sum = truth_of(plan.site_id).irradiation
    assert 3.2 < daily_sum.mean() < 5.0
    assert daily_sum.max() < 9.0
    clear = plane_irradiance(world().clock, plan.at, 25.0, _clear_weather())
    by_hour = clear.reshape(-1, PER_DAY).mean(axis=0)
    assert by_hour[:8].max() == 0
    assert 11.0 <= (np.argmax(by_hour) + 0.5) / 2 <= 13.0


def _clear_weather() -> Weather:
    steps, days = world().clock.steps, world().clock.days
    return Weather(np.zeros(days), np.zeros(days), np.full(steps, 20.0), np.ones(steps))


def test_a_given_end_is_rounded_and_wrong_wishes_are_refused() -> None:
    config = make_config(1, datetime(2026, 5, 1, 10, 47, 12, tzinfo=UTC), 24, 1.0, 1.0)
    assert config.end == datetime(2026, 5, 1, 10, 30, tzinfo=UTC)
    for bad in ((1, datetime(2026, 5, 1), 24, 1.0, 1.0), (-1, END, 24, 1.0, 1.0), (1, END, 0, 1.0, 1.0),
                (1, END, 24, 9.0, 1.0), (1, END, 24, 1.0, 2.0)):
        with pytest.raises(InvalidInputError):
            make_config(*bad)


def test_a_folder_is_completed_but_never_overwritten(tmp_path: Path) -> None:
    config = WorldConfig(5, END, sites=1, years=0.3)
    assert config_for(tmp_path, config, False) == config
    write_world(plan_world(config), tmp_path)
    later = WorldConfig(5, END + timedelta(hours=2), sites=1, years=0.3)
    assert config_for(tmp_path, later, False) == config
    assert load_world(tmp_path).config == config
    for other, given in ((later, True), (WorldConfig(6, END, sites=1, years=0.3), False)):
        with pytest.raises(InvalidInputError, match="another folder"):
            config_for(tmp_path, other, given)


def test_scenes_are_written_once_and_show_what_is_true(tmp_path: Path) -> None:
    config = WorldConfig(5, END, sites=1, years=0.3)
    planned = plan_world(config)
    first = write_scenes(planned, tmp_path, "few", workers=1)
    assert first.written == 3
    assert write_scenes(planned, tmp_path, "few", workers=1).skipped == 3
    states = scene_states(planned, planned.plans[0], planned.truth(planned.plans[0]), "few")
    for path, state in zip(sorted((tmp_path / "scenes").glob("*.truth.json")), states, strict=True):
        truth = json.loads(path.read_text())
        inside = [vehicle for vehicle in truth["vehicles"] if vehicle["site_id"] == "F01"]
        assert len(inside) == state.cars + state.heavy
        assert datetime.fromisoformat(truth["acquired_at"]) == state.acquired_at


def test_pictures_are_taken_on_working_days_and_known_before_the_end() -> None:
    for plan in world().plans:
        states = scene_states(world(), plan, truth_of(plan.site_id), "all")
        assert 14 <= len(states) <= 15
        days = [state.acquired_at.astimezone(LOCAL).date() for state in states]
        assert days == sorted(set(days))
        assert all(day_kind(day) == DayKind.WORKDAY for day in days)
        assert all(state.available_at is not None and state.available_at <= END for state in states)
        assert (END.date() - days[-1]).days <= 6
        assert sum(state.cloud_cover > 0 for state in states) <= 2
        assert 1 <= sum(state.gsd_m == 0.15 for state in states) <= 2
        thin = scene_states(world(), plan, truth_of(plan.site_id), "thin")
        assert len(thin) == 7
        assert all(state in states for state in thin)


def test_random_streams_do_not_depend_on_each_other() -> None:
    assert stream(1, "a", "b").random() == stream(1, "a", "b").random()
    assert stream(1, "a", "b").random() != stream(1, "a", "c").random()


def test_committed_world_is_small_whole_and_what_its_config_says() -> None:
    folder = Path(__file__).parents[2] / "data_samples" / "small_world"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5_000_000
    assert errors(read_folder(folder / "portfolio").problems) == []
    planned = load_world(folder)
    written = json.loads((folder / "truth" / "storylines.json").read_text())
    assert [(row["name"], row["site"]) for row in written] == [(story.name, story.site_id) for story in planned.storylines]
    for plan in planned.plans:
        assert len(list((folder / "scenes").glob(f"{plan.site_id}_*.tif"))) == 3
        with np.load(folder / "telemetry" / f"{plan.site_id}.npz") as archive:
            assert len(archive["series"]) >= 3
