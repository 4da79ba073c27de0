"""What the page makes of trips and stops: whole across midnights, few enough points, a frame around what is believed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
import shapely

from collateral.db.geofences import FenceKind, Geofence
from collateral.db.journeys import Journey
from collateral.domain import AssetKind, User
from dashboard.components.tracks import MOST_ROWS, mark, tracks_body
from dashboard.model import Viewer
from dashboard.tracks import (
    MOST_MARKS,
    MOST_POINTS,
    TracksView,
    area_features,
    bounds_of,
    flag_features,
    last_day_of,
    line_features,
    merged,
    span_of,
    stop_features,
    thinned,
)
from tests.dashboard_support import words
from tests.iot_support import asset, site

MIDNIGHT = datetime(2026, 6, 1, 16, tzinfo=UTC)
"""In Shanghai."""


def journey(kind: str, begin_h: float, end_h: float, **more: Any) -> Journey:
    """Hours from MIDNIGHT; the day is that of the end."""
    ends = MIDNIGHT + timedelta(hours=end_h)
    line = None if kind == "stop" else shapely.LineString([(121.0, 31.0), (121.1, 31.0)])
    fields: dict[str, Any] = {
        "device_id": "t", "day": last_day_of(ends, "Asia/Shanghai"), "begins": MIDNIGHT + timedelta(hours=begin_h),
        "ends": ends, "kind": kind, "site_id": "S1", "asset_id": "T1", "length_m": 0.0 if kind == "stop" else 9_500.0,
        "top_km_h": None if kind == "stop" else 60.0, "lon": 121.0, "lat": 31.0,
        "lon_to": 121.0 if kind == "stop" else 121.1, "lat_to": 31.0, "place": "", "place_to": "", "line": line, "flags": (),
    }  # fmt: skip
    return Journey(**{**fields, **more})


def view(*journeys: Journey, fences: tuple[Geofence, ...] = ()) -> TracksView:
    newest = MIDNIGHT + timedelta(days=1)
    movables = [asset("T1", AssetKind.TRUCK)]
    return TracksView(site(), movables, journeys, fences, date(2026, 6, 1), date(2026, 6, 2), MIDNIGHT, newest)


def test_stops_and_trips_go_on_over_midnight_and_nothing_else_does() -> None:
    night = [journey("stop", -6, 0), journey("stop", 0.25, 8), journey("trip", 8, 9)]
    whole = merged(night)
    assert [(one.kind, (one.ends - one.begins).total_seconds() / 3600) for one in whole] == [("trip", 1.0), ("stop", 14.0)]
    moving = merged([journey("trip", -1, 0), journey("trip", 0.25, 1, lon=121.1, lon_to=121.2, top_km_h=80.0)])
    assert len(moving) == 1 and moving[0].length_m == 19_000 and moving[0].top_km_h == 80.0 and moving[0].lon_to == 121.2
    assert moving[0].line is not None and len(moving[0].line.coords) == 4
    assert len(merged([journey("stop", -6, 0), journey("stop", 0.25, 8, lon=121.5, lon_to=121.5)])) == 2, "elsewhere"
    assert len(merged([journey("stop", -20, -14), journey("stop", 0.25, 8)])) == 2, "too long silent"
    assert len(merged([journey("stop", 1, 3), journey("stop", 3.5, 8)])) == 2, "the same day"
    assert len(merged([journey("stop", -6, 0), journey("stop", 0.25, 8, device_id="u")])) == 2, "another tracker"


def test_lines_are_thinned_until_few_points_are_sent() -> None:
    random = np.random.default_rng(2)
    line = shapely.LineString(np.cumsum(random.normal(0, 0.002, (300, 2)), axis=0) + np.array([121, 31]))
    many = [journey("trip", n, n + 0.5, line=line) for n in range(100)]
    drawn = thinned(many)
    points = sum(len(one.line.coords) for one in drawn if one.line is not None)
    assert 1_000 < points <= MOST_POINTS
    assert thinned(many[:5]) == many[:5], "few stay as they are"
    sent = line_features(drawn, [""] * 100)
    assert len(sent) == 100 and sent[0]["geometry"]["type"] == "LineString"


def test_marks_are_lines_and_points_and_no_more_than_can_be_looked_at() -> None:
    stretch = {"kind": "speed", "most": 120.0, "line": [[121.0, 31.0], [121.1, 31.1]]}
    wild = {"kind": "jump", "most": 9e5, "line": [[130.0, 31.0]]}
    one = journey("trip", 1, 2, flags=(stretch, wild))
    found = flag_features([one], [["a", "b"]])
    assert [feature["geometry"]["type"] for feature in found] == ["LineString", "Point"]
    assert len(flag_features([one] * 300, [["a", "b"]] * 300)) == MOST_MARKS
    (south, west), (north, east) = bounds_of(view(one))
    assert (west, east) == pytest.approx((120.996, 121.104)) and south < 31 < north, "what cannot be is not framed"
    assert [feature["properties"]["known"] for feature in stop_features(
        [journey("stop", 1, 2), journey("stop", 1, 2, place="site")], ["", ""])] == [False, True]


def test_areas_lie_large_below_small_and_with_few_points() -> None:
    round_ = shapely.Point(121, 31).buffer(1, quad_segs=500)
    fences = tuple(
        Geofence(kind.value, "S1", "", kind, kind.value, "", date(2026, 1, 1), False, shape, 1)
        for kind, shape in ((FenceKind.REGION, round_), (FenceKind.FORBIDDEN, shapely.box(121.4, 31, 121.5, 31.1)))
    )
    said = {kind: kind for kind in ("site", "agreed", *FenceKind)}
    found = area_features(view(fences=fences), said, {one.fence_id: one.name for one in fences})
    assert [feature["properties"]["kind"] for feature in found] == ["region", "forbidden", "site"]
    assert len(found[0]["geometry"]["coordinates"][0]) <= 301


def test_days_are_those_of_the_site() -> None:
    begin, end = span_of("Asia/Shanghai", date(2026, 6, 2), 2)
    assert (begin, end) == (MIDNIGHT - timedelta(days=1), MIDNIGHT + timedelta(days=1))
    assert last_day_of(MIDNIGHT, "Asia/Shanghai") == date(2026, 6, 1), "midnight closes the day before"
    assert last_day_of(MIDNIGHT + timedelta(seconds=1), "Asia/Shanghai") == date(2026, 6, 2)


@pytest.mark.parametrize("locale", ["zh", "en"])
def test_the_table_says_what_was_found_and_an_empty_period_says_so(locale: str) -> None:
    viewer = Viewer(User("u", "U", "risk", "", locale), locale)
    flags = ({"kind": "unexplained_stop", "most": 4.5, "line": [[121.0, 31.0]]},)
    body = tracks_body(viewer, view(journey("stop", 1, 5.5, flags=flags), journey("stop", 6, 7), journey("trip", 7, 8)))
    said = words(body)
    assert mark(viewer, flags[0]) in said and viewer.t("track.trip") in said and viewer.t("tracks.km", n="9.5") in said
    assert said.count("31.000, 121.000") == 2, "the calm stop has no row"
    assert viewer.t("tracks.none") in words(tracks_body(viewer, view()))
    never = TracksView(site(), [], [], (), date(2026, 6, 1), date(2026, 6, 2), None, None)
    assert words(tracks_body(viewer, never)) == viewer.t("tracks.never")
    rows = words(tracks_body(viewer, view(*[journey("trip", n, n + 0.5) for n in range(MOST_ROWS + 50)])))
    assert rows.count(viewer.t("tracks.km_h", n="60")) == MOST_ROWS


@pytest.mark.parametrize(("kind", "most", "said"), [
    ("route_deviation", 6_700.0, "off its corridor · 6.7 km"), ("outside_region", 120.0, "outside its region · 120 m"),
    ("forbidden_area", 0.5, "in a forbidden area · 30 min"), ("speed", 131.0, "too fast · 131 km/h"),
    ("forbidden_area", 0.0, "in a forbidden area"),
])  # fmt: skip
def test_a_mark_has_its_figure_in_its_unit(kind: str, most: float, said: str) -> None:
    assert mark(Viewer(User("u", "U", "risk", "", "en"), "en"), {"kind": kind, "most": most}) == said
