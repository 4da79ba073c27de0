"""Numbers, money, times and names as people of one locale read them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

GRADES = "ABCDEU"
"""Best first; U is unknown and ranks below E."""
NOTHING = "–"


@dataclass(frozen=True)
class Formats:
    """Formatting for one locale."""

    locale: str

    def number(self, value: float | None, digits: int = 0) -> str:
        """Grouped by thousands, true minus sign, none before what is rounded to zero."""
        if value is None or not math.isfinite(value):
            return NOTHING
        return f"{value:z,.{digits}f}".replace("-", "−")

    def figure(self, value: float | None) -> str:
        """Three significant digits for what may be small or large."""
        if value is None or not math.isfinite(value):
            return NOTHING
        size = abs(value)
        return self.number(value, 0 if size >= 100 else 1 if size >= 10 else 2)

    def percent(self, share: float | None, digits: int = 0) -> str:
        """A share of 1 as a percentage."""
        return NOTHING if share is None else f"{self.number(100 * share, digits)}%"

    def ratio(self, share: float | None) -> str:
        """A share of 1 against a limit: a percentage to a hundredth, cut and not rounded, so that what misses a limit of
        at most four decimal places is never shown as reaching it."""
        if share is None or not math.isfinite(share):
            return NOTHING
        hundredths = math.floor(round(10_000 * share, 6))
        text = self.number(hundredths / 100, 2)
        return f"{text.rstrip('0').removesuffix('.')}%"

    def points(self, hundredths: int | None, digits: int = 2) -> str:
        """Whole hundredths of a point."""
        return NOTHING if hundredths is None else self.number(hundredths / 100, digits)

    def interval(self, lower: int, upper: int) -> str:
        """Two ends in hundredths of a point, rounded outwards so that the interval is never shown narrower."""
        return f"{math.floor(lower / 100)}–{math.ceil(upper / 100)}"

    def money(self, value: float, currency: str) -> str:
        """Chinese readers count in ten thousands and hundred millions."""
        if self.locale == "zh":
            for unit, size in (("亿", 1e8), ("万", 1e4)):
                if abs(value) >= size:
                    return f"{currency} {self.number(value / size, 2 if size == 1e8 else 1)} {unit}"
        return f"{currency} {self.number(value)}"

    def moment(self, when: datetime | None, zone: str) -> str:
        """Local to the site, with its offset."""
        if when is None:
            return NOTHING
        local = when.astimezone(ZoneInfo(zone))
        return f"{local:%Y-%m-%d %H:%M} {offset(local)}"

    def day(self, when: datetime | date | None, zone: str = "UTC") -> str:
        """The site's calendar day."""
        if when is None:
            return NOTHING
        local = when.astimezone(ZoneInfo(zone)).date() if isinstance(when, datetime) else when
        return local.isoformat()

    def name(self, name: str, name_en: str) -> str:
        """A name in the reader's script, in the other where there is none."""
        return (name_en or name) if self.locale == "en" else (name or name_en)


def offset(local: datetime) -> str:
    """`UTC+8`, `UTC+5:30`."""
    found = local.utcoffset()
    minutes = 0 if found is None else round(found.total_seconds() / 60)
    sign = "+" if minutes >= 0 else "−"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{sign}{hours}" + (f":{rest:02d}" if rest else "")
