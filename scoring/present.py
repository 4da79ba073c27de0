"""Alerts about areas from trips and stops of the day that is not judged yet, minutes after the positions came. Pure.

The day's own judgement comes from its observations (`scoring.track_rules`) and clears as ever. A figure here never exceeds
what that day's observation will say of the same positions, so nothing is raised that the judgement would not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from collateral.db.journeys import SILENCE, Journey
from collateral.domain import Device, SubjectKind
from scoring.alerts import SEEN_UNTIL, TOLD_UNTIL
from scoring.calendar import SiteCalendar
from scoring.findings import Finding, Sample
from scoring.policy import RulePolicy

PRESENT = timedelta(days=3)
"""Trips and stops that ended longer ago belong to days that are judged."""


@dataclass(frozen=True)
class AreaRule:
    """Where the figure of a rule comes from."""

    flag: str
    """Kind of flag; its `sure` is the figure."""
    quantity: str
    """The observation that will say the same of the whole day."""
    joined: Callable[[Iterable[float]], float]
    """Figure of a stretch from those of the trips and stops it goes through."""


RULES: Mapping[str, AreaRule] = {
    "left_region": AreaRule("outside_region", "outside_region_m", max),
    "forbidden_area": AreaRule("forbidden_area", "forbidden_area_hours", sum),
}


@dataclass(frozen=True)
class _Stretch:
    """One stay on the wrong side of an area, as far as it lies in one local day."""

    journey: Journey
    """The last it goes through."""
    begins: datetime
    ends: datetime
    figure: float
    """What is sure of it while more positions of the day may come."""
    judged: float
    """What the day's judgement says of it when none come; not less."""
    since: datetime
    """When it began, on an earlier day maybe."""
    reached: bool
    """Whether it reached the rule's limit on this day or one before."""


@dataclass(frozen=True)
class Told:
    """What an alert of an area told of, followed until it ended."""

    begun_by: datetime
    """What began by then is what it told of."""
    day: date
    """The last local day on which that lasted."""
    until: datetime
    """End of the last local day whose figure says nothing else; far in the future while no position after it is known."""


def speakers(devices: Sequence[Device], heard: Collection[str]) -> dict[str, str]:
    """Thing -> its tracker; of several the first by id, as in the observations.

    Args:
        devices: of one site.
        heard: devices that ever sent a position; others are no trackers yet.
    """
    found: dict[str, str] = {}
    for device in sorted(devices, key=lambda one: one.device_id, reverse=True):
        if device.asset_id and device.device_id in heard:
            found[device.asset_id] = device.device_id
    return found


def present_findings(
    journeys: Sequence[Journey], tracker_of: Mapping[str, str], rules: Mapping[str, RulePolicy], calendar: SiteCalendar,
    at: datetime,
) -> Iterator[tuple[str, Finding]]:
    """Rule and finding of every thing with a stretch of the present days that reaches the rule's limit.

    Args:
        journeys: all of the site's trackers that have flags.
        tracker_of: from `speakers`.
        rules: of the policy; one that wants several days in a row is left to the day's judgement.
        calendar: of the site.
        at: present time.
    """
    first, last = calendar.last_due(at) + timedelta(days=1), calendar.local_day(at)
    mine = [one for one in journeys if first <= one.day <= last and tracker_of.get(one.asset_id) == one.device_id]
    for name, area in RULES.items():
        rule = rules.get(name)
        if rule is None or rule.raise_count > 1:
            continue
        for asset in sorted({one.asset_id for one in mine}):
            stretches = _stretches([one for one in mine if one.asset_id == asset], area, rule)
            found = tuple(_sample(one, area, calendar) for one in stretches if one.figure >= rule.raise_at)
            if found:
                yield name, Finding(SubjectKind.ASSET, asset, found)


def told(journeys: Sequence[Journey], name: str, rule: RulePolicy, calendar: SiteCalendar, tells_of: datetime) -> Told:
    """What an alert told of, known by when it began: it lasts until it ends, over midnights too.

    Args:
        journeys: all of one tracker, from the day of the last one that began by `tells_of`, until now.
        name: of the rule, in `RULES`.
        rule: its limits; a day that is calm by them ends a stretch.
        calendar: of the site.
        tells_of: the alert told of what had begun by then: the last position that it knew, or the end of the day it judged.
    """
    area = RULES[name]
    stretches = _stretches(journeys, area, rule)
    known = [one for one in stretches if one.since <= tells_of]
    begun_by, day = tells_of, calendar.local_day(tells_of - timedelta(microseconds=1))
    goes_on = False
    if any(one.reached and one.begins <= tells_of and one.since == known[-1].since for one in known):
        last = known[-1]
        begun_by, day = max(tells_of, last.ends), max(day, last.journey.day)
        goes_on = last.ends == max(one.ends for one in journeys if one.kind != SILENCE)
    others = [one.judged for one in stretches if one.journey.day == day and one.since > tells_of]
    more = bool(others) and area.joined(others) >= rule.raise_at
    until = calendar.at_local(day if more else day + timedelta(days=1), 0)
    return Told(begun_by, day, _FAR if goes_on else until)


_FAR = datetime.max.replace(tzinfo=UTC)


def _stretches(journeys: Sequence[Journey], area: AreaRule, rule: RulePolicy) -> list[_Stretch]:
    """By begin; one that goes on from a trip into the next stop (or after a silence) is one, and cut at local midnight.

    Trips and stops share a position, so what touches the end of one and the begin of the next goes on. A silence of more
    than `PRESENT` ends it, and so does a lone position between two silences, of which no journey says where it was.
    """
    found: list[_Stretch] = []
    goes_on, silent = False, False
    for journey in sorted(journeys, key=lambda one: one.begins):
        if journey.kind == SILENCE:
            goes_on, silent = goes_on and not silent, True
            continue
        goes_on, silent = goes_on and journey.begins - found[-1].ends <= PRESENT, False
        mine = (_stretch(journey, flag, rule) for flag in journey.flags if flag["kind"] == area.flag)
        for one in sorted(mine, key=lambda one: one.begins):
            if not goes_on or one.begins != journey.begins:
                found.append(one)
            elif (before := found[-1]).journey.day == journey.day:
                found[-1] = _joined(before, one, area, rule)
            elif before.judged > rule.clear_at:
                found.append(replace(one, since=before.since, reached=before.reached or one.reached))
            else:
                found.append(one)
            goes_on = False
        goes_on = bool(found) and found[-1].journey is journey and found[-1].ends == journey.ends
    return found


def _stretch(journey: Journey, flag: Mapping[str, object], rule: RulePolicy) -> _Stretch:
    begins, ends = (datetime.fromisoformat(str(flag[name])) for name in ("from", "to"))
    sure = float(str(flag.get("sure", 0.0)))
    judged = float(str(flag.get("judged", sure)))
    return _Stretch(journey, begins, ends, sure, judged, begins, judged >= rule.raise_at)


def _joined(before: _Stretch, one: _Stretch, area: AreaRule, rule: RulePolicy) -> _Stretch:
    """One with what it goes on as on the same day; the position that both share speaks once."""
    figure = area.joined((before.figure, one.figure))
    judged = area.joined((before.judged, one.figure if before.ends == one.begins else one.judged))
    reached = before.reached or judged >= rule.raise_at
    return replace(one, begins=before.begins, figure=figure, judged=judged, since=before.since, reached=reached)


def _sample(one: _Stretch, area: AreaRule, calendar: SiteCalendar) -> Sample:
    """Dated by the stretch's begin, by which it is known."""
    facts = {area.quantity: one.figure, "device": one.journey.device_id, "day": one.journey.day.isoformat()}
    until = calendar.at_local(one.journey.day + timedelta(days=1), 0).isoformat()
    return Sample(one.begins, one.figure, (), {"inside": facts, TOLD_UNTIL: until, SEEN_UNTIL: one.ends.isoformat()})
