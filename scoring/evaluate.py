"""Evaluation of one site through time: evidence stepped forward, a score and the alert transitions for each time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property

import orjson

from collateral.domain import Asset, Device, Loan, LoanSite, Observation, Price, Score, Site, Slot
from collateral.pledges import Pledges
from scoring.alerts import AlertBook, Transition
from scoring.calendar import SiteCalendar
from scoring.context import SiteContext
from scoring.coverage import Verified, tonnes_per_unit, verify
from scoring.evidence import Evidence, datum
from scoring.policy import Policy
from scoring.rules import RULES
from scoring.score import score_site

HISTORY_DAYS = 400
"""Observations older than this before the first evaluation are not loaded: no window reaches so far."""


@dataclass(frozen=True)
class Reference:
    """Reference data as known at a time; between two changes it is the same object."""

    sites: Mapping[str, Site]
    assets: tuple[Asset, ...] = ()
    slots: tuple[Slot, ...] = ()
    devices: tuple[Device, ...] = ()
    loans: Mapping[str, Loan] = field(default_factory=dict)
    loan_sites: tuple[LoanSite, ...] = ()
    prices: tuple[Price, ...] = ()
    holidays: frozenset[date] = frozenset()

    @cached_property
    def pledges(self) -> Pledges:
        """All assets by serial."""
        return Pledges(self.assets)

    @cached_property
    def tonnes(self) -> Mapping[str, float]:
        """Tonnes in one unit of each commodity that is priced by weight."""
        return tonnes_per_unit(self.prices)


@dataclass
class SiteResult:
    """What one run found out about one site."""

    site_id: str
    scores: list[Score] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    verified: dict[datetime, list[Verified]] = field(default_factory=dict)
    """Pledged things per time, for the coverage of loans."""
    unknown: int = 0
    """Times at which the site was not known yet."""


def evaluate_site(
    site_id: str,
    revisions: Sequence[Observation],
    times: Sequence[datetime],
    since: datetime,
    reference_at: Callable[[datetime], Reference],
    policy: Policy,
    book: AlertBook,
    alerts_after: datetime | None,
) -> SiteResult:
    """Scores the site at each of `times` (rising) with what was known then.

    Args:
        site_id: the site.
        revisions: all revisions of its observations from `since` on.
        times: evaluation times, UTC.
        since: begin of the observations.
        reference_at: reference data as known at a time.
        policy: weights, curves, thresholds.
        book: its alerts; is brought forward.
        alerts_after: alerts change only at later times: history once judged is not rewritten. None: at all times.
    """
    result = SiteResult(site_id)
    known = [one for one in revisions if one.observation_id is not None and one.valid_from < times[-1]] if times else []
    chain = Chain(known)
    evidence: Evidence | None = None
    calendar: SiteCalendar | None = None
    seen: Reference | None = None
    for at in times:
        reference = reference_at(at)
        site = reference.sites.get(site_id)
        if site is None:
            result.unknown += 1
            continue
        if calendar is None or evidence is None or seen is not reference:
            # The kind of each day may have changed with the reference data, so evidence is laid out anew.
            calendar = SiteCalendar(policy.calendar, site.time_zone, reference.holidays)
            evidence = Evidence(datum(one, calendar) for one in known)
            seen = reference
        evidence.advance(at)
        context = make_context(site, reference, policy, calendar, evidence, at, book.frozen_at(at))
        result.scores.append(score_site(context, {**chain.inputs(at, since), **_reference_inputs(context)}))
        result.verified[at] = verify(context)
        if alerts_after is None or at > alerts_after:
            result.transitions += _alert_steps(context, book)
    return result


def make_context(
    site: Site,
    reference: Reference,
    policy: Policy,
    calendar: SiteCalendar,
    evidence: Evidence,
    at: datetime,
    frozen_at: datetime | None,
) -> SiteContext:
    """What one evaluation of the site may look at."""
    return SiteContext(
        site=site,
        policy=policy,
        calendar=calendar,
        evidence=evidence,
        at=at,
        frozen_at=frozen_at,
        assets=[asset for asset in reference.assets if asset.site_id == site.site_id],
        slots=[slot for slot in reference.slots if slot.site_id == site.site_id],
        devices=[device for device in reference.devices if device.site_id == site.site_id],
        pledges=reference.pledges,
        tonnes=reference.tonnes,
    )


def _alert_steps(context: SiteContext, book: AlertBook) -> Iterable[Transition]:
    site_id = context.site.site_id
    for rule in RULES:
        policy = context.policy.rules.get(rule.name)
        if policy is None or context.site.kind not in rule.kinds:
            continue  # a bank's own policy may leave rules out
        for finding in rule.measure(context, policy, book.open_since(rule.name, context.at)):
            step = book.step(rule.name, policy, finding, site_id, context.at)
            if step is not None:
                yield step


class Chain:
    """Running checksum over (id, revision) of what is known, so that each score names its inputs in a few bytes."""

    def __init__(self, revisions: Sequence[Observation]) -> None:
        self._waiting = sorted(revisions, key=lambda one: (one.known_at, one.observation_id or 0))
        self._next = 0
        self._hash = hashlib.sha256()
        self._newest = max((one.observation_id or 0 for one in revisions), default=0)

    def inputs(self, at: datetime, since: datetime) -> dict[str, object]:
        """What a score at `at` stores about its observations; `at` may only rise from call to call."""
        while self._next < len(self._waiting) and self._waiting[self._next].known_at <= at:
            one = self._waiting[self._next]
            self._hash.update(f"{one.observation_id}:{one.revision};".encode())
            self._next += 1
        return {
            "since": since.isoformat(),
            "max_observation_id": self._newest,
            "observations": self._next,
            "observations_sha256": self._hash.hexdigest(),
        }


def _reference_inputs(context: SiteContext) -> dict[str, object]:
    return {
        "frozen_at": None if context.frozen_at is None else context.frozen_at.isoformat(),
        "policy_sha256": context.policy.sha256,
        "reference_sha256": reference_digest(context.site),
    }


def reference_digest(site: Site) -> str:
    """Checksum of what a score uses of a site's own record."""
    said = [site.site_id, site.kind.value, site.time_zone, site.panel_area_m2, site.installed_kwp, site.roofed]
    return hashlib.sha256(orjson.dumps(said)).hexdigest()
