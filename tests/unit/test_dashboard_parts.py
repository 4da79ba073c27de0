"""Formats, ranking and filters, choice of pictures, safe addresses, contrast: the dashboard's pure parts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import box

import dashboard
from collateral.db.scenes import SKY, ScanResult, SiteScene
from collateral.domain import SceneRecord, SiteKind
from dashboard.auth import local_path
from dashboard.figures.theme import GRADE_COLOURS
from dashboard.formats import GRADES, Formats
from dashboard.model import SiteRow
from dashboard.pictures import Sight, before_and_after, pictures, sight
from dashboard.portfolio import (
    PAGE_ROWS,
    bounds,
    choice,
    choice_from_query,
    chosen,
    grade_counts,
    page_of,
    ranked,
    to_geojson,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROW = SiteRow(
    "S1", "一号工厂", "Plant one", "factory", "Asia/Shanghai", 120.6, 31.3, "苏州精工", "Suzhou Precision", ("suzhou",),
    "B", 8123, 7000, 9000, 0.9, NOW, 0, 0, 0,
)


def test_numbers_money_and_intervals_as_people_write_them() -> None:
    zh, en = Formats("zh"), Formats("en")
    assert en.number(-1234567.891, 1) == "−1,234,567.9"
    assert [en.number(-0.4), en.percent(-0.001), en.figure(-0.004), en.figure(-0.006)] == ["0", "0%", "0.00", "−0.01"]
    assert (en.money(21_500_000.5, "CNY"), zh.money(21_500_000.5, "CNY")) == ("CNY 21,500,000", "CNY 2,150.0 万")
    assert zh.money(350_000_000, "CNY") == "CNY 3.50 亿"
    assert en.interval(7049, 9001) == "70–91", "rounded outwards: never shown narrower than it is"
    assert en.points(8123) == "81.23"
    assert [en.figure(value) for value in (0.0123, 12.34, 1234.5, None, float("nan"))] == ["0.01", "12.3", "1,234", "–", "–"]
    assert (zh.name("", "Plant"), en.name("工厂", "")) == ("Plant", "工厂")


def test_times_are_local_to_the_site_and_name_their_offset() -> None:
    f = Formats("en")
    moment = datetime(2026, 2, 28, 22, 30, tzinfo=UTC)
    assert f.moment(moment, "Asia/Shanghai") == "2026-03-01 06:30 UTC+8"
    assert f.moment(moment, "Asia/Kolkata") == "2026-03-01 04:00 UTC+5:30"
    assert f.moment(moment, "America/New_York") == "2026-02-28 17:30 UTC−5"
    assert f.day(moment, "Asia/Shanghai") == "2026-03-01"
    assert f.day(date(2027, 3, 1)) == "2027-03-01"


def test_the_worst_comes_first_and_unknown_before_all() -> None:
    rows = [
        replace(ROW, site_id="fine", grade="A", lower=9000),
        replace(ROW, site_id="unknown", grade="U", value=None, lower=None, upper=None),
        replace(ROW, site_id="weak", grade="D", lower=3600),
        replace(ROW, site_id="weaker", grade="D", lower=3500),
        replace(ROW, site_id="alarmed", grade="D", lower=4900, high=1),
    ]
    assert [row.site_id for row in ranked(rows)] == ["unknown", "alarmed", "weaker", "weak", "fine"]
    assert grade_counts(rows) == {"A": 1, "B": 0, "C": 0, "D": 3, "E": 0, "U": 1}


def test_filters_look_into_names_of_both_languages_and_combine() -> None:
    store = replace(ROW, site_id="W9", kind="warehouse", name="仓库", name_en="Store", grade="E", branches=("taicang",))
    rows = [ROW, store]
    assert chosen(rows, choice("PLANT")) == [rows[0]]
    assert chosen(rows, choice("精工", grades=["E"])) == [rows[1]]
    assert chosen(rows, choice(kind="warehouse", branch="suzhou")) == []
    assert chosen(rows, choice("w9")) == [rows[1]]
    assert list(chosen(rows, choice(kind="castle", grades=["Z"]))) == rows, "what is no kind and no grade leaves all in"


@given(
    st.text(max_size=90), st.sampled_from(["", "factory", "solar", "x"]), st.lists(st.sampled_from("ABCDEUZ")),
    st.text(max_size=20),
)
def test_a_choice_survives_its_address(text: str, kind: str, grades: list[str], branch: str) -> None:
    wanted = choice(text.replace("\x00", ""), kind, grades, branch)
    assert choice_from_query(wanted.query()) == wanted or "\ud800" <= max(text + branch, default="") <= "\udfff"


def test_pages_cover_all_rows_once_and_stay_in_range() -> None:
    rows = [replace(ROW, site_id=str(number)) for number in range(2 * PAGE_ROWS + 1)]
    shown = [row for page in range(3) for row in page_of(rows, page)[0]]
    assert shown == rows
    assert page_of(rows, 99)[1:] == (2, 3) and page_of(rows, -1)[1] == 0 and page_of([], 5) == ([], 0, 1)


def test_points_of_the_map_carry_grade_and_score() -> None:
    unknown = replace(ROW, site_id="S2", grade="U", value=None)
    features = json.loads(to_geojson([ROW, unknown]))["features"]
    assert features[0]["geometry"] == {"type": "Point", "coordinates": [120.6, 31.3]}
    assert (features[0]["properties"]["g"], features[0]["properties"]["v"]) == ("B", 81.23)
    assert features[1]["properties"]["v"] is None
    assert bounds([]) is None
    corners = bounds([ROW])
    assert corners is not None and corners[0][0] < 31.3 < corners[1][0]


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "evil", "", None, "/\n/evil"],
)
def test_addresses_of_other_servers_lead_to_the_start_page(target: str | None) -> None:
    assert local_path(target) == "/"
    assert local_path("/site/S1?x=1") == "/site/S1?x=1"


def scene(name: str, days_ago: float, *results: tuple[str, str, str]) -> SiteScene:
    """A scene with results (detector, status, reason)."""
    taken = NOW - timedelta(days=days_ago)
    record = SceneRecord(name, f"{name}.tif", "test", taken, 0.3, 32651, box(0, 0, 1, 1), "0" * 64, 1)
    found = tuple(
        ScanResult(name, "S1", detector, "0" * 64, status, reason, {"png": f"S1/{name}_{detector}.jpg"})
        for detector, status, reason in results
    )
    return SiteScene(record, taken, found)


def test_before_and_after_are_of_one_detector_and_two_months_apart() -> None:
    scenes = [
        scene(f"s{days}", days, ("vehicles", "done", ""), ("slots", "done", "")) for days in (3, 11, 30, 62, 64.5, 100)
    ]
    found = pictures(scenes, SiteKind.WAREHOUSE)
    before, after = before_and_after(found)
    assert (after and after.path, before and before.path) == ("S1/s3_slots.jpg", "S1/s62_slots.jpg")
    assert before_and_after(found[-1:]) == (None, found[-1])
    assert before_and_after([]) == (None, None)


def test_since_when_there_is_no_usable_picture() -> None:
    good, cloudy = scene("good", 30, ("vehicles", "done", "")), scene("cloudy", 4, ("vehicles", "rejected", "cloud"))
    older = scene("older", 50, ("vehicles", "rejected", "haze"))
    seen = sight([cloudy, good, older], NOW)
    assert (seen.newest, seen.refused, seen.stale) == (NOW - timedelta(days=30), {"cloud": 1}, True)
    assert sight([], NOW).newest is None
    assert not sight([scene("new", 2, ("panels", "done", ""))], NOW).stale


def test_coarse_satellite_scenes_neither_begin_nor_end_that_state() -> None:
    clear, cloudy = scene("c1", 1, (SKY, "rejected", "too_coarse")), scene("c2", 3, (SKY, "rejected", "cloud"))
    fresh, old = scene("fresh", 9, ("vehicles", "done", "")), scene("old", 40, ("vehicles", "done", ""))
    refused = scene("refused", 5, ("vehicles", "rejected", "haze"))
    assert sight([clear, cloudy, fresh], NOW).refused == {}
    assert sight([clear, cloudy, old], NOW).refused == {"too_coarse": 1, "cloud": 1} and sight([clear, old], NOW).stale
    assert sight([clear, refused, fresh], NOW).refused == {"too_coarse": 1, "haze": 1}
    assert sight([clear], NOW) == Sight(None, {"too_coarse": 1}, False)
    again = scene("c3", 1, (SKY, "rejected", "no_cloud_model"), (SKY, "rejected", "cloud"))
    assert sight([again], NOW).refused == {"cloud": 1}, "the newest word of a detector"


def test_grades_can_be_read_on_their_colour_and_told_apart_without_red_and_green() -> None:
    style = (Path(dashboard.__file__).parent / "assets" / "style.css").read_text()
    script = (Path(dashboard.__file__).parent / "assets" / "map.js").read_text()
    lightness = []
    for grade in GRADES:
        rule = re.search(rf"\.grade-{grade}, \.pin-{grade} span {{ background: (#\w+); color: (#\w+); }}", style)
        assert rule is not None
        ground, letter = rule.groups()
        assert ground == GRADE_COLOURS[grade] and f"{grade}: '{ground}'" in script, "one colour in figures, style and map"
        high, low = sorted((luminance(ground), luminance(letter)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, grade
        lightness.append(round(luminance(ground), 3))
    assert len(set(lightness)) == len(GRADES)


def luminance(colour: str) -> float:
    """Relative luminance by WCAG 2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
