"""Chinese public holidays and the kind of each day.

2024-2026 follow the notices of the General Office of the State Council; 2027 and 2028, not yet announced when this was
written, follow the statutory days and the lunar calendar. Make-up working days at weekends are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

CALENDAR = "CN"


class DayKind(IntEnum):
    """What people do on a day."""

    WORKDAY = 0
    SATURDAY = 1
    SUNDAY = 2
    HOLIDAY = 3


@dataclass(frozen=True)
class Holiday:
    """A stretch of public holiday, both days included."""

    first: date
    last: date
    name: str

    def days(self) -> Iterator[date]:
        """Every day of the stretch."""
        for offset in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=offset)


SPRING_FESTIVAL = "春节"

_TABLE = """
2024-01-01 2024-01-01 元旦
2024-02-10 2024-02-17 春节
2024-04-04 2024-04-06 清明节
2024-05-01 2024-05-05 劳动节
2024-06-08 2024-06-10 端午节
2024-09-15 2024-09-17 中秋节
2024-10-01 2024-10-07 国庆节
2025-01-01 2025-01-01 元旦
2025-01-28 2025-02-04 春节
2025-04-04 2025-04-06 清明节
2025-05-01 2025-05-05 劳动节
2025-05-31 2025-06-02 端午节
2025-10-01 2025-10-08 国庆节
2026-01-01 2026-01-03 元旦
2026-02-15 2026-02-23 春节
2026-04-04 2026-04-06 清明节
2026-05-01 2026-05-05 劳动节
2026-06-19 2026-06-21 端午节
2026-09-25 2026-09-27 中秋节
2026-10-01 2026-10-07 国庆节
2027-01-01 2027-01-03 元旦
2027-02-05 2027-02-12 春节
2027-04-03 2027-04-05 清明节
2027-05-01 2027-05-05 劳动节
2027-06-09 2027-06-09 端午节
2027-09-15 2027-09-15 中秋节
2027-10-01 2027-10-07 国庆节
2028-01-01 2028-01-01 元旦
2028-01-25 2028-02-01 春节
2028-04-04 2028-04-04 清明节
2028-05-01 2028-05-05 劳动节
2028-05-28 2028-05-28 端午节
2028-10-01 2028-10-08 国庆节
"""


def _parse(line: str) -> Holiday:
    first, last, name = line.split()
    return Holiday(date.fromisoformat(first), date.fromisoformat(last), name)


HOLIDAYS: tuple[Holiday, ...] = tuple(_parse(line) for line in _TABLE.strip().splitlines())
HOLIDAY_NAMES: dict[date, str] = {day: holiday.name for holiday in HOLIDAYS for day in holiday.days()}


def day_kind(day: date) -> DayKind:
    """What people do on `day`; holidays are known from 2024 to 2028, later years have weekends only."""
    if day in HOLIDAY_NAMES:
        return DayKind.HOLIDAY
    return {5: DayKind.SATURDAY, 6: DayKind.SUNDAY}.get(day.weekday(), DayKind.WORKDAY)


def day_kinds(first: date, count: int) -> NDArray[np.int64]:
    """`DayKind` of `count` days from `first` on; shape (count,)."""
    return np.array([day_kind(first + timedelta(days=index)) for index in range(count)], dtype=np.int64)


def festival_factor(first: date, count: int) -> NDArray[np.float64]:
    """Share of the usual work on each day because of Spring Festival; shape (count,), 0.05 to 1.

    Work runs down two days before the holiday and is back to normal three days after it.
    """
    factor = np.ones(count)
    for holiday in HOLIDAYS:
        if holiday.name != SPRING_FESTIVAL:
            continue
        begin, end = (holiday.first - first).days, (holiday.last - first).days
        for index, share in ((begin - 2, 0.9), (begin - 1, 0.8), (end + 1, 0.75), (end + 2, 0.85), (end + 3, 0.95)):
            if 0 <= index < count:
                factor[index] = share
        factor[max(begin, 0):max(end + 1, 0)] = 0.05
    return factor


def is_plain_workday(day: date) -> bool:
    """True for a working day with no public holiday within five days: when a change is seen at once."""
    near = (day + timedelta(days=offset) for offset in range(-5, 6))
    return day_kind(day) == DayKind.WORKDAY and not any(other in HOLIDAY_NAMES for other in near)
