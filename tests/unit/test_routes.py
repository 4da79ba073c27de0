"""Journeys: positions that cannot be, stops, the usual way and what leaves it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from collateral.errors import InvalidInputError
from iot.routes import Track, deviations, jumps, learn_way, stops, unexplained
from iot.routes_evaluate import evaluate_tracks, read_journeys


def straight(n: int = 60, step_m: float = 200.0, noise_m: float = 0.0, seed: int = 0) -> Track:
    rng = np.random.default_rng(seed)
    xy = np.column_stack([np.arange(n) * step_m, np.zeros(n)]) + rng.normal(0, noise_m, (n, 2))
    return Track(np.arange(n, dtype=np.float64) * 20.0, xy)


def test_one_wild_position_is_a_jump_and_no_deviation() -> None:
    track = straight()
    track.xy[30] += (0, 5_000)
    assert np.flatnonzero(jumps(track)).tolist() == [30]
    assert deviations(track, learn_way([straight(noise_m=5, seed=s) for s in range(4)])) == []


def test_a_wild_first_position_does_not_condemn_the_rest() -> None:
    track = straight()
    track.xy[0] += (0, 9_000)
    assert np.flatnonzero(jumps(track)).tolist() == [0]


@given(st.integers(2, 40), st.integers(3, 15), st.floats(200, 2_000), st.booleans())
def test_a_detour_is_one_deviation_found_at_its_first_position(first: int, length: int, away: float, left: bool) -> None:
    way = learn_way([straight(noise_m=8, seed=s) for s in range(4)])
    track = straight()
    reach = np.minimum(away, 40.0 * 20 * np.arange(1, length + 1))  # as fast as it can drive
    track.xy[first : first + length, 1] += np.minimum(reach, reach[::-1]) * (1 if left else -1)
    found = deviations(track, way)
    assert len(found) == 1
    assert found[0].first == first
    assert found[0].most_m == pytest.approx(float(np.minimum(reach, reach[::-1]).max()), abs=60)


def test_the_way_is_wider_where_journeys_differ() -> None:
    near = learn_way([straight(noise_m=5, seed=s) for s in range(5)])
    far = learn_way([straight(noise_m=150, seed=s) for s in range(5)])
    assert near.allowed_m < far.allowed_m


def test_stops_and_which_of_them_are_explained() -> None:
    track = straight(40)
    track.xy[10:30] = track.xy[10] + np.random.default_rng(1).normal(0, 8, (20, 2))
    found = stops(track)
    assert [(stop.first, stop.last) for stop in found] == [(10, 29)]
    assert found[0].seconds == 380
    x, y = found[0].xy
    assert unexplained(found, shapely.Point(x, y).buffer(100), []) == []
    assert unexplained(found, shapely.Point(x + 5_000, y).buffer(100), found) == []
    assert unexplained(found, shapely.Point(x + 5_000, y).buffer(100), []) == found
    assert stops(straight(40)) == []


def trips_csv(folder: Path, trips: int, latitude: float = 53.4) -> None:
    rows = ["trip_id,timestamp,latitude,longitude"]
    for trip in range(trips):
        rows += [
            f"{trip},2026-01-01 {8 + trip:02d}:{i // 3:02d}:{i % 3 * 20:02d},{latitude + i * 0.001},{-2.9 + trip * 1e-5}"
            for i in range(60)
        ]
    (folder / "trips.csv").write_text("\n".join(rows))


def test_evaluation_on_made_trips(tmp_path: Path) -> None:
    trips_csv(tmp_path, 4)
    result = evaluate_tracks(tmp_path)
    assert (result["trips"], result["false_per_100km"]) == (4, 0)
    assert result["deviations_found"] == result["deviations_injected"] == 40
    assert float(str(result["km"])) == pytest.approx(4 * 59 * 0.1113, rel=0.01)


def test_bad_trip_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no CSV"):
        read_journeys(tmp_path)
    trips_csv(tmp_path, 2)
    with pytest.raises(InvalidInputError, match="2 trips"):
        read_journeys(tmp_path)
    trips_csv(tmp_path, 4, latitude=95)
    with pytest.raises(InvalidInputError, match="not a place"):
        read_journeys(tmp_path)
    (tmp_path / "trips.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInputError, match="trip_id"):
        read_journeys(tmp_path)


def test_real_bus_trips(labelled_data: Path) -> None:
    result = evaluate_tracks(labelled_data / "telemetry" / "trajectories")
    assert result["trips"] == 16
    assert result["deviations_found"] == result["deviations_injected"]
    assert float(str(result["false_per_100km"])) <= 1
