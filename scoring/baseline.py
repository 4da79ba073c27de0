"""What is normal for a site: median and spread of its own past, like compared with like. Pure.

The window ends some days before T, so that what goes on now does not become its own normal, and it stands still while an
alert about the site's activity is open (`frozen_at`), so that a slow decline does not either. Median and the scaled median
absolute deviation are used because a tenth of bad days moves them little (Rousseeuw and Croux 1993,
doi:10.1080/01621459.1993.10476408); fewer than about ten values make the spread itself uncertain.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from collateral.domain import Quality
from scoring.calendar import DayClass, SiteCalendar
from scoring.evidence import Datum, Series
from scoring.policy import BaselinePolicy

_MAD_TO_SIGMA = 1.4826
_MEDIAN_ERROR = 1.2533
"""Standard error of a median of n normal values is this times sigma / sqrt(n)."""
_OVERPASS_H = 2
"""Pictures taken within so many hours of the day are compared with each other."""


@dataclass(frozen=True)
class Baseline:
    """The usual value of one quantity of one subject on one class of days."""

    median: float
    """In the quantity's unit."""
    spread: float
    """One standard deviation of single values, same unit."""
    n: int
    pooled: bool = False
    """True when pictures of other hours or ground sampling distances had to be taken in."""

    @property
    def error(self) -> float:
        """Standard error of the median."""
        return _MEDIAN_ERROR * self.spread / math.sqrt(self.n)


def baseline_of(values: Sequence[float], policy: BaselinePolicy, pooled: bool = False) -> Baseline | None:
    """Median and spread; None when there are fewer than `policy.min_n` values."""
    if len(values) < policy.min_n or not values:
        return None
    middle = median(values)
    mad = median([abs(value - middle) for value in values])
    spread = max(_MAD_TO_SIGMA * mad, policy.min_spread * abs(middle))
    return Baseline(middle, spread * (1.25 if pooled else 1.0), len(values), pooled)


def window(at: datetime, frozen_at: datetime | None, policy: BaselinePolicy) -> tuple[datetime, datetime]:
    """Begin and end of the valid times a baseline at `at` is made of."""
    anchor = at if frozen_at is None else min(at, frozen_at)
    return anchor - timedelta(days=policy.from_days), anchor - timedelta(days=policy.until_days)


def values_by_class(past: Iterable[Datum], calendar: SiteCalendar) -> dict[DayClass, list[float]]:
    """Good and doubtful values of a daily quantity by class of day."""
    found: dict[DayClass, list[float]] = {}
    for item in past:
        if item.quality is not Quality.BAD:
            found.setdefault(calendar.day_class(item.day), []).append(item.value)
    return found


def daily_baseline(
    values: Mapping[DayClass, Sequence[float]], policy: BaselinePolicy, day_class: DayClass | None
) -> Baseline | None:
    """Normal of a daily quantity on days of one class, None for all days alike."""
    if day_class is not None:
        return baseline_of(values.get(day_class, ()), policy)
    return baseline_of([value for part in values.values() for value in part], policy)


def scene_baseline(
    past: Sequence[Datum], policy: BaselinePolicy, calendar: SiteCalendar, like: Datum, day_class: DayClass | None
) -> Baseline | None:
    """Normal of a pictured quantity, for comparison with the picture `like`.

    Same method version always, and pictures of days of `day_class` unless that is None; same overpass hour and class of
    ground sampling distance where there are enough such pictures, else pooled over those two with a wider spread.
    """
    alike = [
        d
        for d in past
        if d.quality is not Quality.BAD
        and d.method == like.method
        and (day_class is None or calendar.day_class(d.day) is day_class)
    ]
    strict = [d.value for d in alike if d.gsd_class == like.gsd_class and abs(d.hour - like.hour) < _OVERPASS_H]
    found = baseline_of(strict, policy)
    if found is not None:
        return found
    return baseline_of([d.value for d in alike], policy, pooled=True)


def past_of(series: Series, at: datetime, frozen_at: datetime | None, policy: BaselinePolicy) -> list[Datum]:
    """The data of a series inside the baseline window."""
    return series.between(*window(at, frozen_at, policy))
