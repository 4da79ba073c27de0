"""Kinds of days at a site: working day, Saturday, Sunday, holiday; and which local days are due at a time. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from scoring.policy import CalendarPolicy


class DayClass(StrEnum):
    """What people do on a day; like is compared with like."""

    WORKING = "working"
    SATURDAY = "saturday"
    SUNDAY = "sunday"
    HOLIDAY = "holiday"


class SiteCalendar:
    """Local days of one site with their class."""

    def __init__(self, policy: CalendarPolicy, time_zone: str, holidays: Iterable[date] = ()) -> None:
        self._policy = policy
        self._zone = ZoneInfo(time_zone)
        self._holidays = frozenset(holidays)
        self._years_known = frozenset(day.year for day in self._holidays)
        self._classes: dict[date, DayClass] = {}

    def local_day(self, moment: datetime) -> date:
        """The site's calendar day at `moment`."""
        return moment.astimezone(self._zone).date()

    def local_hour(self, moment: datetime) -> int:
        """The site's hour of the day at `moment`."""
        return moment.astimezone(self._zone).hour

    def at_local(self, day: date, hour: int) -> datetime:
        """`hour` o'clock at the site on `day`, in UTC."""
        return datetime.combine(day, time(hour), self._zone).astimezone(UTC)

    def day_class(self, day: date) -> DayClass:
        """Class of a local day."""
        found = self._classes.get(day)
        if found is None:
            found = self._classes[day] = self._judge(day)
        return found

    def last_due(self, at: datetime) -> date:
        """The newest local day whose observations are expected to be known at `at`."""
        return self.local_day(at - timedelta(hours=self._policy.ready_after_h)) - timedelta(days=1)

    def _judge(self, day: date) -> DayClass:
        if day in self._holidays or self._around_spring_festival(day):
            return DayClass.HOLIDAY
        if day.year not in self._years_known and self._fixed(day):
            return DayClass.HOLIDAY
        return {5: DayClass.SATURDAY, 6: DayClass.SUNDAY}.get(day.weekday(), DayClass.WORKING)

    def _fixed(self, day: date) -> bool:
        return any(
            timedelta() <= day - date(day.year, month, first) < timedelta(days=count)
            for month, first, count in self._policy.fixed
        )

    def _around_spring_festival(self, day: date) -> bool:
        first = self._policy.spring_festival.get(day.year)
        if first is None:
            return False
        return -self._policy.spring_before_days <= (day - first).days <= self._policy.spring_after_days
