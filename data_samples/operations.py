"""Operating truth: what really happens at a site, day by day and half hour by half hour.

Two things come out for each site: what can be seen from above at the usual time of an overpass (vehicles, stock, panels)
and what sensors would measure if they were honest. Storylines that really happen act here; storylines that only distort
a sensor or its line act in `telemetry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from collateral.domain import SiteKind
from data_samples.calendar import DayKind, festival_factor
from data_samples.clock import PER_DAY, STEP_H, Clock, Floats, Ints, autoregressive, stream
from data_samples.inventory import Inventory, SitePlan
from data_samples.tracks import drive
from data_samples.weather import Weather, plane_irradiance

OVERPASS_HOUR = 10.5
TILT_DEG = 25.0
GAMMA_PER_K = -0.0029
"""Change of power per kelvin of cell temperature above 25 degrees Celsius (n-type modules)."""
SYSTEM_EFFICIENCY = 0.88
THEFT_STEPS = 8
"""Half hours a night theft takes."""


@dataclass(frozen=True)
class SiteTruth:
    """What really happens at one site, storylines included. Day arrays have shape (days,), signals (steps,)."""

    activity: Floats
    """Share of the usual work of a working day."""
    cars: Ints
    """Cars on the site at the overpass."""
    heavy: Ints
    """Vehicles of 7 m or longer at the overpass."""
    stock_cover: Floats
    """Covered share of open stock yards (factories)."""
    levels: Mapping[str, Floats] = field(default_factory=dict)
    """Fill of each stock lot at the end of the day, 0-1, by asset id."""
    soiling: Floats = field(default_factory=lambda: np.zeros(0))
    """Share of PV output lost to dirt."""
    irradiation: Floats = field(default_factory=lambda: np.zeros(0))
    """Plane-of-array irradiation, kWh/m2 per day."""
    signals: Mapping[str, Mapping[str, Floats]] = field(default_factory=dict)
    """Honest gauge values by device id and quantity; for a door counter the openings of each interval."""


def onset_of(plan: SitePlan, name: str) -> datetime | None:
    """When storyline `name` begins at the site; None when it does not happen there."""
    story = plan.cast.storyline
    return plan.cast.onset if story is not None and story.name == name else None


def operate(plan: SitePlan, things: Inventory, weather: Weather, clock: Clock, seed: int, strength: float) -> SiteTruth:
    """The truth of one site over the whole clock; `strength` scales every storyline, 1 being the usual."""
    if plan.cast.kind == SiteKind.FACTORY:
        return _factory(plan, things, weather, clock, seed, strength)
    if plan.cast.kind == SiteKind.SOLAR:
        return _solar(plan, things, weather, clock, seed, strength)
    return _warehouse(plan, things, clock, seed, strength)


def demand(clock: Clock, rng: np.random.Generator, weekend: tuple[float, float], holiday: float) -> Floats:
    """Share of a usual working day's work: weekdays, holidays, demand noise, a rare maintenance day."""
    by_kind = {DayKind.WORKDAY: 1.0, DayKind.SATURDAY: weekend[0], DayKind.SUNDAY: weekend[1], DayKind.HOLIDAY: holiday}
    kinds = clock.kinds()
    calendar = np.array([by_kind[DayKind(int(kind))] for kind in kinds])
    calendar *= np.where(kinds == DayKind.HOLIDAY, 1.0, festival_factor(clock.first_day, clock.days))
    noise = 1.0 + autoregressive(rng, clock.days, 0.6, 0.04)
    maintenance = np.where(rng.random(clock.days) < 1.0 / 80.0, 0.65, 1.0)
    return np.clip(calendar * noise * maintenance, 0.0, 1.2)


def _overpass_cars(rng: np.random.Generator, bays: int, share: float, activity: Floats) -> Ints:
    chance = np.clip(share * activity, 0.0, 0.98)
    return np.asarray(rng.binomial(bays, chance), dtype=np.int64)


def _overpass_heavy(rng: np.random.Generator, usual: float, activity: Floats) -> Ints:
    return np.minimum(rng.binomial(max(round(2 * usual), 1), np.clip(0.5 * activity, 0, 1)), 8).astype(np.int64)


def _factory(
    plan: SitePlan, things: Inventory, weather: Weather, clock: Clock, seed: int, strength: float
) -> SiteTruth:
    habits = stream(seed, "habits", plan.cast.habits)
    shift = (6.0, 22.0) if habits.random() < 0.5 else (8.0, 18.0)
    saturday = float(habits.choice([0.55, 0.9]))
    process_kw, base_share = float(habits.uniform(250, 1400)), float(habits.uniform(0.08, 0.14))
    car_share, heavy_usual = float(habits.uniform(0.6, 0.8)), float(habits.uniform(3.5, 5.5))
    rng = stream(seed, "factory", plan.site_id)
    activity = demand(clock, rng, (saturday, 0.06), 0.08)
    activity *= 1.0 - 0.55 * strength * clock.ramp(onset_of(plan, "slow_decline"), 30)
    gone = clock.ramp(onset_of(plan, "sudden_stop"), 0) + clock.ramp(onset_of(plan, "sensor_replayed"), 0)
    activity *= 1.0 - min(strength, 1.0) * np.clip(gone, 0, 1)
    cars = _overpass_cars(rng, len(plan.layout.slots_of("parking_bay")), car_share, activity)
    heavy = _overpass_heavy(rng, heavy_usual, activity)
    cover = np.clip(0.32 + autoregressive(rng, clock.days, 0.97, 0.04), 0.15, 0.5)
    cover *= 1.0 - 0.9 * clock.ramp(onset_of(plan, "sensor_replayed"), 0)
    on_shift = _shift_profile(clock, shift)
    load = np.clip(activity[:, None] * on_shift[None, :], 0, None).ravel()
    flutter = 1.0 + 0.03 * rng.normal(0.0, 1.0, clock.steps)
    cooling = 1.0 + 0.006 * np.clip(weather.temperature - 20.0, 0, None)
    standby = base_share * (1.0 - 0.4 * clock.spread(np.clip(gone, 0, 1))) * process_kw
    power = (standby + process_kw * load) * flutter * cooling
    signals: dict[str, Mapping[str, Floats]] = {f"{plan.site_id}-METER": {"active_power_kw": power}}
    for number in range(1, len(things.machines) + 1):
        signals[f"{plan.site_id}-CTRL{number}"] = _controller(clock, rng, activity, on_shift, weather)
    return SiteTruth(activity, cars, heavy, cover, signals=signals)


def _shift_profile(clock: Clock, shift: tuple[float, float]) -> Floats:
    """Share of full load by interval of the day: ramps of half an hour and a midday break."""
    hours = clock.hours()
    rise = np.clip((hours - shift[0]) / 0.5, 0, 1) * np.clip((shift[1] - hours) / 0.5, 0, 1)
    return np.asarray(rise * np.where((hours > 12.0) & (hours < 13.0), 0.8, 1.0), dtype=np.float64)


def _controller(
    clock: Clock, rng: np.random.Generator, activity: Floats, on_shift: Floats, weather: Weather
) -> Mapping[str, Floats]:
    """Running state and process temperature of one machine that follows the plant's work."""
    chance = np.clip(0.97 * activity[:, None] * (on_shift[None, :] > 0.5), 0.0, 0.98).ravel()
    running = (rng.random(clock.steps) < chance).astype(float)
    hot = weather.temperature * 0.4 + 14.0
    heat = np.convolve(running, np.array([0.5, 0.3, 0.2]))[: clock.steps]
    temperature = hot + 48.0 * heat + rng.normal(0.0, 0.4, clock.steps)
    return {"machine_running": running, "temperature_degc": temperature}


def _solar(
    plan: SitePlan, things: Inventory, weather: Weather, clock: Clock, seed: int, strength: float
) -> SiteTruth:
    rng = stream(seed, "solar", plan.site_id)
    poa = plane_irradiance(clock, plan.at, TILT_DEG, weather)
    poa *= np.clip(1.0 + 0.01 * rng.normal(0.0, 1.0, clock.steps), 0.9, 1.1)
    module = weather.temperature + 0.022 * poa + rng.normal(0.0, 0.3, clock.steps)
    soiling = _healthy_soiling(clock, weather, rng)
    soiling += 0.15 * strength * clock.ramp(onset_of(plan, "panels_soiled"), 21)
    efficiency = SYSTEM_EFFICIENCY * (1.0 + GAMMA_PER_K * (module - 25.0)) * (1.0 - clock.spread(soiling))
    dead_from = onset_of(plan, "inverter_dead")
    signals: dict[str, Mapping[str, Floats]] = {}
    for number, group in enumerate(things.arrays, 1):
        own = float(rng.normal(1.0, 0.008)) * (1.0 + 0.008 * rng.normal(0.0, 1.0, clock.steps))
        power = np.clip(group.kwp * poa / 1000.0 * efficiency * own, 0.0, 0.98 * group.kwp)
        power[poa < 8.0] = 0.0
        if dead_from is not None and number == _dead_inverter(things):
            power[clock.step_index(dead_from):] *= 1.0 - min(strength, 1.0)
        signals[f"{plan.site_id}-INV{number}"] = {"ac_power_kw": power}
    offset = np.where(poa > 0, 0.0, rng.normal(-0.6, 0.5, clock.steps))
    signals[f"{plan.site_id}-MET"] = {"irradiance_poa_w_m2": poa + offset, "module_temperature_degc": module}
    activity = np.ones(clock.days)
    bays = len(plan.layout.slots_of("parking_bay"))
    cars = _overpass_cars(rng, bays, 0.35, demand(clock, rng, (0.4, 0.2), 0.2))
    heavy = (rng.random(clock.days) < 0.05).astype(np.int64)
    daily = poa.reshape(clock.days, PER_DAY).sum(axis=1) * STEP_H / 1000.0
    return SiteTruth(activity, cars, heavy, np.zeros(clock.days), soiling=soiling, irradiation=daily, signals=signals)


def _dead_inverter(things: Inventory) -> int:
    """Number of the inverter that dies: the last one."""
    return len(things.arrays)


def dead_asset(things: Inventory) -> str:
    """Asset behind the inverter that dies."""
    return things.arrays[_dead_inverter(things) - 1].asset_id


def _healthy_soiling(clock: Clock, weather: Weather, rng: np.random.Generator) -> Floats:
    """Dirt that gathers slowly and is washed off by rain, 0 to about 2.5 %."""
    loss = np.empty(clock.days)
    level = 0.008
    growth = rng.uniform(0.0004, 0.0012, clock.days)
    for day in range(clock.days):
        level = 0.002 if weather.rain[day] else min(level + float(growth[day]), 0.025)
        loss[day] = level
    return loss


def _warehouse(plan: SitePlan, things: Inventory, clock: Clock, seed: int, strength: float) -> SiteTruth:
    habits = stream(seed, "habits", plan.cast.habits)
    openings, heavy_usual = float(habits.uniform(45, 90)), float(habits.uniform(3.0, 5.0))
    car_share = float(habits.uniform(0.45, 0.65))
    rng = stream(seed, "warehouse", plan.site_id)
    activity = demand(clock, rng, (0.7, 0.25), 0.15)
    levels = {lot.asset_id: _lot_level(clock, rng, activity) for lot in things.lots}
    shrink = 0.32 * strength * clock.ramp(onset_of(plan, "covenant_breach"), 18)
    levels = {lot: level * (1.0 - shrink) for lot, level in levels.items()}
    stolen_from = onset_of(plan, "stock_removed_at_night")
    taken = _removed(clock, stolen_from, min(0.45 * strength, 1.0))
    hours = clock.hours()
    by_day = np.clip((hours - 6.5) / 1.0, 0, 1) * np.clip((19.5 - hours) / 1.0, 0, 1)
    rate = activity[:, None] * openings * (by_day / by_day.sum())[None, :] + 0.02
    opened = rng.poisson(rate).astype(float).ravel()
    stock = sum((_intraday(clock, levels[lot.asset_id]) * lot.quantity_t for lot in things.lots), np.zeros(clock.steps))
    stock *= 1.0 - taken
    levels = {lot: level * (1.0 - taken[PER_DAY - 1 :: PER_DAY]) for lot, level in levels.items()}
    if stolen_from is not None:
        first = clock.step_index(stolen_from)
        opened[first : first + THEFT_STEPS] += rng.poisson(4.5, THEFT_STEPS) + 1
    signals: dict[str, Mapping[str, Floats]] = {
        f"{plan.site_id}-GATE": {"door_openings_total": opened},
        f"{plan.site_id}-SCALE": {"weight_kg": stock * 1000.0 + rng.normal(0.0, 15.0, clock.steps)},
        f"{plan.site_id}-TAGS": {"tags_present": np.floor(stock + 1e-6)},
    }
    for number, truck in enumerate(things.trucks, 1):
        signals[f"{plan.site_id}-GPS{number}"] = drive(
            plan, truck, clock, activity, rng, onset_of(plan, "truck_off_route")
        )
    cars = _overpass_cars(rng, len(plan.layout.slots_of("parking_bay")), car_share, activity)
    return SiteTruth(activity, cars, _overpass_heavy(rng, heavy_usual, activity), np.zeros(clock.days), levels,
                     signals=signals)


def _lot_level(clock: Clock, rng: np.random.Generator, activity: Floats) -> Floats:
    """Fill of a pledged lot, which deliveries keep between about 92 and 100 %; still on days without work."""
    level = np.clip(0.965 + autoregressive(rng, clock.days, 0.85, 0.014), 0.92, 1.0)
    for day in range(1, clock.days):
        if activity[day] < 0.3:
            level[day] = level[day - 1]
    return level


def _intraday(clock: Clock, level: Floats) -> Floats:
    """Daily fills as half hours: yesterday's until 09:00, then in steps to today's by 17:00."""
    share = np.round(np.clip((clock.hours() - 9.0) / 8.0, 0, 1) * 4) / 4
    before = np.concatenate((level[:1], level[:-1]))
    return (before[:, None] + (level - before)[:, None] * share[None, :]).ravel()


def _removed(clock: Clock, onset: datetime | None, share: float) -> Floats:
    """Share of stock that has gone by each interval: nothing, then up to `share` within four hours; shape (steps,)."""
    if onset is None:
        return np.zeros(clock.steps)
    since = np.arange(clock.steps) - clock.step_index(onset) + 1.0
    return share * np.clip(since / THEFT_STEPS, 0.0, 1.0)
