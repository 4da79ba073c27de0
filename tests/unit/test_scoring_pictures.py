"""What pictures add to scores and alerts: goods on open ground, panels, modules, buildings; and that old policies stand."""

from __future__ import annotations

import random
from datetime import date, timedelta
from pathlib import Path

import pytest

from collateral.domain import Contribution, Priority, SiteKind, Slot, SubjectKind
from collateral.errors import InvalidInputError
from scoring.alerts import Move, Transition
from scoring.policy import load_policy, parse_policy
from tests.scoring_support import (
    LAST,
    POLICY,
    Diary,
    evaluate,
    factory,
    goods_in_the_open,
    make_asset,
    morning,
    scene_days,
    slots_of,
    solar,
    warehouse,
    yard,
)

ONSET = date(2026, 8, 1)
START = date(2026, 7, 26)
END = date(2026, 8, 22)
OLD_POLICY = Path(__file__).parents[1] / "vectors" / "policy_2026_1.toml"
LOT = make_asset("A")


def raised(transitions: list[Transition], rule: str) -> list[Transition]:
    return [step for step in transitions if step.rule == rule and step.move is Move.RAISE]


def part(contributions: tuple[Contribution, ...], indicator: str) -> Contribution:
    return next(one for one in contributions if one.indicator == indicator)


def open_storage(after: float, seed: int = 1, vanished_m2: float = 0.0) -> Diary:
    """A place without devices whose goods stand on one yard; `after` is the factor from ONSET on."""
    diary = Diary()
    seen_before = True
    for day in scene_days():
        gone = day >= ONSET
        goods_in_the_open(diary, day, 0.6 * (after if gone else 1.0), random.Random(f"{seed} {day}"))
        if gone and seen_before and vanished_m2:
            diary.rows = [row for row in diary.rows if row.quantity != "changed_area_m2" or row.valid_from < morning(day)]
            diary.changes(day, ("stock", "vanished", vanished_m2, 0.95))
        seen_before = not gone
    return diary


@pytest.mark.parametrize(("kind", "digests"), [
    (SiteKind.FACTORY, ["6bc45ddd2f2c222f", "1bc7bfda29fb7e3e", "2bd738b28529f61d"]),
    (SiteKind.SOLAR, ["71c56639c9ae283e", "891c97d82019d55a", "a277e8c9dfc89830"]),
    (SiteKind.WAREHOUSE, ["10224f809a801e7c", "a2a9d0f2fb8365c4", "05f626fe36a73343"]),
])  # fmt: skip
def test_scores_of_the_policy_before_come_out_with_the_same_bits(kind: SiteKind, digests: list[str]) -> None:
    rows = {SiteKind.FACTORY: factory(2), SiteKind.SOLAR: solar(2), SiteKind.WAREHOUSE: warehouse(2)}[kind].rows
    slots = (*slots_of("A"), yard()) if kind is SiteKind.WAREHOUSE else ()
    found = evaluate(kind, rows, date(2026, 8, 1), date(2026, 8, 3), policy=load_policy(OLD_POLICY), slots=slots)
    assert [str(score.inputs["sha256"])[:16] for score in found.scores] == digests


@pytest.mark.parametrize("seed", range(3))
def test_pledged_goods_that_go_from_a_yard_raise_a_high_alert(seed: int) -> None:
    told = evaluate(SiteKind.WAREHOUSE, open_storage(0.35, seed).rows, START, END, assets=(LOT,), slots=(yard("A"),))
    (step,) = raised(told.transitions, "stock_seen_less")
    assert (step.priority, step.subject_kind, step.subject_id) == (Priority.HIGH, SubjectKind.SLOT, "Y1")
    assert morning(ONSET) < step.at <= morning(ONSET + timedelta(days=18))
    above = step.evidence["above"]
    assert isinstance(above, dict) and above["quantity"] == "stock_cover" and above["share_of_normal"] < 0.6
    assert not [one for one in told.transitions if one.move is Move.CLEAR], "the goods did not come back"
    early, late = told.scores[0].contributions, told.scores[-1].contributions
    assert part(late, "stock_cover").points > part(early, "stock_cover").points + 500


def test_goods_seen_to_vanish_need_no_second_picture() -> None:
    slots, assets = (yard("A"),), (LOT,)
    alone = evaluate(SiteKind.WAREHOUSE, open_storage(0.35).rows, START, END, assets=assets, slots=slots)
    witnessed = evaluate(
        SiteKind.WAREHOUSE, open_storage(0.35, vanished_m2=3500.0).rows, START, END, assets=assets, slots=slots
    )
    first, second = (raised(one.transitions, "stock_seen_less")[0] for one in (witnessed, alone))
    assert first.at <= second.at - timedelta(days=7)
    above = first.evidence["above"]
    assert isinstance(above, dict) and above["stock_vanished_m2"] == 3150.0


@pytest.mark.parametrize("seed", range(4))
def test_a_small_or_noisy_move_of_the_goods_raises_nothing(seed: int) -> None:
    rows = open_storage(0.88, seed).rows
    told = evaluate(SiteKind.WAREHOUSE, rows, START, END, assets=(LOT,), slots=(yard("A"),))
    assert raised(told.transitions, "stock_seen_less") == []


def test_goods_that_are_not_pledged_raise_nothing() -> None:
    rows = open_storage(0.2).rows
    told = evaluate(SiteKind.WAREHOUSE, rows, START, END, slots=(yard(),))
    other = evaluate(SiteKind.WAREHOUSE, rows, START, END, assets=(LOT,), slots=(*slots_of("A"), yard()))
    assert not raised(told.transitions, "stock_seen_less") and not raised(other.transitions, "stock_seen_less")


def test_marked_places_that_stand_empty_raise_it_too() -> None:
    rows = [
        row for row in warehouse(fill=lambda day: 0.5 if day >= ONSET else 1.0).rows
        if row.quantity not in ("stock_weight_kg", "tags_present_share")
    ]  # fmt: skip
    told = evaluate(SiteKind.WAREHOUSE, rows, START, END, assets=(LOT,), slots=slots_of("A"))
    (step,) = raised(told.transitions, "stock_seen_less")
    assert step.subject_id == "X01" and not raised(told.transitions, "stock_removed")


@pytest.mark.parametrize(("slots", "roofed", "counted"), [
    ((), False, {"stock_slots": 18.0, "stock_cover": 7.0}),
    ((yard(),), False, {"stock_cover": 25.0}),
    (slots_of("A"), False, {"stock_slots": 25.0}),
    ((*slots_of("A"), yard()), False, {"stock_slots": 18.0, "stock_cover": 7.0}),
])  # fmt: skip
def test_weight_goes_to_what_a_site_has_by_its_record(
    slots: tuple[Slot, ...], roofed: bool, counted: dict[str, float]
) -> None:
    for rows in (warehouse().rows, []):
        (found,) = evaluate(SiteKind.WAREHOUSE, rows, LAST, LAST, slots=slots).scores
        seen = {one.indicator: one.weight for one in found.contributions}
        assert {key: seen[key] for key in ("stock_slots", "stock_cover") if key in seen} == counted
        assert sum(seen.values()) == pytest.approx(100.0)


def test_a_yard_that_is_nearly_empty_as_usual_tells_nothing() -> None:
    diary = Diary()
    for day in scene_days():
        diary.picture("stock_cover", day, 0.05 if day < ONSET else 0.0, 0.1)
    (found,) = evaluate(SiteKind.FACTORY, diary.rows, LAST, LAST, slots=(yard(),)).scores
    assert not part(found.contributions, "stock_cover").supported


@pytest.mark.parametrize(("missing", "alerts"), [(0.12, 1), (0.07, 0)])
def test_panels_that_are_gone_raise_an_alert_beyond_their_uncertainty(missing: float, alerts: int) -> None:
    rows = [row for row in solar().rows if row.quantity != "panel_missing_share" or row.valid_from < morning(ONSET)]
    diary = Diary(rows=rows)
    for day in scene_days():
        if day >= ONSET:
            diary.picture("panel_missing_share", day, missing, 0.04)
    told = evaluate(SiteKind.SOLAR, diary.rows, START, END)
    found = raised(told.transitions, "panels_missing")
    assert len(found) == alerts
    if found:
        assert found[0].priority is Priority.HIGH
        assert part(told.scores[-1].contributions, "panels_missing").points > 150


def test_faulty_modules_of_one_flight_count_for_months() -> None:
    diary = solar()
    diary.picture("faulty_module_share", ONSET, 0.12, 0.02)
    told = evaluate(SiteKind.SOLAR, diary.rows, START, END)
    (step,) = raised(told.transitions, "modules_faulty")
    assert step.priority is Priority.MEDIUM
    shares = part(told.scores[-1].contributions, "faulty_modules")
    assert shares.supported and shares.expected_shortfall == pytest.approx(0.43, abs=0.02)
    never = evaluate(SiteKind.SOLAR, [one for one in diary.rows if one.quantity != "faulty_module_share"], LAST, LAST)
    assert not part(never.scores[0].contributions, "faulty_modules").supported


def test_a_hall_that_is_gone_is_told_and_cars_and_heaps_are_not() -> None:
    diary = factory()
    day = next(one for one in scene_days() if one >= ONSET)
    calm = evaluate(SiteKind.FACTORY, diary.rows, ONSET - timedelta(days=3), ONSET + timedelta(days=6))
    assert raised(calm.transitions, "buildings_changed") == []
    diary.rows = [row for row in diary.rows if row.quantity != "changed_area_m2" or row.valid_from < morning(day)]
    usual = [("other", "altered", 4000.0, 0.9), ("vehicles", "appeared", 20.0, 0.9)]
    diary.changes(day, ("construction", "vanished", 900.0, 0.97), ("roof", "altered", 100.0, 0.9), *usual)
    told = evaluate(SiteKind.FACTORY, diary.rows, ONSET - timedelta(days=3), ONSET + timedelta(days=6))
    (step,) = raised(told.transitions, "buildings_changed")
    above = step.evidence["above"]
    assert isinstance(above, dict) and (above["roof_m2"], above["construction_m2"]) == (65.0, 810.0)
    assert max(part(score.contributions, "buildings").points for score in told.scores) > 50


def test_a_roof_that_only_looks_different_raises_nothing_but_moves_the_score() -> None:
    diary = factory()
    day = next(one for one in scene_days() if one >= ONSET)
    diary.rows = [row for row in diary.rows if row.quantity != "changed_area_m2" or row.valid_from < morning(day)]
    before = evaluate(SiteKind.FACTORY, diary.rows, ONSET + timedelta(days=3), ONSET + timedelta(days=3)).scores[0]
    diary.changes(day, ("roof", "altered", 1800.0, 0.98))
    told = evaluate(SiteKind.FACTORY, diary.rows, ONSET + timedelta(days=3), ONSET + timedelta(days=3))
    assert raised(told.transitions, "buildings_changed") == []
    assert part(told.scores[0].contributions, "buildings").points > part(before.contributions, "buildings").points + 30


def test_changes_that_make_no_sense_are_left_out() -> None:
    diary = factory()
    listed = ["roof", {"kind": "roof"}, {"kind": "roof", "direction": "vanished", "area_m2": "much", "confidence": 1}]
    diary.picture("changed_area_m2", ONSET, 5000.0, 1.0, evidence={"changes": listed}, hour=11.0)
    diary.picture("changed_area_m2", ONSET, 5000.0, 1.0, evidence={"changes": "all"}, hour=11.5)
    told = evaluate(SiteKind.FACTORY, diary.rows, ONSET - timedelta(days=3), ONSET + timedelta(days=6))
    assert raised(told.transitions, "buildings_changed") == []


def test_an_area_that_changed_without_saying_what_is_no_evidence() -> None:
    told = {}
    for name, evidence in (("calm", {"changes": []}), ("damaged", {})):
        diary = Diary()
        diary.picture("changed_area_m2", ONSET, 0.0 if name == "calm" else 5000.0, 1.0, evidence=evidence)
        score = evaluate(SiteKind.FACTORY, diary.rows, ONSET + timedelta(days=2), ONSET + timedelta(days=2)).scores[0]
        told[name] = part(score.contributions, "buildings")
    assert told["calm"].supported and not told["damaged"].supported
    assert told["calm"].points < told["damaged"].points


def test_weight_falls_only_to_indicators_that_exist() -> None:
    with pytest.raises(InvalidInputError, match="falls to 'cars'"):
        parse_policy(POLICY.body.replace('factory = "vehicles"', 'factory = "cars"', 1))
