"""The alert state machine: hysteresis, one alert per condition, shelving that ends, no rewriting of the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collateral.db.alerts import Alert, AlertEvent
from collateral.domain import AlertState, Priority, SubjectKind
from scoring.alerts import AlertBook, Held, Move, decide
from scoring.findings import Finding, Sample
from scoring.policy import RulePolicy

T0 = datetime(2026, 8, 1, 22, tzinfo=UTC)
RULE = RulePolicy(Priority.MEDIUM, raise_at=0.5, raise_count=2, clear_at=0.2, clear_count=3, fresh_days=3.0, window=5)


def day(number: float) -> datetime:
    return T0 + timedelta(days=number)


def samples(*figures: float, last: float = 0) -> tuple[Sample, ...]:
    return tuple(Sample(day(last - len(figures) + 1 + place), figure) for place, figure in enumerate(figures))


def held(state: AlertState = AlertState.OPEN, since: float = -10, until: float | None = None) -> Held:
    return Held("rule", "X", day(since), state, None if until is None else day(until))


def test_raises_only_after_enough_samples_in_a_row() -> None:
    assert decide(RULE, samples(0.9), day(0), None, None) is None
    assert decide(RULE, samples(0.9, 0.4), day(0), None, None) is None
    assert decide(RULE, samples(0.5, 0.5), day(0), None, None) is Move.RAISE


def test_old_samples_raise_nothing() -> None:
    assert decide(RULE, samples(0.9, 0.9, last=-4), day(0), None, None) is None


def test_between_the_thresholds_nothing_happens() -> None:
    assert decide(RULE, samples(0.3, 0.3, 0.3, 0.3), day(0), None, None) is None
    assert decide(RULE, samples(0.3, 0.3, 0.3, 0.3), day(0), held(), None) is None


def test_clears_after_enough_calm_samples_newer_than_the_alert() -> None:
    assert decide(RULE, samples(0.1, 0.1), day(0), held(), None) is None
    assert decide(RULE, samples(0.1, 0.1, 0.1), day(0), held(), None) is Move.CLEAR
    assert decide(RULE, samples(0.1, 0.1, 0.1, last=-11), day(0), held(), None) is None


def test_no_evidence_neither_raises_nor_clears() -> None:
    assert decide(RULE, (), day(0), None, None) is None
    assert decide(RULE, (), day(0), held(), None) is None


def test_after_an_end_only_newer_samples_raise_again() -> None:
    bad = samples(0.9, 0.9, 0.9)
    assert decide(RULE, bad, day(0), None, day(-1)) is None
    assert decide(RULE, bad, day(0), None, day(-1.5)) is Move.RAISE


def test_shelving_ends_by_itself_and_not_before() -> None:
    bad = samples(0.9, 0.9)
    assert decide(RULE, bad, day(0), held(AlertState.SHELVED, until=1), None) is None
    assert decide(RULE, bad, day(0), held(AlertState.SHELVED, until=0), None) is Move.UNSHELVE


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_never_two_alerts_at_once_and_never_a_flip_within_the_minimum_duration(figures: list[float]) -> None:
    book = AlertBook()
    steps = []
    for number in range(len(figures)):
        seen = tuple(Sample(day(place), figure) for place, figure in enumerate(figures[: number + 1]))
        step = book.step("rule", RULE, Finding(SubjectKind.SITE, "X", seen), "X", day(number))
        if step is not None:
            steps.append((number, step.move))
    moves = [move for _, move in steps]
    assert all(move is (Move.RAISE, Move.CLEAR)[place % 2] for place, move in enumerate(moves))
    for (before, _), (after, move) in pairwise(steps):
        assert after - before >= (RULE.clear_count if move is Move.CLEAR else RULE.raise_count) - 1


def stored(state: AlertState, raised: float, rule: str = "activity_decline") -> Alert:
    return Alert(
        7, rule, SubjectKind.SITE, "X", "X", Priority.MEDIUM, day(raised), "1", state, day(raised), "engine", "", None, {}
    )


def events(*steps: tuple[float, AlertState]) -> Sequence[AlertEvent]:
    return [
        AlertEvent(7, number, day(at), state, "engine", "", None) for number, (at, state) in enumerate(steps, start=1)
    ]


def test_an_acknowledged_alert_stands_and_is_not_raised_twice() -> None:
    history = events((-5, AlertState.OPEN), (-4, AlertState.ACKNOWLEDGED))
    book = AlertBook([stored(AlertState.ACKNOWLEDGED, -5, "rule")], history)
    assert book.step("rule", RULE, Finding(SubjectKind.SITE, "X", samples(0.9, 0.9)), "X", day(0)) is None
    cleared = book.step("rule", RULE, Finding(SubjectKind.SITE, "X", samples(0.1, 0.1, 0.1)), "X", day(0))
    assert cleared is not None and cleared.move is Move.CLEAR and cleared.alert_id == 7


def test_what_a_quicker_run_has_raised_since_is_not_raised_again() -> None:
    book = AlertBook([stored(AlertState.OPEN, 0.01, "rule")], events((0.01, AlertState.OPEN)))
    assert book.step("rule", RULE, Finding(SubjectKind.SITE, "X", samples(0.9, 0.9)), "X", day(0)) is None
    assert AlertBook().step("rule", RULE, Finding(SubjectKind.SITE, "X", samples(0.9, 0.9)), "X", day(0)) is not None


def test_what_the_engine_cleared_for_past_days_hides_nothing_of_the_present_one() -> None:
    stretch = Finding(SubjectKind.SITE, "X", samples(0.9, 0.9, last=0.9))
    for actor, whole_days, move in (("engine", False, Move.RAISE), ("officer", False, None), ("engine", True, None)):
        steps = [replace(one, actor=actor) for one in events((-5, AlertState.OPEN), (1, AlertState.CLEARED))]
        book = AlertBook([stored(AlertState.CLEARED, -5, "rule")], steps)
        step = book.step("rule", RULE, stretch, "X", day(1), whole_days)
        assert (step and step.move) == move, (actor, whole_days)


def test_what_goes_on_after_a_person_cleared_it_is_no_news_until_it_ends_or_a_day_was_calm() -> None:
    rule = replace(RULE, raise_count=1)
    steps = [replace(one, actor="officer") for one in events((-5, AlertState.OPEN), (-4.5, AlertState.CLEARED))]

    def move(told_until: float, *figures: float, whole_days: bool = True) -> Move | None:
        book = AlertBook([stored(AlertState.CLEARED, -5, "rule")], steps)
        (ended,) = book.cleared_by_people({"rule"})
        assert book.cleared_by_people({"other"}) == []
        book.told(ended, day(told_until - 0.5), day(told_until))
        step = book.step("rule", rule, Finding(SubjectKind.SITE, "X", samples(*figures)), "X", day(0), whole_days)
        return step.move if step else None

    assert move(9, 0.9, 0.9, 0.9, 0.9) is None
    assert move(-1, 0.9, 0.9, 0.9, 0.9) is Move.RAISE, "the day after it had ended"
    assert move(9, 0.9, 0.9, 0.2, 0.9) is Move.RAISE, "it had become calm and worse again"
    assert move(9, 0.9, 0.9, 0.3, 0.9) is None, "between the limits it is the same"
    assert move(0.4, 0.9, whole_days=False) is Move.RAISE, "a stretch that began after the end, on the same day"
    assert move(0.6, 0.9, whole_days=False) is None


def test_of_one_subject_the_last_that_a_person_cleared_is_asked_for_and_those_whose_days_were_not_over() -> None:
    def ended(number: int, raised: float, told_until: float | None) -> tuple[Alert, AlertEvent]:
        at = replace(events((raised + 0.1, AlertState.CLEARED))[0], alert_id=number, actor="officer")
        evidence = {} if told_until is None else {"told_until": day(told_until).isoformat()}
        return replace(stored(AlertState.CLEARED, raised, "rule"), alert_id=number, evidence=evidence), at

    alerts, ends = zip(ended(1, 0.0, 0.9), ended(2, 1.0, 1.9), ended(3, 1.2, None), ended(4, 1.4, None), strict=True)
    assert [one.alert_id for one in AlertBook(alerts, ends).cleared_by_people({"rule"})] == [2, 4]


def test_baselines_stand_still_only_while_a_freezing_alert_stood() -> None:
    book = AlertBook([stored(AlertState.CLEARED, -5)], events((-5, AlertState.OPEN), (-2, AlertState.CLEARED)))
    assert book.frozen_at(day(-6)) is None
    assert book.frozen_at(day(-3)) == day(-5)
    assert book.frozen_at(day(-2)) is None
    assert AlertBook([stored(AlertState.OPEN, -5, "communication_loss")], []).frozen_at(day(0)) is None


def test_evidence_carries_figures_thresholds_and_observation_ids() -> None:
    book = AlertBook()
    seen = tuple(
        replace(sample, observations=((number, 1),), facts={"inside": {"energy_kwh": 5.0}})
        for number, sample in enumerate(samples(0.7, 0.8), start=40)
    )
    step = book.step("rule", RULE, Finding(SubjectKind.SITE, "X", seen), "X", day(0))
    assert step is not None
    assert step.evidence["observations"] == [40, 41]
    assert step.evidence["inside"] == {"energy_kwh": 5.0}
    figures = step.evidence["figures"]
    assert isinstance(figures, dict) and figures["raise_at"] == 0.5
