"""Rules on synthetic years: what must fire fires in time, what is healthy stays quiet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from collateral.domain import Priority, Quality, SiteKind
from scoring.alerts import Move, Transition
from tests.scoring_support import LAST, Diary, days, evaluate, factory, make_asset, morning, solar, warehouse

ONSET = date(2026, 7, 28)
START = date(2026, 7, 10)


def raised(transitions: list[Transition], rule: str) -> list[Transition]:
    return [step for step in transitions if step.rule == rule and step.move is Move.RAISE]


def days_until(step: Transition, onset: date = ONSET) -> float:
    return (step.at - morning(onset)) / timedelta(days=1) + 0.25


def check_detected(transitions: list[Transition], rule: str, priority: Priority, within_days: float) -> Transition:
    found = raised(transitions, rule)
    assert len(found) == 1, f"{rule} was raised {len(found)} times"
    assert found[0].priority is priority
    assert 0 < days_until(found[0]) <= within_days
    return found[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "make"), [
    (SiteKind.FACTORY, factory), (SiteKind.SOLAR, solar), (SiteKind.WAREHOUSE, warehouse),
])  # fmt: skip
def test_healthy_sites_raise_nothing_above_low(kind: SiteKind, make: object, seed: int) -> None:
    assert callable(make)
    diary: Diary = make(seed=seed)
    result = evaluate(kind, diary.rows, date(2026, 6, 20), LAST)
    assert [step.rule for step in result.transitions if step.priority is not Priority.LOW] == []
    grades = [score.grade for score in result.scores[-40:]]
    assert set(grades) <= {"A", "B", "C"} and sum(grade in "AB" for grade in grades) >= 30


def test_holidays_and_spring_festival_raise_nothing() -> None:
    result = evaluate(SiteKind.FACTORY, factory(seed=5).rows, date(2026, 2, 5), date(2026, 3, 20))
    assert result.transitions == []


def test_slow_decline_is_told_and_does_not_become_normal() -> None:
    def work(day: date) -> float:
        return 1.0 - 0.5 * min(1.0, max(0.0, (day - ONSET).days / 30))

    result = evaluate(SiteKind.FACTORY, factory(work=work).rows, START, LAST)
    check_detected(result.transitions, "activity_decline", Priority.MEDIUM, 45)
    assert not [step for step in result.transitions if step.move is Move.CLEAR]
    assert not raised(result.transitions, "sources_disagree"), "both sides fell alike"
    assert result.scores[-1].grade > result.scores[0].grade


def test_sudden_stop_is_told_within_four_days_and_is_no_decline() -> None:
    result = evaluate(
        SiteKind.FACTORY, factory(work=lambda day: 0.0 if day >= ONSET else 1.0).rows, START, date(2026, 8, 30)
    )
    check_detected(result.transitions, "production_stop", Priority.HIGH, 4)
    assert not raised(result.transitions, "activity_decline")


def test_silence_is_not_a_stop() -> None:
    gone = [ONSET + timedelta(days=offset) for offset in range(12)]
    result = evaluate(SiteKind.FACTORY, factory(silent=lambda day: day in gone).rows, START, date(2026, 8, 30))
    assert {step.rule for step in result.transitions} == {"communication_loss"}
    check_detected(result.transitions, "communication_loss", Priority.LOW, 3)
    during = next(score for score in result.scores if score.at == morning(gone[-1]))
    before = next(score for score in result.scores if score.at == morning(ONSET))
    assert during.lower < before.lower - 2000, "silence must widen the interval"
    assert during.support < before.support


def test_resumed_production_clears_with_hysteresis() -> None:
    stopped = [ONSET + timedelta(days=offset) for offset in range(10)]
    result = evaluate(
        SiteKind.FACTORY, factory(work=lambda day: 0.0 if day in stopped else 1.0).rows, START, date(2026, 8, 30)
    )
    steps = [step for step in result.transitions if step.rule == "production_stop"]
    assert [step.move for step in steps] == [Move.RAISE, Move.CLEAR]
    assert steps[1].at > morning(stopped[-1] + timedelta(days=2)), "two good working days must be seen"


def test_replayed_sensor_while_the_yard_is_empty() -> None:
    diary = factory(work=lambda day: 0.0 if day >= ONSET else 1.0, reported=lambda day: 1.0)
    result = evaluate(SiteKind.FACTORY, diary.rows, START, LAST)
    step = check_detected(result.transitions, "sources_disagree", Priority.HIGH, 35)
    above, inside = step.evidence["above"], step.evidence["inside"]
    assert isinstance(above, dict) and isinstance(inside, dict)
    assert above["quantity"] == "vehicle_count" and inside["quantity"] == "energy_kwh_per_day"
    assert above["share_of_normal"] < 0.4 < 0.7 < inside["share_of_normal"]
    used = step.evidence["observations"]
    assert isinstance(used, list) and {above["observation_id"], inside["observation_id"]} <= set(used)
    assert not raised(result.transitions, "production_stop")


def test_a_proven_replay_needs_one_empty_picture_only() -> None:
    found = []
    for proven in (False, True):
        diary = factory(work=lambda day: 0.0 if day >= ONSET else 1.0, reported=lambda day: 1.0)
        for day in days(ONSET, LAST):
            diary.day("replayed_hours", day, 24.0 if proven else 0.0)
        found += raised(evaluate(SiteKind.FACTORY, diary.rows, START, LAST).transitions, "sources_disagree")
    late, soon = found
    assert soon.at < late.at
    assert isinstance(soon.evidence["observations"], list) and len(soon.evidence["observations"]) == 2


@pytest.mark.parametrize("recall", [0.6, 0.95])
def test_a_detector_of_other_recall_makes_no_disagreement(recall: float) -> None:
    result = evaluate(SiteKind.FACTORY, factory(seed=9, recall=recall).rows, date(2026, 6, 20), LAST)
    assert not raised(result.transitions, "sources_disagree")


def test_frozen_sensor() -> None:
    diary = factory()
    for day in days(ONSET, LAST):
        diary.day("frozen_hours", day, 24.0 if day > ONSET else 13.5, revision=2)
        diary.day("energy_kwh_per_day", day, 0.0, quality=Quality.DOUBTFUL, revision=2)
    result = evaluate(SiteKind.FACTORY, diary.rows, START, LAST)
    check_detected(result.transitions, "sensor_frozen", Priority.MEDIUM, 4)
    assert {step.rule for step in result.transitions} == {"sensor_frozen"}, "a frozen register proves no standstill"


@pytest.mark.parametrize("otherwise_good", [True, False])
def test_a_calibration_that_ended_does_not_silence_a_stop(otherwise_good: bool) -> None:
    evidence = {"calibration_expired": ["m"], "otherwise_good": otherwise_good}
    rows = [
        replace(row, quality=Quality.DOUBTFUL, evidence=evidence)
        if row.quantity in ("energy_kwh_per_day", "running_hours_per_day") and row.valid_from >= morning(ONSET) else row
        for row in factory(work=lambda day: 0.0 if day >= ONSET else 1.0).rows
    ]  # fmt: skip
    result = evaluate(SiteKind.FACTORY, rows, START, date(2026, 8, 30))
    assert bool(raised(result.transitions, "production_stop")) is otherwise_good


def test_gateway_outage_with_burst_clears_again() -> None:
    gone = [ONSET + timedelta(days=offset) for offset in range(3)]
    result = evaluate(SiteKind.WAREHOUSE, warehouse(silent=lambda day: day in gone).rows, START, date(2026, 8, 20))
    assert [(step.rule, step.move) for step in result.transitions] == [
        ("communication_loss", Move.RAISE), ("communication_loss", Move.CLEAR),
    ]  # fmt: skip


def test_panels_soiled() -> None:
    result = evaluate(
        SiteKind.SOLAR,
        solar(loss=lambda day: 0.15 * min(1.0, max(0.0, (day - ONSET).days / 21))).rows, START, LAST,
    )
    check_detected(result.transitions, "panel_soiling", Priority.MEDIUM, 30)
    assert not raised(result.transitions, "inverter_outage")


def test_dead_inverter_is_not_taken_for_dirt() -> None:
    result = evaluate(SiteKind.SOLAR, solar(dead=lambda day: day >= ONSET).rows, START, LAST)
    step = check_detected(result.transitions, "inverter_outage", Priority.MEDIUM, 5)
    assert step.subject_id == "PV4"
    assert not raised(result.transitions, "panel_soiling")


def test_stock_removed_at_night() -> None:
    result = evaluate(SiteKind.WAREHOUSE, warehouse(fill=lambda day: 0.55 if day >= ONSET else 1.0).rows, START, LAST)
    check_detected(result.transitions, "stock_removed", Priority.HIGH, 10)
    assert not [step for step in result.transitions if step.move is Move.CLEAR], "the goods did not come back"


def test_stock_that_shrinks_slowly_was_not_removed_at_night() -> None:
    def fill(day: date) -> float:
        return 1.0 - 0.3 * min(1.0, max(0.0, (day - ONSET).days / 18))

    result = evaluate(SiteKind.WAREHOUSE, warehouse(fill=fill).rows, START, LAST)
    assert not raised(result.transitions, "stock_removed")
    assert result.scores[-1].value < result.scores[0].value - 500


def test_truck_off_its_route() -> None:
    result = evaluate(SiteKind.WAREHOUSE, warehouse(stray=lambda day: day == ONSET).rows, START, date(2026, 8, 20))
    step = check_detected(result.transitions, "route_deviation", Priority.MEDIUM, 3)
    assert step.subject_id == "T1"


def test_double_pledge_names_the_later_pledge_and_ends_with_it() -> None:
    first = make_asset("A1", serial="WR-1")
    second = make_asset("A2", "L2", serial="wr 1", pledged_on=ONSET)
    result = evaluate(SiteKind.WAREHOUSE, warehouse().rows, START, date(2026, 8, 10), assets=(first, second))
    step = check_detected(result.transitions, "double_pledge", Priority.HIGH, 3)
    assert step.subject_id == "A2"
    same_loan = evaluate(
        SiteKind.WAREHOUSE, warehouse().rows, START, date(2026, 8, 10), assets=(first, make_asset("A2", serial="WR-1"))
    )
    assert not raised(same_loan.transitions, "double_pledge")
