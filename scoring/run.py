"""One scoring run: loads each site's observations once, evaluates its times in memory, writes in bulk, then its loans."""

from __future__ import annotations

import logging
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import alerts as alert_rows
from collateral.db import coverage as coverage_rows
from collateral.db import outbox, reference, rollups
from collateral.db import scores as score_rows
from collateral.db.journeys import Journey, journeys_of_flagged, journeys_since
from collateral.db.observations import observation_revisions
from collateral.db.pool import Pool
from collateral.domain import AlertState, SubjectKind
from collateral.errors import InvalidInputError
from collateral.progress import progress
from scoring.alerts import AlertBook, Held, Move, Transition
from scoring.calendar import SiteCalendar
from scoring.coverage import Coverage, Verified, covenant_finding, cover
from scoring.evaluate import HISTORY_DAYS, Reference, SiteResult, evaluate_site
from scoring.notify import NOTIFIED, recipients
from scoring.policy import Policy, RulePolicy
from scoring.present import PRESENT, Told, present_findings, speakers, told
from scoring.present import RULES as AREA_RULES
from scoring.rules import COVENANT_RULE

log = logging.getLogger(__name__)

EVALUATION_HOUR = 6
"""Days are judged at this local hour, when the day before is complete and reported."""
_POSITION = ("longitude_deg", "latitude_deg")
_JOURNEYS = 100
"""Trips and stops of a tracker read at first to see how long a stretch went on."""
STALE = timedelta(days=1)
"""No score stands longer than this: silence must be seen in it."""


@dataclass
class RunSummary:
    """What one run did."""

    sites: int = 0
    evaluations: int = 0
    scores: int = 0
    """Rows written."""
    coverages: int = 0
    alerts: Counter[str] = field(default_factory=Counter)
    """Raised, by rule."""
    cleared: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    """Evaluations left out because the site was not known at that time."""
    seconds: float = 0.0


class References:
    """Reference data as known at any time; read once per change."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        with pool.connection() as connection:
            self._changes = score_rows.reference_changes(connection)
        self._held: dict[int, Reference] = {}

    def at(self, moment: datetime) -> Reference:
        """What was known then."""
        place = bisect_right(self._changes, moment)
        if place not in self._held:
            with self._pool.connection() as connection:
                self._held[place] = _read_reference(connection, moment)
        return self._held[place]


def _read_reference(connection: Connection, moment: datetime) -> Reference:
    return Reference(
        sites={site.site_id: site for site in reference.sites(connection, moment)},
        assets=tuple(reference.assets(connection, moment)),
        slots=tuple(reference.slots(connection, moment)),
        devices=tuple(reference.devices(connection, moment)),
        loans={loan.loan_id: loan for loan in reference.loans(connection, moment)},
        loan_sites=tuple(reference.loan_sites(connection, moment)),
        prices=tuple(reference.prices(connection, moment)),
        holidays=frozenset(score_rows.holidays(connection, moment)),
    )


def score_days(
    pool: Pool, policy: Policy, first: date, last: date, site_ids: Sequence[str] | None, now: datetime
) -> RunSummary:
    """Back-fills one evaluation per local day at 06:00, for all sites or the given ones; days still to come are left out."""
    if last < first:
        raise InvalidInputError(f"--to {last} lies before --from {first}; swap them.")
    references = References(pool)
    today = references.at(now)
    chosen = _chosen(today, site_ids)
    days = [first + timedelta(days=offset) for offset in range((last - first).days + 1)]
    times = {}
    for site_id in chosen:
        zone = ZoneInfo(today.sites[site_id].time_zone)
        moments = (datetime(day.year, day.month, day.day, EVALUATION_HOUR, tzinfo=zone).astimezone(UTC) for day in days)
        times[site_id] = [moment for moment in moments if moment <= now]
    return _run(pool, policy, references, times, now)


def score_now(pool: Pool, policy: Policy, site_ids: Sequence[str] | None, now: datetime) -> RunSummary:
    """Evaluates at `now`: the given sites, or those whose inputs changed, with the other sites of their loans.

    A site that was not judged for `STALE` is judged too: evidence grows old where nothing new comes.
    """
    references = References(pool)
    today = references.at(now)
    with pool.connection() as connection:
        marked = score_rows.dirty_sites(connection)
        judged = score_rows.last_evaluations(connection, now)
    stale = [one for one in today.sites if one not in judged or judged[one] < now - STALE]
    due = [one for one in today.sites if one in marked or one in stale]
    wanted = _chosen(today, site_ids) if site_ids is not None else due
    loans = {one.loan_id for one in today.loan_sites if one.site_id in set(wanted)}
    partners = {one.site_id for one in today.loan_sites if one.loan_id in loans and one.site_id in today.sites}
    chosen = sorted(set(wanted) | partners)
    summary = _run(pool, policy, references, {site_id: [now] for site_id in chosen}, now)
    with pool.connection() as connection:
        done = {one: at for one, at in marked.items() if one in chosen or one not in today.sites}
        score_rows.clean_sites(connection, done)
    return summary


def raise_present(pool: Pool, policy: Policy, now: datetime) -> RunSummary:
    """Raises alerts about areas from trips and stops of the days that are not judged yet; clears and scores nothing.

    Doing it again raises nothing more. Sites that were not judged for `STALE` are left to their judgement.
    """
    begin, summary = time.monotonic(), RunSummary()
    with pool.connection() as connection:
        devices = reference.devices(connection)
        followed = {one.site_id for one in devices if one.asset_id}
        flagged: dict[str, list[Journey]] = defaultdict(list)
        for journey in journeys_of_flagged(connection, sorted(followed), now - PRESENT):
            flagged[journey.site_id].append(journey)
        series = rollups.series_of_devices(connection, [one.device_id for one in devices if one.site_id in flagged])
    heard = set.intersection(*({one.device_id for one in series if one.quantity == name} for name in _POSITION))
    references = References(pool) if flagged else None
    for site_id, journeys in flagged.items():
        assert references is not None
        _present(pool, policy, references, site_id, journeys, heard, now, summary)
    summary.seconds = round(time.monotonic() - begin, 3)
    return summary


def _present(
    pool: Pool, policy: Policy, references: References, site_id: str, journeys: Sequence[Journey], heard: Collection[str],
    now: datetime, summary: RunSummary,
) -> None:
    known = references.at(now)
    site = known.sites.get(site_id)
    if site is None:
        return
    calendar = SiteCalendar(policy.calendar, site.time_zone, known.holidays)
    tracker_of = speakers([one for one in known.devices if one.site_id == site_id], heard)
    findings = list(present_findings(journeys, tracker_of, policy.rules, calendar, now))
    if not findings:
        return
    with pool.connection() as connection:
        _lock(connection, f"score site {site_id}")
        judged = score_rows.last_evaluated(connection, site_id, now)
        if judged is None or judged < now - STALE:
            return
        reference.write_policy(connection, policy.version, policy.sha256, policy.body)
        book = _site_book(connection, site_id, calendar, policy)
        steps = (book.step(name, policy.rules[name], one, site_id, now, whole_days=False) for name, one in findings)
        raised = [step for step in steps if step is not None and step.move is Move.RAISE]
        _write_transitions(connection, policy, raised, references, summary)
    summary.sites += 1


def _chosen(today: Reference, site_ids: Sequence[str] | None) -> list[str]:
    if site_ids is None:
        return sorted(today.sites)
    missing = sorted(set(site_ids) - set(today.sites))
    if missing:
        raise InvalidInputError(f"Site {', '.join(missing)} is not in the portfolio; import it, or name a site that is.")
    return sorted(set(site_ids))


def _run(
    pool: Pool, policy: Policy, references: References, times: Mapping[str, Sequence[datetime]], now: datetime
) -> RunSummary:
    begin = time.monotonic()
    summary = RunSummary()
    with pool.connection() as connection:
        reference.write_policy(connection, policy.version, policy.sha256, policy.body)
    verified: dict[datetime, dict[str, Sequence[Verified]]] = defaultdict(dict)
    for site_id, moments in progress(times.items(), "scoring", total=len(times), unit="site"):
        if not moments:
            continue
        result = _site(pool, policy, references, site_id, moments, now, summary)
        for moment, parts in result.verified.items():
            verified[moment][site_id] = parts
    _loans(pool, policy, references, verified, now, summary)
    summary.seconds = round(time.monotonic() - begin, 3)
    return summary


def _site(
    pool: Pool,
    policy: Policy,
    references: References,
    site_id: str,
    moments: Sequence[datetime],
    now: datetime,
    summary: RunSummary,
) -> SiteResult:
    since = moments[0] - timedelta(days=HISTORY_DAYS)
    with pool.connection() as connection:
        _lock(connection, f"score site {site_id}")
        revisions = observation_revisions(connection, [site_id], since=since, until=moments[-1])
        known = references.at(moments[-1])
        zone = known.sites[site_id].time_zone if site_id in known.sites else "UTC"
        book = _site_book(connection, site_id, SiteCalendar(policy.calendar, zone, known.holidays), policy)
        judged = score_rows.last_evaluated(connection, site_id, now)
        result = evaluate_site(site_id, revisions, moments, since, references.at, policy, book, judged)
        summary.scores += score_rows.write_scores(connection, result.scores)
        _write_transitions(connection, policy, result.transitions, references, summary)
    summary.sites += 1
    summary.evaluations += len(result.scores)
    summary.unknown += result.unknown
    return result


def _book(connection: Connection, site_id: str | None = None, rule: str | None = None) -> AlertBook:
    held = alert_rows.current_alerts(connection, site_id=site_id, rule=rule)
    events = alert_rows.events_of_alerts(connection, [one.alert_id for one in held])
    return AlertBook(held, events)


def _site_book(connection: Connection, site_id: str, calendar: SiteCalendar, policy: Policy) -> AlertBook:
    """Alerts of a site; of those about areas that people cleared, what they told of and how long that went on.

    Days that were over when a person cleared an alert stay cleared.
    """
    book = _book(connection, site_id=site_id)
    for held in book.cleared_by_people(AREA_RULES.keys() & policy.rules.keys()):
        if held.tells_of is not None and held.cleared_at is not None:
            found = _told(connection, held, held.tells_of, calendar, policy.rules[held.rule])
            day_began = calendar.at_local(calendar.local_day(held.cleared_at), 0)
            book.told(held, max(found.begun_by, day_began), found.until)
    return book


def _told(connection: Connection, held: Held, tells_of: datetime, calendar: SiteCalendar, rule: RulePolicy) -> Told:
    most = _JOURNEYS
    while True:
        journeys = journeys_since(connection, held.device, tells_of, most)
        found = told(journeys, held.rule, rule, calendar, tells_of)
        if len(journeys) < most or journeys[-1].day > found.day:
            return found
        most *= 4


def _lock(connection: Connection, what: str) -> None:
    """Two runs at once judge a site one after the other."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('scoring'), hashtext(%s))", (what,))


def _loans(
    pool: Pool,
    policy: Policy,
    references: References,
    verified: Mapping[datetime, Mapping[str, Sequence[Verified]]],
    now: datetime,
    summary: RunSummary,
) -> None:
    with pool.connection() as connection:
        _lock(connection, "score loans")
        book, rule = _book(connection, rule=COVENANT_RULE), policy.rules.get(COVENANT_RULE)
        judged = coverage_rows.last_evaluated(connection, now)
        rows: list[coverage_rows.CoverageRow] = []
        steps: list[Transition] = []
        newest: dict[str, tuple[datetime, Sequence[Verified]]] = {}
        for moment in sorted(verified):
            newest |= {site_id: (moment, parts) for site_id, parts in verified[moment].items()}
            known = references.at(moment)
            sites_of: dict[str, list[str]] = defaultdict(list)
            for one in known.loan_sites:
                sites_of[one.loan_id].append(one.site_id)
            for loan_id, sites in sites_of.items():
                parts = _of_loan(sites, moment, newest)
                if loan_id not in known.loans or parts is None:
                    continue
                coverage = _cover(known, loan_id, sites, moment, parts, policy)
                rows.append(_coverage_row(coverage, known.loans[loan_id].currency, policy))
                finding = covenant_finding(coverage)
                if finding is None or rule is None or (loan_id in judged and moment <= judged[loan_id]):
                    continue
                site_id = _main_site(coverage, known, sites)
                step = book.step(COVENANT_RULE, rule, finding, site_id, moment)
                steps += [step] if step else []
        summary.coverages += coverage_rows.write_coverage(connection, rows)
        _write_transitions(connection, policy, steps, references, summary)


def _of_loan(
    sites: Sequence[str], moment: datetime, newest: Mapping[str, tuple[datetime, Sequence[Verified]]]
) -> list[Verified] | None:
    """What was verified at all sites of a loan; None unless one was judged at `moment` and all within the day before.

    Sites in other time zones reach the same hour at another moment.
    """
    held = [newest[site_id] for site_id in sites if site_id in newest and newest[site_id][0] > moment - STALE]
    if len(held) < len(sites) or all(at < moment for at, _ in held):
        return None
    return [part for _, parts in held for part in parts]


def _cover(
    known: Reference, loan_id: str, sites: Sequence[str], moment: datetime, verified: Sequence[Verified], policy: Policy
) -> Coverage:
    loan = known.loans[loan_id]
    zone = ZoneInfo(known.sites[sites[0]].time_zone) if sites[0] in known.sites else UTC
    return cover(loan, moment, moment.astimezone(zone).date(), verified, known.prices, policy.coverage)


def _coverage_row(coverage: Coverage, currency: str, policy: Policy) -> coverage_rows.CoverageRow:
    return coverage_rows.CoverageRow(
        coverage.loan_id, coverage.at, currency, coverage.outstanding, coverage.value, coverage.most, coverage.covenant,
        [asdict(line) for line in coverage.lines], policy.version,
    )


def _main_site(coverage: Coverage, known: Reference, sites: Sequence[str]) -> str:
    """The site whose things lost most of their value; the first by id where none did."""
    lost: dict[str, float] = dict.fromkeys(sorted(sites), 0.0)
    site_of = {asset.asset_id: asset.site_id for asset in known.assets}
    for line in coverage.lines:
        site_id = site_of.get(line.asset_id)
        if site_id in lost and line.share > 0:
            lost[site_id] += line.value / line.share - line.value
    return max(lost, key=lambda site_id: lost[site_id])


def _write_transitions(
    connection: Connection,
    policy: Policy,
    steps: Iterable[Transition],
    references: References,
    summary: RunSummary,
) -> None:
    written: dict[tuple[str, str], int] = {}
    for step in steps:
        key = (step.rule, step.subject_id)
        if step.move is Move.RAISE:
            written[key] = _raise(connection, policy, step, references.at(step.at))
            summary.alerts[step.rule] += 1
            continue
        alert_id = step.alert_id if step.alert_id is not None else written[key]
        _append(connection, alert_id, step)
        if step.move is Move.CLEAR:
            summary.cleared[step.rule] += 1


def _raise(connection: Connection, policy: Policy, step: Transition, known: Reference) -> int:
    alert_id = alert_rows.raise_alert(
        connection,
        alert_rows.NewAlert(
            step.rule, SubjectKind(step.subject_kind), step.subject_id, step.site_id, step.priority, step.at, policy.version,
            step.evidence,
        ),
    )
    if step.priority in NOTIFIED:
        outbox.enqueue(connection, alert_id, "log", recipients(step.site_id, known.loan_sites, known.loans))
    return alert_id


def _append(connection: Connection, alert_id: int, step: Transition) -> None:
    alert_rows.lock_alerts(connection, alert_id)
    last = alert_rows.alert_events(connection, alert_id)[-1]
    cleared = step.move is Move.CLEAR
    state = AlertState.CLEARED if cleared else AlertState.OPEN
    if state not in alert_rows.MOVES[last.state]:
        return  # a person was quicker
    reason = "back within the limits" if cleared else "shelving has expired"
    alert_rows.append_event(
        connection,
        alert_rows.AlertEvent(
            alert_id, last.sequence + 1, step.at, state, alert_rows.ENGINE, reason, None, step.evidence
        ),
    )


