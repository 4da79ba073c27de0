"""Days as people at a site live them: edges in the site's time zone, also where clocks change. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class DayGrid:
    """Consecutive local days; day i is from `edges_us[i]` to `edges_us[i + 1]`."""

    zone: ZoneInfo
    first: date
    edges_us: NDArray[np.int64]
    """Microseconds since 1970 UTC; one more than there are days."""

    def __len__(self) -> int:
        return len(self.edges_us) - 1

    def starting_in(self, time_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the day with edge[i] <= time < edge[i + 1]; -1 or len() outside."""
        return np.searchsorted(self.edges_us, time_us, side="right") - 1

    def ending_in(self, time_us: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index of the day with edge[i] < time <= edge[i + 1]: where a value belongs that closes its interval."""
        return np.searchsorted(self.edges_us, time_us, side="left") - 1

    def day(self, index: int) -> date:
        """Calendar day number `index`."""
        return self.first + timedelta(days=index)

    def clock(self, hour: int) -> NDArray[np.int64]:
        """When local clocks show `hour` o'clock on each day, microseconds."""
        return np.array([_local_us(self.day(i), self.zone, hour) for i in range(len(self))], dtype=np.int64)


def grid_over(zone: ZoneInfo, from_us: int, to_us: int) -> DayGrid:
    """The days that share time with [from, to)."""
    first = local_date(zone, from_us)
    last = local_date(zone, max(from_us, to_us - 1))
    count = (last - first).days + 1
    edges = [_local_us(first + timedelta(days=i), zone, 0) for i in range(count + 1)]
    return DayGrid(zone, first, np.array(edges, dtype=np.int64))


def local_date(zone: ZoneInfo, time_us: int) -> date:
    """The calendar day at the site at a time."""
    return (_EPOCH + timedelta(microseconds=int(time_us))).astimezone(zone).date()


@lru_cache(maxsize=65_536)
def _local_us(day: date, zone: ZoneInfo, hour: int) -> int:
    moment = datetime(day.year, day.month, day.day, hour, tzinfo=zone)
    return (moment - _EPOCH) // timedelta(microseconds=1)
