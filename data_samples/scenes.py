"""The pictures of a sample world: which dates, what stands there, how the air was; rendered by two processes.

Pictures are taken on working days at about 10:30 local: every six to seven weeks at first, every eight days in the last 64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np

from collateral.progress import progress
from data_samples.calendar import DayKind, day_kind
from data_samples.clock import stream
from data_samples.inventory import SitePlan
from data_samples.operations import OVERPASS_HOUR, SiteTruth
from data_samples.render import render_scene
from data_samples.render_works import plan_construction, plan_roof_work
from data_samples.scene_model import ArrayState, MapShift, SceneState, WorkShape
from data_samples.storylines import local_moment
from data_samples.weather import Weather, make_weather
from data_samples.world import World, WorldConfig, plan_world
from data_samples.yards import occupied_bays

HowMany = Literal["none", "few", "thin", "all"]

EARLY_DAYS = (350, 305, 260, 215, 170, 125, 85)
LATE_DAYS = (58, 50, 42, 34, 26, 18, 10, 2)
"""Wished ages of the pictures at the world's end, days."""
THIN_DAYS = (215, 125, 58, 42, 34, 26, 2)
"""Ages of `thin`: enough for baselines and for a yard that stays empty, at half the work."""
FINE_GSD_DAYS = (125, 26)
"""Ages taken at 0.15 m instead of 0.3 m, the second at every fourth site only."""
AVAILABLE_AFTER = timedelta(hours=6)
SOURCES = {0.3: "satellite", 0.15: "aerial"}
_WORKS = 0.35
"""Share of sites with roof work, and with construction, in the last months."""
WORKERS = 2


@dataclass(frozen=True)
class SceneReport:
    """What `write_scenes` did."""

    written: int = 0
    skipped: int = 0
    """Already there."""
    bytes: int = 0

    def __add__(self, other: SceneReport) -> SceneReport:
        return SceneReport(self.written + other.written, self.skipped + other.skipped, self.bytes + other.bytes)


def write_scenes(world: World, folder: Path, how_many: HowMany, workers: int = WORKERS) -> SceneReport:
    """Renders the scenes that are not there yet into FOLDER/scenes, site by site in `workers` processes."""
    if how_many == "none":
        return SceneReport()
    (folder / "scenes").mkdir(parents=True, exist_ok=True)
    report = SceneReport()
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_write_site, world.config, plan.site_id, folder, how_many) for plan in world.plans]
        for job in progress(as_completed(jobs), "scenes", total=len(jobs), unit="site"):
            report += job.result()
    return report


@lru_cache(maxsize=1)
def _planned(config: WorldConfig) -> World:
    return plan_world(config)


def _write_site(config: WorldConfig, site_id: str, folder: Path, how_many: HowMany) -> SceneReport:
    world = _planned(config)
    plan = world.plan(site_id)
    truth = world.truth(plan)
    report = SceneReport()
    for state in scene_states(world, plan, truth, how_many):
        path = folder / "scenes" / scene_name(site_id, state.acquired_at)
        if path.exists() and path.with_suffix(".truth.json").exists():
            report += SceneReport(skipped=1)
            continue
        render_scene([plan.layout], [state], path)
        report += SceneReport(written=1, bytes=path.stat().st_size)
    return report


def scene_name(site_id: str, acquired_at: datetime) -> str:
    """File name of a scene."""
    return f"{site_id}_{acquired_at.astimezone(UTC):%Y%m%dT%H%MZ}.tif"


def scene_states(world: World, plan: SitePlan, truth: SiteTruth, how_many: HowMany) -> list[SceneState]:
    """What each picture of a site shows, oldest first."""
    clock, seed = world.clock, world.config.seed
    rng = stream(seed, "scenes", plan.site_id)
    weather = make_weather(clock, seed, plan.place.name, plan.place.at)
    last = clock.day_index(world.config.end)
    ages = [age for age in (*EARLY_DAYS, *LATE_DAYS) if age < last - 3]
    clouded = _clouded(plan, ages, rng)
    wanted = {"few": {ages[0], 26, ages[-1]}, "thin": {*THIN_DAYS}}.get(how_many, set(ages))
    states = []
    for age in ages:
        day = _pick_day(world, last - age, weather, rng)
        state = _state(world, plan, truth, day, age, age in clouded, rng)
        if age in wanted and state.acquired_at + AVAILABLE_AFTER <= world.config.end:
            states.append(state)
    return states


def _pick_day(world: World, around: int, weather: Weather, rng: np.random.Generator) -> int:
    """The clearest working day within three days of the wished one; always one whose picture is there by the end."""
    last = world.clock.day_index(world.config.end - AVAILABLE_AFTER - timedelta(hours=OVERPASS_HOUR + 0.25))
    offset = int(rng.integers(-1, 2))
    days = [around + offset + step for step in range(-2, 3) if 0 <= around + offset + step <= last]
    working = [day for day in days if day_kind(world.clock.day(day)) == DayKind.WORKDAY]
    if not working:
        earlier = range(max(around, 0), -1, -1)
        working = [next(day for day in earlier if day_kind(world.clock.day(day)) == DayKind.WORKDAY)]
    return min(working, key=lambda day: float(weather.cloudiness[day]) + 0.12 * abs(day - around - offset))


def _clouded(plan: SitePlan, ages: Sequence[int], rng: np.random.Generator) -> set[int]:
    """Ages of the pictures under cloud: at most one early and, where nothing happens, one late."""
    early = [age for age in ages if age not in LATE_DAYS and age not in FINE_GSD_DAYS]
    late = [age for age in ages if age in LATE_DAYS[:-1] and age not in FINE_GSD_DAYS]
    chosen = set()
    if early and rng.random() < 0.6:
        chosen.add(early[int(rng.integers(len(early)))])
    if late and rng.random() < 0.35 and plan.cast.storyline is None:
        chosen.add(late[int(rng.integers(len(late)))])
    return chosen


def _is_fine(plan: SitePlan, age: int) -> bool:
    return age == FINE_GSD_DAYS[0] or (age == FINE_GSD_DAYS[1] and int(plan.site_id[1:]) % 4 == 1)


def _works(world: World, plan: SitePlan, age: int) -> tuple[WorkShape, ...]:
    """Building work that has begun by that date: at some sites without a storyline, none at solar plants."""
    if plan.cast.storyline is not None or plan.layout.kind == "solar":
        return ()
    rng = stream(world.config.seed, "works", plan.site_id)
    shown = []
    for planner in (plan_roof_work, plan_construction):
        begins, wanted = float(rng.uniform(10, 250)), rng.random() < _WORKS
        work = planner(plan.layout, rng)
        if work is not None and wanted and age <= begins:
            shown.append(work)
    return tuple(shown)


def _state(
    world: World, plan: SitePlan, truth: SiteTruth, day: int, age: int, clouded: bool, rng: np.random.Generator
) -> SceneState:
    minutes = float(rng.uniform(-12, 12))
    moment = local_moment(world.clock.day(day), OVERPASS_HOUR) + timedelta(minutes=round(minutes))
    gsd = 0.15 if _is_fine(plan, age) else 0.3
    things = world.things[plan.site_id]
    dirt = float(truth.soiling[day]) if len(truth.soiling) else 0.0
    soiled = round(min(max((dirt - 0.03) / 0.15, 0.0), 1.0) * 0.6, 2)
    reach, direction = min(abs(float(rng.normal(0, 0.6))), 1.5), float(rng.uniform(0, 2 * math.pi))
    return SceneState(
        acquired_at=moment,
        gsd_m=gsd,
        cars=int(truth.cars[day]),
        heavy=int(truth.heavy[day]),
        passing=int(rng.integers(1, 6)),
        occupied=occupied_bays(plan, things, truth, day, world.config.seed),
        stock_cover={yard.yard_id: float(truth.stock_cover[day]) for yard in plan.layout.stock_yards},
        arrays={shape.array_id: ArrayState(soiled_fraction=soiled) for shape in plan.layout.arrays},
        works=_works(world, plan, age),
        haze=0.4 if rng.random() < 0.08 else float(rng.uniform(0.03, 0.2)),
        cloud_cover=float(rng.uniform(0.55, 0.85)) if clouded else 0.0,
        shift=MapShift(round(reach * math.cos(direction), 2), round(reach * math.sin(direction), 2)),
        seed=int(rng.integers(2**31)),
        source=SOURCES[gsd],
        available_at=moment + AVAILABLE_AFTER,
    )
