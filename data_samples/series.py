"""Scenes of sites no world knows, a few dates each, for measuring detectors: `collateral sample scenes DIR --seed N`.

Any season, sun, haze and misregistration. On about a third of the later dates nothing has changed but sun and air; on the
others vehicles, goods and stock have, and sometimes a roof or a new building. Truth lies beside each scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from collateral.progress import progress
from data_samples.boxes_folder import random_state
from data_samples.layout import make_layout
from data_samples.render import render_scene
from data_samples.render_works import plan_construction, plan_roof_work
from data_samples.scene_model import GOODS_KINDS, GoodsKind, MapShift, SceneState, SiteKind, SiteLayout

KINDS: tuple[SiteKind, ...] = ("factory", "warehouse", "factory", "solar")
_STILL = 0.35
"""Share of later dates on which nothing has changed."""
_WORKS = 0.55
"""Chance of roof work, and of construction, on a date with changes."""
_TOGGLED = 0.25
"""Share of yard bays filled or emptied between two dates."""


@dataclass(frozen=True)
class SeriesReport:
    """What `write_series` did."""

    sites: int
    scenes: int
    bytes: int


def write_series(folder: Path, seed: int, sites: int = 8, dates: int = 3) -> SeriesReport:
    """Renders `dates` scenes of each of `sites` sites with their truth into `folder`; the same seed gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    size = 0
    for number in progress(range(sites), "sites", sites, unit="site"):
        rng = np.random.default_rng([seed, 61, number])
        lon, lat = float(rng.uniform(104, 121)), float(rng.uniform(24, 39))
        layout = make_layout(f"V{seed}-{number}", KINDS[number % len(KINDS)], lon, lat, seed)
        for state in _states(layout, seed, dates, rng):
            path = folder / f"{layout.site_id}_{state.acquired_at:%Y%m%dT%H%MZ}.tif"
            render_scene([layout], [state], path)
            size += path.stat().st_size
    return SeriesReport(sites, sites * dates, size)


def _states(layout: SiteLayout, seed: int, dates: int, rng: np.random.Generator) -> Iterator[SceneState]:
    """One site's dates, oldest first."""
    gsd_m = 0.15 if rng.random() < 0.25 else 0.3
    contents = random_state(layout, gsd_m, int(rng.integers(1 << 30)))
    day = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(300)))
    for date in range(dates):
        if date and rng.random() >= _STILL:
            contents = _changed(layout, contents, rng)
        moment = day + timedelta(days=date * int(rng.integers(9, 70)), minutes=int(rng.integers(110, 400)))
        reach, direction = min(abs(float(rng.normal(0, 0.7))), 1.5), float(rng.uniform(0, 2 * math.pi))
        yield replace(
            contents, acquired_at=moment, haze=float(rng.beta(1.2, 5)), overcast=bool(rng.random() < 0.2),
            cloud_cover=0.15 if rng.random() < 0.08 else 0.0, air_seed=int(rng.integers(1 << 30)),
            shift=MapShift(round(reach * math.cos(direction), 2), round(reach * math.sin(direction), 2)),
        )
        day = moment.replace(hour=0, minute=0) + timedelta(days=3)


def _changed(layout: SiteLayout, before: SceneState, rng: np.random.Generator) -> SceneState:
    """Other vehicles, some bays filled or emptied, stock grown or shrunk, now and then building work."""
    fresh = random_state(layout, before.gsd_m, int(rng.integers(1 << 30)))
    works = list(before.works)
    done = {work.kind for work in works}
    for kind, planner in (("roof", plan_roof_work), ("construction", plan_construction)):
        if kind not in done and rng.random() < _WORKS:
            work = planner(layout, rng)
            works += [work] if work is not None else []
    return replace(fresh, occupied=_toggled(layout, before.occupied, rng), works=tuple(works))


def _toggled(
    layout: SiteLayout, occupied: Mapping[str, GoodsKind], rng: np.random.Generator
) -> dict[str, GoodsKind]:
    now = dict(occupied)
    for slot in layout.slots_of("yard_bay"):
        if rng.random() < _TOGGLED:
            if slot.slot_id in now:
                del now[slot.slot_id]
            else:
                now[slot.slot_id] = GOODS_KINDS[int(rng.integers(len(GOODS_KINDS)))]
    return now
