"""What one evaluation of a site may look at, and the comparisons with normal that indicators and rules share. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from collateral.domain import Asset, Device, Quality, Site, Slot
from collateral.pledges import Pledges
from scoring.baseline import Baseline, daily_baseline, past_of, scene_baseline, values_by_class
from scoring.calendar import DayClass, SiteCalendar
from scoring.evidence import Datum, Evidence, Series
from scoring.policy import BaselinePolicy, Policy

CLOSED_BELOW = 0.4
"""A class of days whose normal is below this share of a working day's is closed: such days say nothing."""
_Z95 = 1.96


@dataclass(frozen=True)
class Ratio:
    """One datum against its normal."""

    datum: Datum
    value: float
    """Datum / normal."""
    lower: float
    upper: float
    """95 % interval, from the datum's own and the normal's uncertainty."""
    spread: float
    """One standard deviation of single data / normal."""
    baseline: Baseline | None
    """None where the normal is not the site's own past."""


@dataclass
class SiteContext:
    """What is known of a site at `at`. Treated as read-only; the dictionaries only remember what was worked out."""

    site: Site
    policy: Policy
    calendar: SiteCalendar
    evidence: Evidence
    at: datetime
    frozen_at: datetime | None = None
    """While an alert about activity is open: since when; baselines stand still there."""
    assets: Sequence[Asset] = ()
    slots: Sequence[Slot] = ()
    devices: Sequence[Device] = ()
    pledges: Pledges = field(default_factory=Pledges)
    """All assets of the portfolio, for pledges made twice."""
    tonnes: Mapping[str, float] = field(default_factory=dict)
    """Tonnes in one unit of a commodity's price; a commodity that is not priced by weight is not among them."""
    _days: dict[tuple[str, str, DayClass | None, BaselinePolicy], Baseline | None] = field(default_factory=dict)
    _past: dict[tuple[str, str, float, float], list[Datum]] = field(default_factory=dict)
    _values: dict[tuple[str, str, float, float], dict[DayClass, list[float]]] = field(default_factory=dict)

    @property
    def last_due(self) -> date:
        """Newest local day whose observations are expected."""
        return self.calendar.last_due(self.at)

    def series(self, quantity: str, subject: str) -> Series | None:
        """Data of one subject, None when it never had any."""
        return self.evidence.subjects(quantity).get(subject)

    def past(self, quantity: str, subject: str, policy: BaselinePolicy) -> list[Datum]:
        """Data inside the baseline window."""
        key = (quantity, subject, policy.from_days, policy.until_days)
        if key not in self._past:
            series = self.series(quantity, subject)
            self._past[key] = [] if series is None else past_of(series, self.at, self.frozen_at, policy)
        return self._past[key]

    def normal(
        self, quantity: str, subject: str, policy: BaselinePolicy, day_class: DayClass | None
    ) -> Baseline | None:
        """Normal of a daily quantity; `day_class` None compares all days alike."""
        key = (quantity, subject, day_class, policy)
        if key not in self._days:
            place = (quantity, subject, policy.from_days, policy.until_days)
            if place not in self._values:
                self._values[place] = values_by_class(self.past(quantity, subject, policy), self.calendar)
            self._days[key] = daily_baseline(self._values[place], policy, day_class)
        return self._days[key]

    def open_class(self, quantity: str, subject: str, policy: BaselinePolicy, day: date) -> bool:
        """False for holidays and for classes of days on which the subject normally stands still."""
        day_class = self.calendar.day_class(day)
        if day_class is DayClass.WORKING:
            return True
        if day_class is DayClass.HOLIDAY:
            return False
        rest = self.normal(quantity, subject, policy, day_class)
        working = self.normal(quantity, subject, policy, DayClass.WORKING)
        return rest is not None and working is not None and rest.median >= CLOSED_BELOW * working.median

    def judged_days(
        self, quantity: str, subject: str, policy: BaselinePolicy, count: int, by_class: bool, last: date | None = None
    ) -> list[date]:
        """The last `count` local days that can be compared with normal, newest first; at most 14 + 2 * count days back."""
        found: list[date] = []
        day = self.last_due if last is None else last
        for _ in range(14 + 2 * count):
            if not by_class or self.open_class(quantity, subject, policy, day):
                found.append(day)
                if len(found) == count:
                    break
            day -= timedelta(days=1)
        return found

    def by_day(self, quantity: str, subject: str, first: date, last: date) -> dict[date, Datum]:
        """Good or doubtful daily data of local days first..last, by day."""
        series = self.series(quantity, subject)
        if series is None:
            return {}
        begin = self.calendar.at_local(first, 0)
        end = self.calendar.at_local(last + timedelta(days=1), 0)
        return {d.day: d for d in series.between(begin, end) if d.quality is not Quality.BAD}

    def daily_ratios(
        self, quantity: str, subject: str, policy: BaselinePolicy, count: int, by_class: bool
    ) -> list[tuple[date, Ratio | None]]:
        """The last `count` judged days, newest first, each with its ratio to normal or None where there is no evidence."""
        days = self.judged_days(quantity, subject, policy, count, by_class)
        if not days:
            return []
        data = self.by_day(quantity, subject, days[-1], days[0])
        found: list[tuple[date, Ratio | None]] = []
        for day in days:
            baseline = self.normal(quantity, subject, policy, self.calendar.day_class(day) if by_class else None)
            held = data.get(day)
            found.append((day, None if held is None or baseline is None else ratio(held, baseline)))
        return found

    def ratio_on(
        self, quantity: str, subject: str, policy: BaselinePolicy, day: date, day_class: DayClass | None
    ) -> Ratio | None:
        """One local day against the normal of `day_class` (None: of all days); None without evidence or normal."""
        held = self.by_day(quantity, subject, day, day).get(day)
        baseline = self.normal(quantity, subject, policy, day_class)
        return None if held is None or baseline is None else ratio(held, baseline)

    def scene_ratios(
        self, quantity: str, subject: str, policy: BaselinePolicy, since: datetime, by_class: bool
    ) -> list[Ratio]:
        """Pictures taken after `since` that can be compared with normal, oldest first; of activity, on open days only."""
        found = []
        for held in self.scenes(quantity, subject, since):
            day_class = self.calendar.day_class(held.day) if by_class else None
            if day_class is not DayClass.HOLIDAY:
                compared = self.scene_ratio(held, policy, day_class)
                if compared is not None:
                    found.append(compared)
        return found

    def scenes(self, quantity: str, subject: str, since: datetime) -> list[Datum]:
        """Good or doubtful pictured data since then, oldest first."""
        series = self.series(quantity, subject)
        return [] if series is None else [d for d in series.between(since, self.at) if d.quality is not Quality.BAD]

    def scene_ratio(self, held: Datum, policy: BaselinePolicy, day_class: DayClass | None) -> Ratio | None:
        """One pictured datum against the normal of `day_class` (None: of all days)."""
        past = self.past(held.quantity, held.subject, policy)
        baseline = scene_baseline(past, policy, self.calendar, held, day_class)
        return None if baseline is None else ratio(held, baseline)


def ratio(held: Datum, baseline: Baseline) -> Ratio | None:
    """Datum against normal; None where normal is zero."""
    if baseline.median <= 0:
        return None
    value = held.value / baseline.median
    normal_error = _Z95 * value * baseline.error / baseline.median
    below = math.hypot((held.value - held.lower) / baseline.median, normal_error)
    above = math.hypot((held.upper - held.value) / baseline.median, normal_error)
    return Ratio(held, value, max(0.0, value - below), value + above, baseline.spread / baseline.median, baseline)


def against(held: Datum, reference: float) -> Ratio | None:
    """Datum against a stated reference; None where the reference is zero."""
    if reference <= 0:
        return None
    return Ratio(held, held.value / reference, held.lower / reference, held.upper / reference, 0.0, None)
