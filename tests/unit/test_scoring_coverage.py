"""Coverage: verified quantity x price x (1 - haircut) against the balance."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest

from collateral.domain import Asset, AssetKind, Loan, Price, SiteKind
from scoring.coverage import Coverage, Verified, covenant_finding, cover, price_on
from tests.scoring_support import POLICY, Diary, evaluate, make_asset, morning, slots_of, yard

DAY = date(2026, 8, 20)
LOAN = Loan("L1", "B1", "Branch", "officer", "CNY", Decimal(300_000), Decimal(200_000), DAY, DAY, Decimal("1.3"))
PRICES = (
    Price("coil", "CNY", "t", Decimal(4000), Decimal("0.25"), date(2026, 1, 1)),
    Price("coil", "CNY", "t", Decimal(3000), Decimal("0.25"), date(2026, 8, 1)),
    Price("coil", "CNY", "t", Decimal(9000), Decimal("0.25"), date(2026, 9, 1)),
    Price("coil", "USD", "t", Decimal(500), Decimal("0.25"), date(2026, 8, 1)),
)


def verified(diary: Diary, *assets: Asset, with_slots: bool = True, unit: str = "t") -> list[Verified]:
    slots = slots_of("A1") if with_slots else ()
    prices = tuple(replace(price, unit=unit) for price in PRICES)
    result = evaluate(SiteKind.WAREHOUSE, diary.rows, DAY, DAY, assets=assets, slots=slots, prices=prices)
    return result.verified[morning(DAY)]


def pictures(occupied: int, age: int = 3, seen: int = 20) -> Diary:
    diary = Diary()
    for number in range(seen):
        diary.picture("slot_occupied", DAY - timedelta(days=age), float(number < occupied), 0.0, slot=f"B{number}")
    return diary


def covered(parts: list[Verified], day: date = DAY) -> Coverage:
    return cover(LOAN, morning(day), day, parts, PRICES, POLICY.coverage)


def test_occupied_slots_times_capacity_times_price() -> None:
    found = covered(verified(pictures(occupied=16), make_asset("A1")))
    assert found.lines[0].basis == "slots"
    assert found.value == pytest.approx(16 * 5 * 3000 * 0.75)
    assert found.ratio == pytest.approx(180_000 / 200_000)
    assert found.pledge_ratio == pytest.approx(200_000 / 180_000)


def test_a_picture_is_brought_forward_by_what_devices_saw_go_since() -> None:
    diary = pictures(occupied=20, age=3)
    for age, share in ((3, 0.96), (2, 0.96), (1, 0.48)):
        diary.day("tags_present_share", DAY - timedelta(days=age), share)
    (part,) = verified(diary, make_asset("A1"))
    assert part.basis == "slots" and part.share == part.most == pytest.approx(0.5)


def test_tags_stand_in_for_pictures_that_are_old_or_incomplete() -> None:
    for diary in (pictures(occupied=20, age=13), pictures(occupied=20, seen=10), Diary()):
        diary.day("tags_present_share", DAY - timedelta(days=1), 0.6)
        (part,) = verified(diary, make_asset("A1"))
        assert (part.basis, part.share) == ("tags", 0.6)


def test_a_classifier_that_cannot_decide_verifies_nothing() -> None:
    diary = Diary()
    for number in range(20):
        diary.picture("slot_occupied", DAY - timedelta(days=3), 0.45, 0.0, slot=f"B{number}")
    diary.day("tags_present_share", DAY - timedelta(days=1), 0.95)
    (part,) = verified(diary, make_asset("A1"))
    assert (part.basis, part.share, part.most) == ("tags", 0.95, 0.95)


def test_goods_on_a_yard_count_by_the_ground_they_cover_and_at_most_by_its_upper_end() -> None:
    diary = Diary()
    diary.picture("stock_cover", DAY - timedelta(days=3), 0.4, 0.1, slot="Y1")
    ground = replace(yard("A1"), capacity=200.0)
    result = evaluate(SiteKind.WAREHOUSE, diary.rows, DAY, DAY, assets=(make_asset("A1"),), slots=(ground,))
    (part,) = result.verified[morning(DAY)]
    assert (part.basis, part.share, part.most) == ("yards", pytest.approx(0.8), 1.0)
    assert len(part.observations) == 1
    old = evaluate(SiteKind.WAREHOUSE, diary.rows, DAY + timedelta(days=20), DAY + timedelta(days=20),
                   assets=(make_asset("A1"),), slots=(ground,))  # fmt: skip
    assert old.verified[morning(DAY + timedelta(days=20))][0].basis == "unverified"


def test_marked_places_do_not_stand_for_a_yard_beside_them() -> None:
    slots = (*slots_of("A1"), replace(yard("A1"), capacity=50.0))
    result = evaluate(SiteKind.WAREHOUSE, pictures(occupied=16).rows, DAY, DAY, assets=(make_asset("A1"),), slots=slots)
    assert result.verified[morning(DAY)][0].basis == "unverified"


def test_scales_stand_in_for_tags() -> None:
    diary = Diary()
    diary.day("stock_weight_kg", DAY - timedelta(days=1), 70_000.0)
    (part,) = verified(diary, make_asset("A1"))
    assert part.basis == "scales" and part.share == pytest.approx(0.7)


def test_scales_are_compared_with_all_lots_also_with_those_without_a_serial() -> None:
    diary = Diary()
    diary.day("stock_weight_kg", DAY - timedelta(days=1), 100_000.0)
    lots = make_asset("A1", serial="", quantity=300.0), make_asset("A2", serial="", quantity=100.0)
    later = make_asset("A3", serial="", quantity=1e6, pledged_on=DAY + timedelta(days=1))
    assert [part.share for part in verified(diary, *lots, later, with_slots=False)] == [pytest.approx(0.25)] * 2


@pytest.mark.parametrize(
    ("unit", "basis", "share"), [("kg", "scales", 0.7), ("吨", "scales", 0.7e-3), ("piece", "unverified", 0)]
)
def test_scales_weigh_what_is_priced_by_weight_in_its_unit(unit: str, basis: str, share: float) -> None:
    diary = Diary()
    diary.day("stock_weight_kg", DAY - timedelta(days=1), 70_000.0)
    (part,) = verified(diary, make_asset("A1", quantity=100_000.0), unit=unit)
    assert part.basis == basis and part.share == pytest.approx(share)


def test_what_nobody_can_see_counts_nothing_but_breaks_no_covenant() -> None:
    (part,) = verified(Diary(), make_asset("A1"))
    assert (part.basis, part.share, part.most) == ("unverified", 0.0, 1.0)


def test_the_later_of_two_pledges_is_worth_nothing() -> None:
    first = make_asset("A1", "L2", serial="WR-1")
    second = make_asset("A2", "L1", serial="WR-1", pledged_on=DAY - timedelta(days=3))
    future = make_asset("A3", "L1", pledged_on=DAY + timedelta(days=1))
    parts = verified(pictures(20), first, second, future)
    assert [(part.asset.asset_id, part.basis) for part in parts] == [("A1", "slots"), ("A2", "pledged elsewhere")]
    assert covered(parts).value == 0.0


def test_a_serial_written_in_another_way_is_the_same_pledge() -> None:
    first = make_asset("A1", "L2", serial="WR-1-77")
    parts = verified(pictures(20), first, make_asset("A2", serial="ｗｒ 1/77", pledged_on=DAY),
                     make_asset("A3", serial="WR-17-7", pledged_on=DAY))
    assert [part.basis for part in parts] == ["slots", "pledged elsewhere", "unverified"]


def test_appraised_assets_take_the_policys_haircut() -> None:
    machine = make_asset("M1", kind=AssetKind.MACHINE, commodity="", value=Decimal(100_000), quantity=1.0)
    assert covered(verified(Diary(), machine)).value == pytest.approx(70_000.0)


def test_the_price_that_holds_on_the_day() -> None:
    assert price_on(PRICES, "coil", "CNY", date(2026, 7, 31)) == PRICES[0]
    assert price_on(PRICES, "coil", "CNY", date(2026, 8, 1)) == PRICES[1]
    assert price_on(PRICES, "coil", "EUR", DAY) is None
    assert covered(verified(pictures(20), make_asset("A1", commodity="gold"))).value == 0.0


def test_a_covenant_is_broken_only_when_every_witness_says_so() -> None:
    diary = pictures(occupied=10)
    diary.day("tags_present_share", DAY - timedelta(days=1), 1.0)
    finding = covenant_finding(covered(verified(diary, make_asset("A1"))))
    assert finding is not None
    assert finding.samples[0].figure == pytest.approx(1 - (225_000 / 200_000) / 1.3)
    diary.day("tags_present_share", DAY - timedelta(days=1), 0.5, revision=2)
    worse = covenant_finding(covered(verified(diary, make_asset("A1"))))
    assert worse is not None and worse.samples[0].figure > finding.samples[0].figure + 0.3


def test_silence_about_the_goods_neither_breaks_a_covenant_nor_clears_its_alert() -> None:
    diary = Diary()
    diary.day("tags_present_share", DAY - timedelta(days=1), 0.3)
    large = make_asset("A1", quantity=200.0)
    gone = covenant_finding(covered(verified(diary, large, with_slots=False)))
    assert gone is not None and gone.samples[0].figure > POLICY.rules["covenant_breach"].raise_at
    assert covenant_finding(covered(verified(Diary(), large, with_slots=False))) is None
    broken = covenant_finding(covered(verified(Diary(), make_asset("A1"), with_slots=False)))
    assert broken is not None and broken.samples[0].figure > 0, "not even all of it would do"
