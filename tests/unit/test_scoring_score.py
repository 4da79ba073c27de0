"""Laws of the score: exact sums, the same bits, silence never pays."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collateral.domain import AssetKind, Device, Observation, Quality, Score, SiteKind
from scoring.indicators import INDICATORS, Shortfall, expected_shortfall, shortfall_at
from scoring.score import FULL, GRADES, allot, grade_of, result_digest
from tests.scoring_support import POLICY, evaluate, factory, make_asset, morning, slots_of, solar, warehouse, yard

DAY = date(2026, 8, 20)
CURVE = ((0.0, 1.0), (0.3, 0.9), (0.85, 0.0))


def score(kind: SiteKind, rows: list[Observation], day: date = DAY) -> Score:
    return evaluate(kind, rows, day, day, slots=(*slots_of("A"), yard())).scores[0]


def make(kind: SiteKind, seed: int) -> list[Observation]:
    """A year that ends well or badly, by the seed."""
    factor = [1.0, 0.75, 0.4, 0.0][seed % 4]

    def late(day: date) -> float:
        return factor if day > DAY - timedelta(days=12) else 1.0

    if kind is SiteKind.FACTORY:
        return factory(seed, work=late, reported=(lambda day: 1.0) if seed % 3 == 0 else None).rows
    if kind is SiteKind.SOLAR:
        return solar(seed, loss=lambda day: 0.5 * (1.0 - late(day))).rows
    return warehouse(seed, fill=late).rows


YEARS = {(kind, seed): make(kind, seed) for kind in SiteKind for seed in range(4)}


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(list(SiteKind)), seed=st.integers(0, 3), drop=st.randoms(use_true_random=False),
    share=st.sampled_from([0.02, 0.2, 0.6, 1.0]), reach=st.sampled_from([3, 9, 16, 23]),
)  # fmt: skip
def test_removing_evidence_never_improves_the_grade(
    kind: SiteKind, seed: int, drop: random.Random, share: float, reach: int
) -> None:
    rows = YEARS[kind, seed]
    since = morning(DAY) - timedelta(days=reach)
    kept = [row for row in rows if row.valid_from < since or drop.random() >= share]
    whole, less = score(kind, rows), score(kind, kept)
    assert less.lower <= whole.lower
    assert GRADES.index(less.grade) >= GRADES.index(whole.grade)
    assert less.support <= whole.support + 1e-12


def test_an_inverter_that_never_says_anything_is_not_left_out() -> None:
    numbers = range(1, 5)
    arrays = tuple(make_asset(f"PV{n}", kind=AssetKind.PV_ARRAY, commodity="", quantity=250.0) for n in numbers)
    meters = tuple(Device(f"I{n}", "X01", f"PV{n}", "", "borrower", ("ac_energy_total_kwh",), 900.0, "") for n in numbers)
    rows = solar(dead=lambda day: day > DAY - timedelta(days=30)).rows
    kept = [row for row in rows if row.subject_id != "PV4"]
    whole, less = (
        evaluate(SiteKind.SOLAR, part, DAY, DAY, assets=arrays, devices=meters).scores[0] for part in (rows, kept)
    )
    assert less.lower <= whole.lower and less.support < whole.support


@pytest.mark.parametrize("kind", list(SiteKind))
def test_without_any_evidence_the_grade_is_unknown_and_the_score_the_prior(kind: SiteKind) -> None:
    empty = score(kind, [])
    assert empty.grade == "U" and empty.support == 0.0
    prior = sum(row.weights.get(kind, 0.0) * row.prior for row in POLICY.indicators.values())
    assert empty.value == FULL - round(100 * prior)
    assert empty.lower == 0 and empty.upper == FULL
    assert not any(part.supported for part in empty.contributions)


@pytest.mark.parametrize(("kind", "seed"), sorted(YEARS))
def test_contributions_add_up_exactly_and_the_interval_holds_the_value(kind: SiteKind, seed: int) -> None:
    found = score(kind, YEARS[kind, seed])
    assert sum(part.points for part in found.contributions) == FULL - found.value
    assert 0 <= found.lower <= found.value <= found.upper <= FULL
    assert sum(part.weight for part in found.contributions) == pytest.approx(100.0)
    assert [part.indicator for part in found.contributions] == [
        row.key for row in INDICATORS if kind in POLICY.indicators[row.key].weights
    ]


def test_the_order_of_rows_does_not_matter_and_the_bits_are_the_same() -> None:
    rows = YEARS[SiteKind.FACTORY, 1]
    mixed = rows[:]
    random.Random(3).shuffle(mixed)
    once, again = score(SiteKind.FACTORY, rows), score(SiteKind.FACTORY, mixed)
    assert once == again
    assert once.inputs["sha256"] == result_digest(once)


def test_only_what_was_known_counts() -> None:
    rows = YEARS[SiteKind.WAREHOUSE, 3]
    before = [row for row in rows if row.known_at <= morning(DAY)]
    assert len(before) < len(rows)
    assert score(SiteKind.WAREHOUSE, rows).value == score(SiteKind.WAREHOUSE, before).value


def test_a_late_revision_changes_later_scores_only() -> None:
    diary = factory(1)
    friday, monday, tuesday = date(2026, 8, 14), date(2026, 8, 17), date(2026, 8, 18)
    before = [score(SiteKind.FACTORY, diary.rows, day).value for day in (monday, tuesday)]
    diary.day("energy_kwh_per_day", friday, 0.0, known_at=morning(tuesday) - timedelta(hours=1), revision=2)
    after = [score(SiteKind.FACTORY, diary.rows, day).value for day in (monday, tuesday)]
    assert after[0] == before[0]
    assert after[1] < before[1] - 100


def test_bad_observations_are_no_evidence_and_doubtful_ones_half() -> None:
    quality_of: dict[Quality, Score] = {}
    for quality in Quality:
        diary = factory(1)
        for back in range(1, 12):
            diary.day("energy_kwh_per_day", DAY - timedelta(days=back), 11_000.0, quality=quality, revision=2)
        quality_of[quality] = score(SiteKind.FACTORY, diary.rows)
    assert quality_of[Quality.GOOD].lower > quality_of[Quality.DOUBTFUL].lower > quality_of[Quality.BAD].lower
    bad = next(part for part in quality_of[Quality.BAD].contributions if part.indicator == "energy")
    assert not bad.supported and bad.expected_shortfall == pytest.approx(POLICY.indicators["energy"].prior)


def test_readings_of_the_borrowers_own_devices_are_less_certain_and_say_no_more() -> None:
    by_owner: dict[str, Score] = {}
    for owner in ("", "bank", "third_party", "borrower"):
        diary = factory(1)
        for back in range(1, 12):
            owners = ["bank", owner] if owner else []
            diary.day("energy_kwh_per_day", DAY - timedelta(days=back), 11_000.0, revision=2, owners=owners)
        by_owner[owner] = score(SiteKind.FACTORY, diary.rows)
    assert by_owner["bank"].lower == by_owner[""].lower
    assert by_owner["bank"].lower > by_owner["third_party"].lower > by_owner["borrower"].lower
    assert by_owner["bank"].upper >= by_owner["borrower"].upper and by_owner["bank"].support == by_owner["borrower"].support


def test_whether_both_sides_agree_does_not_rest_on_who_owns_a_device_or_on_doubt() -> None:
    found = {}
    for name, quality, owner in (("plain", Quality.GOOD, "bank"), ("doubt", Quality.DOUBTFUL, "bank"),
                                 ("owned", Quality.GOOD, "borrower")):  # fmt: skip
        rows = [
            replace(row, quality=quality, evidence={**row.evidence, "owners": [owner]})
            if row.quantity == "energy_kwh_per_day" and row.valid_from >= morning(DAY) - timedelta(days=25) else row
            for row in factory(1).rows
        ]
        parts = {part.indicator: part for part in score(SiteKind.FACTORY, rows).contributions}
        found[name] = (parts["agreement"].detail["shortfall"], parts["energy"].detail["shortfall"])
    assert found["plain"][0] == found["doubt"][0] == found["owned"][0]
    assert found["plain"][1] != found["doubt"][1] and found["plain"][1] != found["owned"][1]


def test_old_pictures_widen_the_interval() -> None:
    rows = YEARS[SiteKind.FACTORY, 0]
    since = morning(DAY) - timedelta(days=25)
    stale = [row for row in rows if row.source != "imagery" or row.valid_from < since]
    fresh, old = score(SiteKind.FACTORY, rows), score(SiteKind.FACTORY, stale)
    assert old.upper - old.lower > fresh.upper - fresh.lower


@given(st.lists(st.floats(0, 40), min_size=1, max_size=12))
def test_allotment_sums_to_the_rounded_total_and_is_off_by_less_than_one(shares: list[float]) -> None:
    points = allot(shares)
    assert sum(points) == round(sum(100 * share for share in shares)) or abs(sum(100 * s for s in shares) % 1 - 0.5) < 1e-6
    assert all(abs(point - 100 * share) < 1 + 1e-9 for point, share in zip(points, shares, strict=True))


def test_allotment_gives_the_odd_hundredth_to_the_largest_remainder() -> None:
    assert allot([0.004, 0.004, 0.002]) == [1, 0, 0]
    assert allot([0.0]) == [0]


@given(st.floats(0, 2), st.floats(0, 1), st.floats(0, 1))
def test_expected_shortfall_lies_inside_its_interval(value: float, below: float, above: float) -> None:
    found = expected_shortfall(CURVE, value, max(0.0, value - below), value + above)
    assert 0.0 <= found.lower <= found.expected <= found.upper <= 1.0


def test_expectation_feels_the_curve_where_the_best_estimate_does_not() -> None:
    assert shortfall_at(CURVE, 0.9) == 0.0
    assert expected_shortfall(CURVE, 0.9, 0.9, 0.9) == Shortfall(0.0, 0.0, 0.0)
    assert expected_shortfall(CURVE, 0.9, 0.5, 1.3).expected > 0.05


def test_grades_follow_the_lower_end_and_unknown_needs_support() -> None:
    least = dict(POLICY.grades)
    assert grade_of(round(100 * least["A"]), 1.0, POLICY) == "A"
    assert grade_of(round(100 * least["A"]) - 1, 1.0, POLICY) == "B"
    assert grade_of(0, 1.0, POLICY) == "E"
    assert grade_of(FULL, POLICY.support_floor - 0.01, POLICY) == "U"


def test_scores_know_their_time() -> None:
    found = score(SiteKind.SOLAR, YEARS[SiteKind.SOLAR, 0])
    assert isinstance(found.at, datetime) and found.at == found.known_at == morning(DAY)
