"""Kinds of columns: what they read, what they refuse, and that they read what they write."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Point, Polygon, box

from collateral.domain import SiteKind
from collateral.portfolio.kinds import (
    Amount,
    Area,
    BadValueError,
    Choice,
    Currency,
    Day,
    Flag,
    Identifier,
    Kind,
    Number,
    Text,
    Whole,
    Words,
    Zone,
)

READ: list[tuple[Kind, str, object]] = [
    (Text(), "压铸 No. 3, \"A\"", "压铸 No. 3, \"A\""),
    (Identifier(), "S-01.a_b@c", "S-01.a_b@c"),
    (Identifier(), "苏州01", "苏州01"),
    (Choice(tuple(SiteKind), SiteKind), "Factory", SiteKind.FACTORY),
    (Amount(2, 0, 1e17), "12.5", Decimal("12.50")),
    (Amount(2, 0, 1e17), "1E+3", Decimal("1000.00")),
    (Amount(2, 0, 1e17), "99999999999999999.99", Decimal("99999999999999999.99")),
    (Number(0, 1e9), "0.1", 0.1),
    (Whole(0, 99), "12.0", 12),
    (Day(), "2025-02-28", date(2025, 2, 28)),
    (Day(), "2025/2/8", date(2025, 2, 8)),
    (Flag(), "TRUE", True),
    (Flag(), "否", False),
    (Words(("a", "b", "c")), "b; a", ("b", "a")),
    (Zone(), "Asia/Shanghai", "Asia/Shanghai"),
    (Currency(), "cny", "CNY"),
    (Area(), "POLYGON ((0 0, 1 0, 1 1, 0 0))", Polygon([(0, 0), (1, 0), (1, 1)])),
]

REFUSED: list[tuple[Kind, str, str]] = [
    (Text(5), "abcdef", "Shorten it to 5"),
    (Text(), "a\x07b", "U+0007"),
    (Text(), "two\nlines", "U+000A"),
    (Identifier(), "a/b", "cannot be an id"),
    (Identifier(), "a b", "cannot be an id"),
    (Identifier(), "#", "cannot be an id"),
    (Identifier(), "-x", "cannot be an id"),
    (Identifier(), "x" * 65, "cannot be an id"),
    (Choice(("zh", "en")), "fr", "Use one of zh, en"),
    (Amount(2, 0, 100), "1,000", "without thousands separators"),
    (Amount(2, 0, 100), "12.345", "Round it to 2"),
    (Amount(2, 0, 100), "-1", "outside 0 to 100"),
    (Amount(2, 0, 100), "NaN", "finite"),
    (Amount(2, 0, 100), "Infinity", "finite"),
    (Number(0, 1), "1e999", "too large"),
    (Number(0, 1), "1.5", "outside 0 to 1"),
    (Number(0, 1), "half", "not a number"),
    (Whole(0, 9), "1.5", "Remove the fraction"),
    (Whole(0, 9), "10", "outside 0 to 9"),
    (Day(), "31.12.2025", "YYYY-MM-DD"),
    (Day(), "2025-02-29", "does not exist"),
    (Day(), "1025-02-20", "Correct the year"),
    (Day(), "45658", "not a date"),
    (Flag(), "maybe", "true or false"),
    (Words(("a", "b")), "a;x", "'x'"),
    (Words(("a", "b")), "a;a", "at most once"),
    (Words(("a", "b")), ";", "at least"),
    (Zone(), "CST", "Asia/Shanghai"),
    (Currency(), "RMB", "renminbi is CNY"),
    (Currency(), "XAU", "not a currency"),
    (Area(), "POLYGON ((0 0, 1 0", "well-known text"),
]


@pytest.mark.parametrize(("kind", "text", "value"), READ, ids=str)
def test_reads_and_reads_what_it_writes(kind: Kind, text: str, value: object) -> None:
    found = kind.parse(text)
    assert found == value and type(found) is type(value)
    assert kind.parse(kind.format(found)) == found
    assert kind.says


@pytest.mark.parametrize(("kind", "text", "reason"), REFUSED, ids=str)
def test_refuses_with_a_reason_and_a_remedy(kind: Kind, text: str, reason: str) -> None:
    with pytest.raises(BadValueError) as refused:
        kind.parse(text)
    assert reason in f"{refused.value.problem} {refused.value.remedy}"
    assert refused.value.remedy.endswith(".")


@given(st.floats(-1e12, 1e12))
def test_numbers_come_back_to_the_last_bit(value: float) -> None:
    kind = Number(-1e12, 1e12)
    assert kind.parse(kind.format(value)) == value


@given(st.decimals(0, 10**17, places=2))
def test_money_comes_back_exactly(value: Decimal) -> None:
    kind = Amount(2, 0, 1e17)
    assert kind.parse(kind.format(value)) == value


@given(st.tuples(st.floats(-179, 179), st.floats(-89, 89), st.floats(1e-6, 1), st.floats(1e-6, 1)))
def test_polygons_come_back_to_the_last_bit(corner: tuple[float, float, float, float]) -> None:
    lon, lat, width, height = corner
    shape = box(lon, lat, lon + width, lat + height)
    found = Area().parse(Area().format(shape))
    assert found.wkb == shape.wkb


def test_a_shape_that_is_no_polygon_is_left_to_the_polygon_check() -> None:
    assert Area().parse("POINT (1 2)") == Point(1, 2)
