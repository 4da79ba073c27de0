"""The named storylines of a sample world, the rule each one must raise, and who gets which.

A storyline happens at one site; its twin is a site of the same kind with the same habits where it does not happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

import numpy as np

from collateral.domain import SiteKind
from data_samples.calendar import DayKind, day_kind, is_plain_workday

LOCAL = timezone(timedelta(hours=8), "CST")
"""Local time of all sample sites (Asia/Shanghai has no summer time)."""
TIME_ZONE = "Asia/Shanghai"
SLOW_DAYS = 30
"""Storylines with more time than this grow slowly."""


@dataclass(frozen=True)
class StorylineKind:
    """One kind of trouble and how soon it must be noticed."""

    name: str
    rule: str
    """Alert rule that must fire."""
    site_kind: SiteKind
    within_days: int
    """Longest time from onset to the alert."""
    earliest: int
    """Onset at most this many days before the world's end."""
    latest: int
    """Onset at least this many days before the world's end."""
    hour: float
    """Local hour of onset."""


_F, _S, _W = SiteKind.FACTORY, SiteKind.SOLAR, SiteKind.WAREHOUSE

STORYLINES: tuple[StorylineKind, ...] = (
    StorylineKind("slow_decline", "activity_decline", _F, 45, 59, 51, 0.0),
    StorylineKind("sudden_stop", "production_stop", _F, 4, 40, 20, 0.0),
    StorylineKind("sensor_frozen", "sensor_frozen", _F, 4, 45, 20, 10.5),
    StorylineKind("sensor_replayed", "sources_disagree", _F, 35, 52, 42, 0.0),
    StorylineKind("panels_soiled", "panel_soiling", _S, 30, 52, 40, 0.0),
    StorylineKind("inverter_dead", "inverter_outage", _S, 5, 45, 20, 11.0),
    StorylineKind("stock_removed_at_night", "stock_removed", _W, 10, 45, 20, 23.5),
    StorylineKind("double_pledge", "double_pledge", _W, 3, 45, 20, 0.0),
    StorylineKind("gateway_outage", "communication_loss", _W, 3, 45, 20, 2.0),
    StorylineKind("truck_off_route", "route_deviation", _W, 3, 45, 20, 8.0),
    StorylineKind("covenant_breach", "covenant_breach", _W, 30, 45, 36, 0.0),
)


@dataclass(frozen=True)
class Storyline:
    """A storyline at a site of one world."""

    name: str
    rule: str
    site_id: str
    subject_id: str
    """What the alert must be about: the site, or an asset of it."""
    onset: datetime
    within_days: int
    twin: str
    """Site of the same kind and habits without the storyline; empty in worlds too small for one."""


@dataclass(frozen=True)
class Cast:
    """The part one site plays."""

    kind: SiteKind
    storyline: StorylineKind | None
    onset: datetime | None
    habits: str
    """Sites with the same key are alike in size and working habits."""
    twin: int | None
    """Position of the twin in the list of casts."""


def kinds_of(sites: int) -> list[SiteKind]:
    """How many sites of each kind: as even as can be, factories first."""
    order = (SiteKind.FACTORY, SiteKind.SOLAR, SiteKind.WAREHOUSE)
    return sorted((order[index % 3] for index in range(sites)), key=order.index)


def cast_sites(sites: int, end: datetime, rng: np.random.Generator) -> list[Cast]:
    """Parts of all sites, storyline sites first within each kind. Needs 24 sites for all storylines."""
    casts: list[Cast] = []
    kinds = kinds_of(sites)
    for kind in (SiteKind.FACTORY, SiteKind.SOLAR, SiteKind.WAREHOUSE):
        count = kinds.count(kind)
        stories = [story for story in STORYLINES if story.site_kind == kind]
        wanted = min(len(stories), max(1, round(count * 0.63))) if count else 0
        chosen = sorted(int(index) for index in rng.permutation(len(stories))[:wanted])
        casts += _cast_kind(kind, count, [stories[index] for index in chosen], len(casts), end, rng)
    return casts


def _cast_kind(
    kind: SiteKind, count: int, stories: Sequence[StorylineKind], base: int, end: datetime, rng: np.random.Generator
) -> list[Cast]:
    spare = count - len(stories)
    casts = []
    for index in range(count):
        if index < len(stories):
            habits = index % spare if spare else index
            twin = base + len(stories) + habits if spare else None
            story = stories[index]
            casts.append(Cast(kind, story, pick_onset(story, end, rng), f"{kind}-{habits}", twin))
        else:
            casts.append(Cast(kind, None, None, f"{kind}-{index - len(stories)}", None))
    return casts


def pick_onset(story: StorylineKind, end: datetime, rng: np.random.Generator) -> datetime:
    """A moment for the storyline to begin, on a day from Monday to Wednesday where there is one.

    What must be noticed within days begins far from public holidays, even if that is outside the storyline's own window;
    what grows slowly begins in its window on any day that is not a holiday.
    """
    last = end.astimezone(LOCAL).date()
    window = [last - timedelta(days=days) for days in range(story.latest, story.earliest + 1)]
    wider = [last - timedelta(days=days) for days in range(20, 61)]
    slow = story.within_days >= SLOW_DAYS
    for days in (window,) if slow else (window, wider):
        good = [day for day in days if (day_kind(day) == DayKind.WORKDAY if slow else is_plain_workday(day))]
        early = [day for day in good if day.weekday() <= 2] or good
        if early:
            return local_moment(early[int(rng.integers(len(early)))], story.hour)
    return local_moment(window[int(rng.integers(len(window)))], story.hour)


def local_moment(day: date, hour: float) -> datetime:
    """UTC time of a local hour."""
    return (datetime.combine(day, time(), LOCAL) + timedelta(hours=hour)).astimezone(UTC)
