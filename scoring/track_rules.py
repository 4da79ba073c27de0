"""What the alert rules about movables and tampering measure: daily observations of trackers. Pure.

A sample stands for one local day, so what arrives late about days long past raises nothing: the newest sample must be fresh.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

from collateral.domain import SubjectKind
from scoring.context import SiteContext
from scoring.evidence import Datum
from scoring.findings import Finding, Measure, Sample, ids
from scoring.policy import RulePolicy

_POWER_LOST_H = 0.5
"""Shorter is a change of battery."""
_USUAL_DAYS = 28
_USUAL_TIMES = 3
"""Power lost on so many of the days before is how the vehicle is parked, not a sign."""
_CARRIED_M = 500.0
"""Less is pushing about a yard."""
_TAMPER = ("tamper_contact_hours", "power_lost_hours", "moved_engine_off_m")


def daily(quantity: str) -> Measure:
    """The measure whose figure is the daily value of a quantity, for each subject that has it."""

    def measure(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
        found = []
        for subject in context.evidence.subjects(quantity):
            data = context.by_day(quantity, subject, _first(context, policy), context.last_due)
            samples = [_sample(context, day, item.value, [item]) for day, item in sorted(data.items())]
            found.append(_finding(subject, samples))
        return found

    return measure


def tamper(context: SiteContext, policy: RulePolicy, open_since: Mapping[str, datetime]) -> list[Finding]:
    """How many signs of tampering or forced removal a thing (or a site's device) showed on each day."""
    subjects = sorted({subject for quantity in _TAMPER for subject in context.evidence.subjects(quantity)})
    found = []
    for subject in subjects:
        first = _first(context, policy)
        told = {
            quantity: context.by_day(quantity, subject, first - timedelta(days=_USUAL_DAYS), context.last_due)
            for quantity in _TAMPER
        }
        days = sorted({day for data in told.values() for day in data if day >= first})
        samples = [
            _sample(context, day, _signs(told, day), [data[day] for data in told.values() if day in data]) for day in days
        ]
        found.append(_finding(subject, samples))
    return found


def _signs(told: Mapping[str, Mapping[date, Datum]], day: date) -> float:
    opened, lost, carried = (
        data[day].value if day in data else 0.0 for data in (told[quantity] for quantity in _TAMPER)
    )
    before = [one.value for past, one in told["power_lost_hours"].items() if 0 < (day - past).days <= _USUAL_DAYS]
    usual = sum(value >= _POWER_LOST_H for value in before) >= _USUAL_TIMES
    return float((opened > 0) + (lost >= _POWER_LOST_H and not usual) + (carried >= _CARRIED_M))


def _first(context: SiteContext, policy: RulePolicy) -> date:
    return context.last_due - timedelta(days=policy.window - 1)


def _sample(context: SiteContext, day: date, figure: float, data: Sequence[Datum]) -> Sample:
    facts: dict[str, object] = {item.quantity: item.value for item in data}
    device = next((item.device for item in data if item.device), "")
    facts |= {"device": device, "day": day.isoformat()}
    return Sample(context.calendar.at_local(day + timedelta(days=1), 0), figure, ids(*data), {"inside": facts})


def _finding(subject: str, samples: Sequence[Sample]) -> Finding:
    kind, _, subject_id = subject.partition(":")
    return Finding(SubjectKind(kind), subject_id, tuple(samples))
