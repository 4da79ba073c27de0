"""Alerts about areas from trips and stops of the day that is not judged yet, minutes after the positions came. Pure.

The day's own judgement comes from its observations (`scoring.track_rules`) and clears as ever. A figure here never exceeds
what that day's observation will say of the same positions, so nothing is raised that the judgement would not raise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from collateral.db.journeys import Journey
from collateral.domain import Device, SubjectKind
from scoring.alerts import TOLD_UNTIL
from scoring.calendar import SiteCalendar
from scoring.findings import Finding, Sample
from scoring.policy import RulePolicy

PRESENT = timedelta(days=3)
"""Trips and stops that ended longer ago belong to days that are judged."""
RULES = {
    "left_region": ("outside_region", "sure", "outside_region_m"),
    "forbidden_area": ("forbidden_area", "most", "forbidden_area_hours"),
}
"""Rule -> kind of flag, its figure, and the observation that will say the same of the whole day."""


def speakers(devices: Sequence[Device]) -> dict[str, str]:
    """Thing -> its tracker; of several the first by id, as in the observations."""
    found: dict[str, str] = {}
    for device in sorted(devices, key=lambda one: one.device_id, reverse=True):
        if device.asset_id and "longitude_deg" in device.quantities:
            found[device.asset_id] = device.device_id
    return found


def present_findings(
    journeys: Sequence[Journey], tracker_of: Mapping[str, str], rules: Mapping[str, RulePolicy], calendar: SiteCalendar,
    at: datetime,
) -> Iterator[tuple[str, Finding]]:
    """Rule and finding of every thing with a stretch of the present days that reaches the rule's limit.

    Args:
        journeys: of one site, with flags.
        tracker_of: from `speakers`.
        rules: of the policy; one that wants several days in a row is left to the day's judgement.
        calendar: of the site.
        at: present time.
    """
    first, last = calendar.last_due(at) + timedelta(days=1), calendar.local_day(at)
    mine = [one for one in journeys if first <= one.day <= last and tracker_of.get(one.asset_id) == one.device_id]
    for name, (kind, figure, quantity) in RULES.items():
        rule = rules.get(name)
        if rule is None or rule.raise_count > 1:
            continue
        for asset in sorted({one.asset_id for one in mine}):
            samples = sorted(
                (
                    _sample(one, flag, float(flag.get(figure, 0.0)), quantity, calendar)
                    for one in mine if one.asset_id == asset for flag in one.flags if flag["kind"] == kind
                ),
                key=lambda sample: sample.at,
            )
            found = tuple(one for one in samples if one.figure >= rule.raise_at)
            if found:
                yield name, Finding(SubjectKind.ASSET, asset, found)


def _sample(one: Journey, flag: Mapping[str, object], figure: float, quantity: str, calendar: SiteCalendar) -> Sample:
    """Dated by the stretch's begin: what goes on after a person cleared the alert raises no second one the same day."""
    facts = {quantity: figure, "device": one.device_id, "day": one.day.isoformat()}
    until = calendar.at_local(one.day + timedelta(days=1), 0)
    return Sample(
        datetime.fromisoformat(str(flag["from"])), figure, (), {"inside": facts, TOLD_UNTIL: until.isoformat()}
    )
