"""Observations of one site as they were known at a time, held in memory and stepped forward day by day. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from collateral.domain import Observation, Quality, Source
from scoring.calendar import SiteCalendar


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as it was on the picture before."""

    kind: str
    """`stock`, `vehicles`, `roof`, `construction` or `other`."""
    direction: str
    """`appeared`, `vanished`, `moved` or `altered`."""
    area_m2: float
    confidence: float
    """0 to 1."""


@dataclass(frozen=True, slots=True)
class Datum:
    """One revision of an observation, reduced to what scoring uses."""

    observation_id: int
    revision: int
    subject: str
    """`site:...`, `asset:...` or `slot:...`."""
    quantity: str
    source: Source
    method: str
    valid_from: datetime
    known_at: datetime
    value: float
    lower: float
    upper: float
    quality: Quality
    day: date
    """Local day of `valid_from`."""
    hour: int
    """Local hour of `valid_from`: the overpass hour of a picture."""
    gsd_class: str
    """`fine` (below 0.2 m), `medium` (below 0.5 m), `coarse`; empty for telemetry."""
    device: str
    """Device named by the evidence, or several with commas; empty when none is."""
    changes: tuple[Change, ...] = ()
    """What the evidence of `changed_area_m2` lists."""
    only_uncalibrated: bool = False
    """Doubtful for no other reason than that a device's calibration had ended."""
    owners: tuple[str, ...] = ()
    """Who owns the devices it rests on; empty for pictures."""


def gsd_class(gsd_m: float | None) -> str:
    """Class of ground sampling distance within which counts are compared."""
    if gsd_m is None:
        return ""
    return "fine" if gsd_m < 0.2 else "medium" if gsd_m < 0.5 else "coarse"


def datum(observation: Observation, calendar: SiteCalendar) -> Datum:
    """Reduces a stored observation (it must carry its id and revision)."""
    assert observation.observation_id is not None and observation.revision is not None
    gsd = observation.evidence.get("gsd_m")
    return Datum(
        observation_id=observation.observation_id,
        revision=observation.revision,
        subject=f"{observation.subject_kind}:{observation.subject_id}",
        quantity=observation.quantity,
        source=observation.source,
        method=observation.method,
        valid_from=observation.valid_from,
        known_at=observation.known_at,
        value=observation.value,
        lower=observation.lower,
        upper=observation.upper,
        quality=observation.quality,
        day=calendar.local_day(observation.valid_from),
        hour=calendar.local_hour(observation.valid_from),
        gsd_class=gsd_class(float(gsd) if isinstance(gsd, (int, float)) else None),
        device=device_of(observation),
        changes=changes_of(observation),
        only_uncalibrated=observation.evidence.get("otherwise_good") is True,
        owners=owners_of(observation),
    )


def device_of(observation: Observation) -> str:
    """The device the evidence singles out, else those it rests on."""
    evidence = observation.evidence
    named, several = evidence.get("device", evidence.get("device_id")), evidence.get("devices")
    if named is None and isinstance(several, list):
        return ", ".join(str(one) for one in several)
    return "" if named is None else str(named)


def owners_of(observation: Observation) -> tuple[str, ...]:
    """Owners the evidence names; none where it names none in a way that makes sense."""
    named = observation.evidence.get("owners")
    return tuple(str(owner) for owner in named) if isinstance(named, list) else ()


def changes_of(observation: Observation) -> tuple[Change, ...]:
    """What the evidence lists as changed, as it lists it (the largest first); entries that make no sense are left out."""
    listed = observation.evidence.get("changes")
    if not isinstance(listed, list):
        return ()
    found = []
    for one in listed:
        told = one if isinstance(one, dict) else {}
        area, sure = told.get("area_m2"), told.get("confidence")
        if isinstance(area, (int, float)) and isinstance(sure, (int, float)) and area > 0:
            confidence = min(1.0, max(0.0, float(sure)))
            found.append(Change(str(told.get("kind")), str(told.get("direction")), float(area), confidence))
    return tuple(found)


class Series:
    """Data of one subject and quantity in force, in order of time."""

    def __init__(self) -> None:
        self._order: list[tuple[datetime, str]] = []
        self._held: dict[tuple[datetime, str], Datum] = {}

    def put(self, item: Datum) -> None:
        """Takes a revision; an older one of the same key is replaced, a newer one stays."""
        key = (item.valid_from, f"{item.method}|{item.source}")
        held = self._held.get(key)
        if held is None:
            if self._order and key < self._order[-1]:
                insort(self._order, key)
            else:
                self._order.append(key)
        elif held.revision >= item.revision:
            return
        self._held[key] = item

    def between(self, first: datetime, last: datetime) -> list[Datum]:
        """Data with first <= valid_from < last, oldest first."""
        low = bisect_left(self._order, (first, ""))
        high = bisect_left(self._order, (last, ""))
        return [self._held[key] for key in self._order[low:high]]

    def until(self, last: datetime, count: int) -> list[Datum]:
        """The last `count` data with valid_from <= last, oldest first."""
        high = bisect_right(self._order, (last, "\uffff"))
        return [self._held[key] for key in self._order[max(0, high - count) : high]]

    def __iter__(self) -> Iterator[Datum]:
        return (self._held[key] for key in self._order)


class Evidence:
    """What is known of a site at `at`; `advance` moves that time forward."""

    def __init__(self, revisions: Iterable[Datum]) -> None:
        self._waiting = sorted(revisions, key=lambda item: (item.known_at, item.observation_id))
        self._next = 0
        self._series: dict[str, dict[str, Series]] = {}
        self.at: datetime | None = None

    def advance(self, at: datetime) -> None:
        """Takes in everything known at or before `at`, which may not lie before the last call's."""
        assert self.at is None or at >= self.at, "evidence only moves forward; build it anew to go back"
        self.at = at
        while self._next < len(self._waiting) and self._waiting[self._next].known_at <= at:
            item = self._waiting[self._next]
            self._next += 1
            by_subject = self._series.setdefault(item.quantity, {})
            by_subject.setdefault(item.subject, Series()).put(item)

    def subjects(self, quantity: str) -> Mapping[str, Series]:
        """Series of a quantity by subject, in order of subject."""
        found = self._series.get(quantity, {})
        return {subject: found[subject] for subject in sorted(found)}
