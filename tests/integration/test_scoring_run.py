"""Scoring on a real database: back-filled days, alerts, acts of officers, notices, replay."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg2
import pytest

from collateral.db import alerts, coverage, reference, scores
from collateral.db.alerts import AlertEvent
from collateral.db.clock import check_clock
from collateral.db.observations import write_observations
from collateral.db.outbox import due
from collateral.db.pool import Pool, Role, fetch_dicts
from collateral.domain import AlertState, Borrower, Loan, LoanSite, Portfolio, Price, SiteKind, SubjectKind
from collateral.errors import CollateralError, InvalidInputError, ServiceError
from scoring.notify import deliver
from scoring.replay import replay_score
from scoring.run import References, score_days, score_now
from tests.scoring_support import FIRST, POLICY, Diary, factory, local, make_asset, make_site, morning, slots_of, warehouse

ONSET = date(2026, 7, 28)
NOW = local(date(2026, 8, 20), 12)
PORTFOLIO = Portfolio(
    borrowers=(Borrower("B01", "甲", "A", "", "metal"),),
    loans=(
        Loan("L1", "B01", "East", "chen", "CNY", Decimal(900_000), Decimal(150_000), FIRST, NOW.date(), Decimal("1.3")),
        Loan("L2", "B01", "East", "wei", "CNY", Decimal(900_000), Decimal(100_000), FIRST, NOW.date(), None),
    ),
    sites=(make_site(SiteKind.FACTORY, "F1"), make_site(SiteKind.WAREHOUSE, "X01"), make_site(SiteKind.SOLAR, "S1")),
    loan_sites=(LoanSite("L1", "X01"), LoanSite("L2", "F1"), LoanSite("L2", "S1")),
    assets=(make_asset("A1"),),
    slots=slots_of("A1"),
    prices=(Price("coil", "CNY", "t", Decimal(3000), Decimal("0.25"), FIRST),),
)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    with Pool(database, Role.APP, size=3) as held:
        with held.connection() as connection:
            reference.write_portfolio(connection, PORTFOLIO, local(FIRST), "test")
        yield held


def moved(diary: Diary, site_id: str) -> Diary:
    """The diary of the support module under another site id."""
    diary.rows = [
        replace(row, site_id=site_id, subject_id=site_id if row.subject_kind is SubjectKind.SITE else row.subject_id)
        for row in diary.rows
    ]
    return diary


def load(pool: Pool, *diaries: Diary) -> None:
    with pool.connection() as connection:
        for diary in diaries:
            write_observations(connection, [row for row in diary.rows if row.known_at <= NOW])


def test_days_are_scored_once_and_alerts_raised_once(pool: Pool) -> None:
    load(
        pool, moved(factory(work=lambda day: 0.0 if day >= ONSET else 1.0), "F1"),
        warehouse(fill=lambda day: 0.5 if day >= ONSET else 1.0),
    )
    first, last = date(2026, 7, 20), date(2026, 8, 10)
    done = score_days(pool, POLICY, first, last, None, NOW)
    assert (done.sites, done.scores, done.unknown) == (3, 3 * 22, 0)
    assert dict(done.alerts) == {"production_stop": 1, "stock_removed": 1, "stock_seen_less": 1, "covenant_breach": 1}
    again = score_days(pool, POLICY, first, last, None, NOW)
    assert (again.scores, again.coverages, dict(again.alerts)) == (0, 0, {})
    with pool.connection() as connection:
        held = alerts.current_alerts(connection)
        assert {(one.rule, one.site_id, one.state) for one in held} == {
            ("production_stop", "F1", AlertState.OPEN), ("stock_removed", "X01", AlertState.OPEN),
            ("stock_seen_less", "X01", AlertState.OPEN), ("covenant_breach", "X01", AlertState.OPEN),
        }  # fmt: skip
        stop = next(one for one in held if one.rule == "production_stop")
        assert morning(ONSET) < stop.raised_at <= morning(ONSET + timedelta(days=4))
        shown = fetch_dicts(
            connection, "SELECT quantity FROM observation WHERE observation_id = ANY(%s)", (stop.evidence["observations"],)
        )
        assert {row["quantity"] for row in shown} == {"energy_kwh_per_day", "running_hours_per_day"}
        latest = {score.subject_id: score for score in scores.latest_scores(connection)}
        assert latest["S1"].grade == "U", "nothing is known of it"
        assert latest["F1"].value == 10_000 - sum(part.points for part in latest["F1"].contributions)
        history = scores.score_history(connection, SubjectKind.SITE, "F1")
        assert [score.at for score in history] == [morning(first + timedelta(days=offset)) for offset in range(22)]
        assert history[-1].value < history[0].value - 2000
        loan = {row.loan_id: row for row in coverage.latest_coverage(connection)}["L1"]
        assert loan.value == pytest.approx(0.5 * 0.965 * 100 * 3000 * 0.75, rel=0.08)


def test_a_policy_may_leave_the_covenant_out(pool: Pool) -> None:
    load(pool, warehouse(fill=lambda day: 0.5))
    policy = replace(POLICY, rules={name: row for name, row in POLICY.rules.items() if name != "covenant_breach"})
    days = (date(2026, 8, 8), date(2026, 8, 10))
    done = score_days(pool, policy, *days, None, NOW)
    assert done.coverages > 0 and "covenant_breach" not in done.alerts


def test_stored_scores_replay_bit_for_bit_and_tell_when_they_do_not(pool: Pool) -> None:
    load(pool, moved(factory(work=lambda day: 0.7 if day >= ONSET else 1.0), "F1"), warehouse())
    score_days(pool, POLICY, date(2026, 8, 5), date(2026, 8, 12), None, NOW)
    diary = moved(factory(), "F1")
    diary.day("energy_kwh_per_day", date(2026, 8, 4), 1.0, known_at=NOW, revision=3)
    load(pool, diary)  # learnt afterwards: may not change what is replayed
    references = References(pool)
    with pool.connection() as connection:
        for site_id in ("F1", "X01", "S1"):
            for stored in scores.score_history(connection, SubjectKind.SITE, site_id):
                replayed = replay_score(connection, stored, references.at)
                assert replayed.same, replayed.problems
                assert replayed.again is not None and replayed.again.contributions == stored.contributions
        tampered = replace(stored, value=stored.value - 1)
        assert not replay_score(connection, tampered, references.at).same


def test_scoring_now_takes_dirty_sites_and_the_other_sites_of_their_loans(pool: Pool) -> None:
    load(pool, moved(factory(), "F1"))
    everything = score_now(pool, POLICY, None, NOW)
    assert everything.scores == 3, "the import marked every site"
    assert score_now(pool, POLICY, None, NOW + timedelta(minutes=1)).sites == 0
    diary = moved(factory(), "F1")
    diary.rows = []
    diary.site_id = "F1"
    diary.day("energy_kwh_per_day", date(2026, 8, 19), 1.0, known_at=NOW, revision=2)
    load(pool, diary)
    with pool.connection() as connection:
        assert set(scores.dirty_sites(connection)) == {"F1"}
    assert score_now(pool, POLICY, None, NOW + timedelta(hours=1)).scores == 2  # S1 secures the same loan
    with pytest.raises(InvalidInputError, match="not in the portfolio"):
        score_now(pool, POLICY, ["F1", "nowhere"], NOW)


def test_a_site_of_which_nothing_new_comes_is_judged_again_after_a_day(pool: Pool) -> None:
    load(pool, moved(factory(), "F1"))
    first = score_now(pool, POLICY, None, NOW)
    assert score_now(pool, POLICY, None, NOW + timedelta(hours=23)).sites == 0
    later = score_now(pool, POLICY, None, NOW + timedelta(days=20))
    assert later.scores == first.scores == 3
    with pool.connection() as connection:
        history = scores.score_history(connection, SubjectKind.SITE, "F1")
    assert history[0].grade != "U" and history[-1].grade == "U", "twenty silent days are not healthy"


def test_scores_of_a_clock_that_was_ahead_do_not_hold_alerts_up(pool: Pool) -> None:
    """A year of silence about alarms otherwise: alerts move only forward."""
    load(pool, moved(factory(work=lambda day: 0.0 if day >= ONSET else 1.0), "F1"))
    wrong = score_now(pool, POLICY, None, NOW + timedelta(days=400))
    assert wrong.scores == 3 and "production_stop" not in wrong.alerts
    with pool.connection() as connection:
        assert scores.last_evaluated(connection, "F1", NOW) is None
        assert coverage.last_evaluated(connection, NOW) == {}
    assert score_now(pool, POLICY, None, NOW).alerts["production_stop"] == 1
    with pool.connection() as connection:
        assert scores.last_evaluations(connection, NOW)["F1"] == NOW


def test_a_clock_that_differs_from_the_databases_is_told(pool: Pool) -> None:
    with pool.connection() as connection:
        check_clock(connection)
        for hours, said in ((1, "60 minutes ahead of"), (-1, "60 minutes behind")):
            with pytest.raises(ServiceError, match=rf"{said} the database's .*nothing was judged"):
                check_clock(connection, datetime.now(UTC) + timedelta(hours=hours))


def test_a_site_marked_again_during_the_work_stays_dirty(pool: Pool) -> None:
    with pool.connection() as connection:
        marked = scores.dirty_sites(connection)
        scores.clean_sites(connection, {"F1": marked["F1"] - timedelta(seconds=1), "X01": marked["X01"]})
        assert set(scores.dirty_sites(connection)) == {"F1", "S1"}


def raise_one(pool: Pool) -> int:
    load(pool, moved(factory(work=lambda day: 0.0 if day >= ONSET else 1.0), "F1"))
    score_days(pool, POLICY, ONSET, ONSET + timedelta(days=4), ["F1"], NOW)
    with pool.connection() as connection:
        (held,) = alerts.current_alerts(connection, site_id="F1", rule="production_stop")
    return held.alert_id


def test_officers_act_with_name_reason_and_expiry(pool: Pool) -> None:
    alert_id = raise_one(pool)
    with pool.connection() as connection:
        wrongs: tuple[Callable[[], AlertEvent], ...] = (
            lambda: alerts.acknowledge(connection, alert_id, " ", NOW),
            lambda: alerts.shelve(connection, alert_id, "chen", NOW, "", NOW + timedelta(days=1)),
            lambda: alerts.shelve(connection, alert_id, "chen", NOW, "visit planned", NOW),
            lambda: alerts.clear(connection, alert_id, "chen", NOW, ""),
            lambda: alerts.unshelve(connection, alert_id, "chen", NOW),
            lambda: alerts.acknowledge(connection, 10_000, "chen", NOW),
        )
        for wrong in wrongs:
            with pytest.raises(InvalidInputError):
                wrong()
        alerts.acknowledge(connection, alert_id, "chen", NOW)
        with pytest.raises(InvalidInputError, match="cannot become acknowledged"):
            alerts.acknowledge(connection, alert_id, "wei", NOW)
        alerts.shelve(connection, alert_id, "chen", NOW, "visit planned", NOW + timedelta(days=1))
        alerts.clear(connection, alert_id, "chen", NOW, "visited: works again")
        assert [event.state for event in alerts.alert_events(connection, alert_id)] == [
            AlertState.OPEN, AlertState.ACKNOWLEDGED, AlertState.SHELVED, AlertState.CLEARED,
        ]  # fmt: skip
        held = alerts.alert(connection, alert_id)
        assert (held.state, held.actor, held.reason) == (AlertState.CLEARED, "chen", "visited: works again")
        assert held.evidence["figures"], "what was seen at first stays"
        acts = fetch_dicts(connection, "SELECT action FROM audit WHERE subject = %s", (f"alert:{alert_id}",))
        assert len(acts) == 3


def test_a_shelving_that_is_over_opens_the_alert_again(pool: Pool) -> None:
    alert_id = raise_one(pool)
    until = morning(ONSET + timedelta(days=6))
    with pool.connection() as connection:
        alerts.shelve(connection, alert_id, "chen", morning(ONSET + timedelta(days=4)), "visit planned", until)
    score_days(pool, POLICY, ONSET + timedelta(days=5), ONSET + timedelta(days=7), ["F1"], NOW)
    with pool.connection() as connection:
        last = alerts.alert_events(connection, alert_id)[-1]
        assert (last.state, last.actor, last.at) == (AlertState.OPEN, alerts.ENGINE, until)
        assert len(alerts.current_alerts(connection, site_id="F1", rule="production_stop")) == 1


def test_history_of_alerts_cannot_be_changed(pool: Pool, database: str) -> None:
    alert_id = raise_one(pool)
    with pool.connection() as connection, pytest.raises(psycopg2.Error, match=r"append-only|permission"):
        fetch_dicts(connection, "DELETE FROM alert_event WHERE alert_id = %s RETURNING 1", (alert_id,))
    with Pool(database, Role.APP, size=1) as other, other.connection() as connection:
        assert alerts.alert_events(connection, alert_id)


class Broken:
    """A channel that is down."""

    def send(self, notice: object) -> None:
        raise CollateralError("the mail server does not answer")


class Remembering:
    """A channel that keeps what it was given."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, notice: object) -> None:
        self.sent.append(getattr(notice, "recipient"))  # noqa: B009


def test_notices_are_tried_again_until_they_are_delivered(pool: Pool) -> None:
    raise_one(pool)
    begin = datetime.now(UTC)
    failed = deliver(pool, begin, {"log": Broken()})
    assert (failed.delivered, failed.failed) == (0, 1)
    channel = Remembering()
    assert deliver(pool, begin + timedelta(seconds=30), {"log": channel}).delivered == 0, "not due yet"
    assert deliver(pool, begin + timedelta(seconds=90), {"log": channel}).delivered == 1
    assert channel.sent == ["wei"]
    with pool.connection() as connection:
        assert due(connection, begin + timedelta(days=1)) == []


def test_a_changed_policy_needs_a_new_version(pool: Pool) -> None:
    score_now(pool, POLICY, ["S1"], NOW)
    with pytest.raises(CollateralError, match="new version"):
        score_now(pool, replace(POLICY, sha256="0" * 64), ["S1"], NOW)


def test_sites_are_not_judged_before_they_were_known(pool: Pool) -> None:
    before = FIRST - timedelta(days=2)
    done = score_days(pool, POLICY, before, before + timedelta(days=3), ["S1"], NOW)
    assert (done.scores, done.unknown) == (2, 2)
    assert score_days(pool, POLICY, NOW.date(), NOW.date() + timedelta(days=3), ["S1"], NOW).scores == 1
    with pytest.raises(InvalidInputError, match="swap"):
        score_days(pool, POLICY, date(2026, 8, 2), date(2026, 8, 1), None, NOW)
