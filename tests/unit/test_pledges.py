"""Which pledged things are the same thing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from collateral.pledges import Pledges, pledged_once, serial_key
from tests.scoring_support import FIRST, make_asset


@pytest.mark.parametrize("written", ["WR-77", "wr 77", "ＷＲ－７７", " WR_77.", "W/R77"])
def test_a_serial_is_known_however_it_is_written(written: str) -> None:
    assert serial_key(written) == "wr77"


def test_separators_between_digits_tell_serials_apart() -> None:
    assert len({serial_key(one) for one in ("WR-1-11", "WR-11-1", "WR-111")}) == 3
    assert serial_key("WR 1/11") == serial_key("wr-1-11")
    assert serial_key(" -- ") == ""


def test_things_without_a_serial_are_things_of_their_own() -> None:
    lots = [make_asset("A1", serial=""), make_asset("A2", "L2", serial=""), make_asset("A3", serial="--")]
    assert pledged_once(lots) == lots


def test_the_later_pledge_of_a_thing_is_no_second_thing() -> None:
    first = make_asset("A9", serial="WR-1")
    again = make_asset("A1", "L2", serial="wr1", pledged_on=FIRST + timedelta(days=1))
    beside = make_asset("A3", serial="WR1")  # two lots of one receipt under one loan
    assert pledged_once([again, first, beside]) == [first, beside]
    assert Pledges([first, again, beside]).before(again) == [first, beside]
    assert Pledges([first, again]).before(first) == []
