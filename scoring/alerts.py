"""The alert state machine: samples of a rule and the present state give the next transition, with hysteresis. Pure.

States and the acts of people are in `collateral.db.alerts`; the engine itself only raises, clears, and ends a shelving whose
time is over. While an alert of a rule and subject stands (open, acknowledged or shelved) no second one is raised; after it
ended only samples newer than its end can raise the next (ISA-18.2: no chattering).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from collateral.db.alerts import ENGINE, Alert, AlertEvent
from collateral.domain import AlertState, Priority, SubjectKind
from scoring.findings import Finding, Sample
from scoring.policy import RulePolicy
from scoring.rules import FREEZING

TOLD_UNTIL = "told_until"
"""In the evidence of an alert about a day that was not over: the day's end, ISO 8601."""
SEEN_UNTIL = "seen_until"
"""There too: the last position of what it told of, as far as positions had come."""


class Move(StrEnum):
    """What the engine does."""

    RAISE = "raise"
    CLEAR = "clear"
    UNSHELVE = "unshelve"


@dataclass(frozen=True)
class Held:
    """One alert as far as the engine must know it."""

    rule: str
    subject_id: str
    raised_at: datetime
    state: AlertState
    expires_at: datetime | None = None
    cleared_at: datetime | None = None
    cleared_by: str = ""
    alert_id: int | None = None
    """None until it is written."""
    told_until: datetime | None = None
    """End of the last day that it told of though it was not over then; what days until there say is nothing new."""
    tells_of: datetime | None = None
    """What began by then it told of: the end of its newest sample."""
    begun_by: datetime | None = None
    """Of one that a person cleared: what began by then is no news to be told at once; None: what began by the clearing."""
    device: str = ""
    """Which tracker or sensor showed it."""

    def stands(self, at: datetime) -> bool:
        """True when it had been raised and had not ended at `at`."""
        return self.raised_at <= at and (self.cleared_at is None or self.cleared_at > at)


@dataclass(frozen=True)
class Transition:
    """One step to be written."""

    move: Move
    rule: str
    subject_kind: SubjectKind
    subject_id: str
    site_id: str
    at: datetime
    priority: Priority
    evidence: Mapping[str, object]
    alert_id: int | None


def decide(
    policy: RulePolicy, samples: Sequence[Sample], at: datetime, held: Held | None, ended_at: datetime | None
) -> Move | None:
    """The engine's next step for one rule and subject.

    Args:
        policy: thresholds and counts.
        samples: oldest first.
        at: time of the evaluation.
        held: the alert that stands, None when there is none.
        ended_at: when the last one ended, None when there was none.
    """
    if held is not None:
        if held.state is AlertState.SHELVED and held.expires_at is not None and held.expires_at <= at:
            return Move.UNSHELVE
        recent = samples[-policy.clear_count :]
        calm = len(recent) == policy.clear_count and all(sample.figure <= policy.clear_at for sample in recent)
        return Move.CLEAR if calm and recent[-1].at > held.raised_at else None
    fresh = [sample for sample in samples if ended_at is None or sample.at > ended_at]
    recent = fresh[-policy.raise_count :]
    if len(recent) < policy.raise_count or recent[-1].at < at - timedelta(days=policy.fresh_days):
        return None
    return Move.RAISE if all(sample.figure >= policy.raise_at for sample in recent) else None


class AlertBook:
    """Alerts of one site (or of the loans) through time; takes what is stored and what this run decides."""

    def __init__(self, alerts: Iterable[Alert] = (), events: Iterable[AlertEvent] = ()) -> None:
        ends = {event.alert_id: event for event in events if event.state is AlertState.CLEARED}
        self._held: list[Held] = [_held(one, ends.get(one.alert_id)) for one in alerts]

    def standing(self, rule: str, subject_id: str, at: datetime) -> Held | None:
        """The alert of this rule and subject that stands at `at`."""
        return next((one for one in self._of(rule, subject_id) if one.stands(at)), None)

    def cleared_by_people(self, rules: Collection[str]) -> list[Held]:
        """Of each rule and subject what a person cleared last, and those before it that told of days not over then."""
        ended = [one for one in self._held if one.cleared_at and one.cleared_by != ENGINE and one.rule in rules]
        ended.sort(key=lambda one: one.cleared_at or one.raised_at)
        last = {(one.rule, one.subject_id): one for one in ended}
        return [one for one in ended if _after(one, last[one.rule, one.subject_id])]

    def told(self, held: Held, begun_by: datetime, told_until: datetime) -> None:
        """What an alert told of that a person cleared: at once, what began by `begun_by`; by days, those up to `told_until`.

        A day that was calm ends that.
        """
        self._held[self._held.index(held)] = replace(held, begun_by=begun_by, told_until=told_until)

    def open_since(self, rule: str, at: datetime) -> dict[str, datetime]:
        """Since when alerts of a rule stand, by subject."""
        return {one.subject_id: one.raised_at for one in self._held if one.rule == rule and one.stands(at)}

    def frozen_at(self, at: datetime) -> datetime | None:
        """Since when an alert stands that holds baselines still; None when there is none."""
        return min((one.raised_at for one in self._held if one.rule in FREEZING and one.stands(at)), default=None)

    def step(
        self, rule: str, policy: RulePolicy, finding: Finding, site_id: str, at: datetime, whole_days: bool = True
    ) -> Transition | None:
        """Decides about one finding and remembers the outcome.

        Nothing is raised where another run, which began later and was quicker, has raised it already. Not `whole_days`:
        samples are stretches of a day that is not judged; what the engine cleared for the days before says nothing of them.
        """
        held = self.standing(rule, finding.subject_id, at)
        known = self._of(rule, finding.subject_id)
        ended = [one for one in known if one.cleared_at and (whole_days or one.cleared_by != ENGINE)]
        ends = [_told(one, finding.samples, policy) if whole_days else one.begun_by or one.cleared_at for one in ended]
        move = decide(policy, finding.samples, at, held, max((end for end in ends if end), default=None))
        if move is None or (move is Move.RAISE and any(one.raised_at > at for one in known)):
            return None
        if move is Move.RAISE:
            self._held.append(Held(rule, finding.subject_id, at, AlertState.OPEN))
        elif held is not None:
            changed = (
                replace(held, state=AlertState.CLEARED, cleared_at=at, cleared_by=ENGINE)
                if move is Move.CLEAR
                else replace(held, state=AlertState.OPEN, expires_at=None)
            )
            self._held[self._held.index(held)] = changed
        count = policy.clear_count if move is Move.CLEAR else policy.raise_count
        return Transition(
            move, rule, finding.subject_kind, finding.subject_id, site_id, at, policy.priority,
            evidence_of(policy, finding.samples[-count:]), held.alert_id if held else None,
        )

    def _of(self, rule: str, subject_id: str) -> list[Held]:
        return [one for one in self._held if one.rule == rule and one.subject_id == subject_id]


def _after(one: Held, last: Held) -> bool:
    """Whether it is the last, or told of a day that was not over when the last was cleared."""
    return one is last or (one.told_until is not None and last.cleared_at is not None and one.told_until > last.cleared_at)


def _told(ended: Held, samples: Sequence[Sample], policy: RulePolicy) -> datetime | None:
    """Until when days that the samples stand for are no news after an alert: its end; or later, until one is calm."""
    if ended.told_until is None or ended.cleared_at is None:
        return ended.cleared_at
    calm = (one.at for one in samples if one.at > ended.cleared_at and one.figure <= policy.clear_at)
    return max(ended.cleared_at, min(ended.told_until, next(calm, ended.told_until)))


def _held(one: Alert, end: AlertEvent | None) -> Held:
    told, inside, figures = (one.evidence.get(name) for name in (TOLD_UNTIL, "inside", "figures"))
    samples = figures.get("samples") if isinstance(figures, Mapping) else None
    tells_of = one.evidence.get(SEEN_UNTIL) or (samples[-1]["at"] if samples else None)
    held = Held(
        one.rule, one.subject_id, one.raised_at, one.state, one.expires_at, alert_id=one.alert_id,
        told_until=None if told is None else datetime.fromisoformat(str(told)),
        tells_of=None if tells_of is None else datetime.fromisoformat(str(tells_of)),
        device=str(inside.get("device", "")) if isinstance(inside, Mapping) else "",
    )
    return held if end is None else replace(held, cleared_at=end.at, cleared_by=end.actor)


def evidence_of(policy: RulePolicy, samples: Sequence[Sample]) -> dict[str, object]:
    """What is stored with a transition: figures against thresholds, both sides, and the observations behind them."""
    newest = samples[-1] if samples else None
    return {
        "figures": {
            "samples": [{"at": sample.at.isoformat(), "figure": sample.figure} for sample in samples],
            "raise_at": policy.raise_at,
            "clear_at": policy.clear_at,
        },
        **(dict(newest.facts) if newest else {}),
        "observations": sorted({pair[0] for sample in samples for pair in sample.observations}),
    }
