"""A tracker's day as trips, stops and silences: cut where it stood or was silent, marked where it is not as it should be."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely

from collateral.db.journeys import Journey
from iot.areas import Areas
from iot.journeys import MOST_FLAGS, MOST_POINTS, Past, Tracker, journeys_of_day, thinned, worst
from iot.signals import Signal
from iot.tracks import day_track, forbidden_hours, outside_region
from tests.unit.test_tracks_days import BEGIN, HOME, STEP, Floats, areas, metres, positions, tracker

TRACKER = Tracker("t", "S1", "T1", STEP / 1e6, 32651)
NOTHING_KNOWN = Past(np.empty((0, 2)), None, False)
WEEKS = Past(np.array([HOME, (HOME[0] + 40_000, HOME[1])]), None, True)
DAY = date(2024, 6, 1)


def made(
    xy: Floats, held: Areas | None = None, past: Past = NOTHING_KNOWN, keep: Sequence[bool] | None = None, **more: Floats
) -> list[Journey]:
    times = BEGIN + np.arange(1, len(xy) + 1, dtype=np.int64) * STEP
    chosen = np.ones(len(xy), bool) if keep is None else np.asarray(keep)
    signals = {name: Signal("t", name, STEP, times, value, times) for name, value in more.items()}
    track = day_track(times[chosen], xy[chosen])
    return journeys_of_day(
        TRACKER, DAY, track, held or areas()(0), past, signals.get("speed_km_h"), signals.get("engine_on")
    )


def marks(journeys: Sequence[Journey], kind: str) -> list[dict[str, Any]]:
    return [dict(flag) for one in journeys for flag in one.flags if flag["kind"] == kind]


def test_a_day_is_stops_and_the_trips_between_them_without_a_gap() -> None:
    found = made(positions(1))
    assert [one.kind for one in found] == ["stop", "trip", "stop", "trip", "stop"]
    assert all(one.ends == other.begins for one, other in pairwise(found))
    assert [one.place for one in found if one.kind == "stop"] == ["site", "", "site"]
    out = found[1]
    assert out.length_m == pytest.approx(40_000, rel=0.01) and out.top_km_h == pytest.approx(40, rel=0.05)
    assert out.line is not None and len(out.line.coords) < 10, "a straight road needs few points"
    assert not any(one.flags for one in found)


def test_the_stretch_off_the_corridor_is_marked_with_its_place_and_the_positions_beside_it() -> None:
    xy = positions(1)
    xy[88:92] += (0, 3_000)
    found = made(xy, areas(corridor=metres(-500, -500, 40_500, 500), region=metres(-900, -900, 41_000, 2_000))(0))
    (off,), (out,) = marks(found, "route_deviation"), marks(found, "outside_region")
    assert off["most"] == pytest.approx(2_500, abs=30) and out["most"] == pytest.approx(1_000, abs=30)
    assert len(off["line"]) >= 4 and off["from"] < off["to"]
    assert out["sure"] == pytest.approx(1_000, abs=30)
    assert len(marks(made(xy, past=WEEKS), "route_deviation")) == 0, "no corridor, no deviation from it"


def test_leaving_the_region_is_marked_however_often_the_way_was_left_before() -> None:
    number = np.arange(288)
    xy = np.column_stack([HOME[0] + 1_000.0 * number, HOME[1] + 3_000.0 * (number % 2)])
    held = areas(corridor=metres(-500, -500, 400_000, 500), region=metres(-500, -500, 280_000, 4_000))(0)
    (trip,) = made(xy, held)
    (out,) = marks([trip], "outside_region")
    assert out["sure"] == pytest.approx(6_000, abs=30) and len(trip.flags) == MOST_FLAGS
    flags = [{"kind": str(n), **({"sure": float(n)} if n % 3 else {})} for n in range(12)]
    assert [flag["kind"] for flag in worst(flags, 4)] == ["7", "8", "10", "11"] and worst(flags, 20) == flags
    assert [flag["kind"] for flag in worst(flags, 9)] == ["0", "1", "2", "4", "5", "7", "8", "10", "11"]
    metres_and_hours = [{"kind": "outside_region", "sure": 60.0 + n} for n in range(20)] + [{"kind": "inside", "sure": 6.0}]
    assert [flag["kind"] for flag in worst(metres_and_hours, 2)] == ["outside_region", "inside"], "each in its own unit"


def test_a_lone_position_is_not_sure_but_judged_as_the_day_observes_it() -> None:
    xy = positions(1)
    xy[150] += (9_000, 0)
    xy[287] += (0, 3_000)
    held = areas(forbidden=metres(8_500, -500, 9_500, 500), region=metres(-500, -500, 41_000, 500))
    found = made(xy, held(0))
    passing = forbidden_hours(tracker(positions(1)), held).value[0]
    inside = [one for one in marks(found, "forbidden_area") if one["from"][11:13] == "12"]
    out = marks(found, "outside_region")
    assert [one["sure"] for one in (*inside, *out)] == [0.0, 0.0]
    assert inside[0]["judged"] == pytest.approx(forbidden_hours(tracker(xy), held).value[0] - passing, abs=1e-3)
    assert out[0]["judged"] == pytest.approx(outside_region(tracker(xy), held).value[0], abs=0.1)


def test_a_wild_position_is_marked_and_moves_nothing() -> None:
    xy = positions(1)
    sound = made(xy)
    xy[20] += (0, 90_000)
    found = made(xy)
    (wild,) = marks(found, "jump")
    assert wild["most"] == pytest.approx(90_000, rel=0.01) and len(wild["line"]) == 1
    assert [(one.kind, one.begins, one.ends, one.length_m) for one in found] == [
        (one.kind, one.begins, one.ends, one.length_m) for one in sound
    ]


def test_stops_at_unknown_places_are_marked_only_when_the_weeks_before_are_known() -> None:
    xy = positions(1)
    xy[150:170] = (HOME[0] + 9_000, HOME[1] + 200)
    assert marks(made(xy), "unexplained_stop") == []
    (strange,) = marks(made(xy, past=WEEKS), "unexplained_stop")
    assert strange["most"] == pytest.approx(19 * 5 / 60, abs=0.01) and len(strange["line"]) == 1
    again = Past(np.array([*WEEKS.stood, (HOME[0] + 9_050, HOME[1] + 200)]), None, True)
    assert marks(made(xy, past=again), "unexplained_stop") == []


def test_silence_while_moving_is_told_and_silence_while_parked_is_not() -> None:
    keep = np.ones(288, bool)
    keep[86:92] = False  # on the way out
    keep[200:260] = False  # parked
    found = made(positions(1), keep=keep.tolist())
    assert [one.kind for one in found] == ["stop", "trip", "silence", "trip", "stop", "trip", "stop"]
    silence = found[2]
    assert (silence.ends - silence.begins).total_seconds() == 2_100
    assert silence.length_m == pytest.approx(23_300, rel=0.02) and silence.line is not None


def test_speed_forbidden_areas_and_towing_are_marked() -> None:
    xy = positions(1)
    slow = np.zeros(288)
    fast = slow.copy()
    fast[90] = 131.0
    off = np.zeros(288)
    found = made(xy, areas(forbidden=metres(39_000, -500, 41_000, 500))(0), speed_km_h=fast, engine_on=off)
    assert [flag["most"] for flag in marks(found, "speed")] == [131.0]
    assert sum(flag["most"] for flag in marks(found, "forbidden_area")) == pytest.approx(1.0, abs=0.15)
    assert sum(flag["sure"] for flag in marks(found, "forbidden_area")) == pytest.approx(1.0, abs=0.15)
    there = np.flatnonzero(xy[:, 0] - HOME[0] > 39_000)
    asleep = made(xy, areas(forbidden=metres(39_000, -500, 41_000, 500))(0), keep=[n not in there[2:-2] for n in range(288)])
    inside = marks(asleep, "forbidden_area")
    assert sum(flag["sure"] for flag in inside) < sum(flag["most"] for flag in inside) - 0.2, "two intervals at most"
    assert sum(flag["most"] for flag in marks(found, "moved_engine_off")) == pytest.approx(80_000, rel=0.03)
    assert len(marks(made(xy, speed_km_h=slow), "contradicted")) == 2, "out and back"


def test_lines_stay_short_and_near() -> None:
    random = np.random.default_rng(5)
    xy = np.cumsum(random.normal(0, 300, (5_000, 2)), axis=0)
    thin = thinned(xy, MOST_POINTS)
    assert 2 <= len(thin) <= MOST_POINTS
    assert (thin[0] == xy[0]).all() and (thin[-1] == xy[-1]).all()
    assert shapely.hausdorff_distance(shapely.LineString(thin), shapely.LineString(xy)) < 6_000
    assert len(thinned(xy[:1], 10)) == 1 and len(thinned(xy[:2], 10)) == 2
    assert made(np.empty((0, 2))) == []
