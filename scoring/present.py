"""Alerts about areas from trips and stops of the day that is not judged yet, minutes after the positions came. Pure.

The day's own judgement comes from its observations (`scoring.track_rules`) and clears as ever. A figure here never exceeds
what that day's observation will say of the same positions, so nothing is raised that the judgement would not raise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from collateral.db.journeys import SILENCE, Journey
from collateral.domain import Device, SubjectKind
from scoring.alerts import TOLD_UNTIL
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
    since: datetime
    """When it began, on an earlier day maybe."""
    told: bool
    """Whether its figure reached the rule's limit on a day before this one."""


@dataclass(frozen=True)
class Standing:
    """What went on when a person cleared an alert of an area."""

    ends: datetime
    """Its last position so far."""
    told_until: datetime
    """End of the last local day whose figure tells of it; far in the future while no position after it is known."""

    @property
    def goes_on(self) -> bool:
        """Whether it is still there at the last position that is known."""
        return self.told_until == _FAR


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


def standing(
    journeys: Sequence[Journey], name: str, rule: RulePolicy, calendar: SiteCalendar, at: datetime
) -> Standing | None:
    """The stretch that held at `at` and had reached the limit by that day, if there was one.

    Args:
        journeys: all of one tracker, from the day of the last one that began before `at`, until now.
        name: of the rule, in `RULES`.
        rule: its limits; a day that is calm by them ends the stretch.
        calendar: of the site.
        at: when the alert was raised: what began later it did not tell of.
    """
    newest = max((one.ends for one in journeys if one.kind != SILENCE), default=at)
    there = [
        one for one in _stretches(journeys, RULES[name], rule)
        if one.since <= at and (one.ends >= at or one.ends == newest)
    ]  # fmt: skip
    if not there or not (there[0].told or there[0].figure >= rule.raise_at):
        return None
    last = there[-1]
    day_ends = calendar.at_local(last.journey.day + timedelta(days=1), 0)
    return Standing(last.ends, _FAR if last.ends == newest else day_ends)


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
        mine = (_stretch(journey, flag) for flag in journey.flags if flag["kind"] == area.flag)
        for one in sorted(mine, key=lambda one: one.begins):
            if not goes_on or one.begins != journey.begins:
                found.append(one)
            elif (before := found[-1]).journey.day == journey.day:
                figure = area.joined((before.figure, one.figure))
                found[-1] = replace(one, begins=before.begins, figure=figure, since=before.since, told=before.told)
            elif before.figure > rule.clear_at:
                told = before.told or before.figure >= rule.raise_at
                found.append(replace(one, since=before.since, told=told))
            else:
                found.append(one)
            goes_on = False
        goes_on = bool(found) and found[-1].journey is journey and found[-1].ends == journey.ends
    return found


def _stretch(journey: Journey, flag: Mapping[str, object]) -> _Stretch:
    begins, ends = (datetime.fromisoformat(str(flag[name])) for name in ("from", "to"))
    return _Stretch(journey, begins, ends, float(str(flag.get("sure", 0.0))), begins, told=False)


def _sample(one: _Stretch, area: AreaRule, calendar: SiteCalendar) -> Sample:
    """Dated by the stretch's begin: what goes on after a person cleared the alert raises no second one."""
    facts = {area.quantity: one.figure, "device": one.journey.device_id, "day": one.journey.day.isoformat()}
    until = calendar.at_local(one.journey.day + timedelta(days=1), 0)
    return Sample(one.begins, one.figure, (), {"inside": facts, TOLD_UNTIL: until.isoformat()})
