"""GCJ-02 and BD-09: known positions, the inverse law, and what lies outside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shapely.geometry import Polygon, box

from collateral.coordinates import CoordinateSystem, from_wgs84, geometries_to_wgs84, to_wgs84

SHIFTED = [CoordinateSystem.GCJ02, CoordinateSystem.BD09]
inside = st.tuples(st.floats(73.0, 137.0), st.floats(1.5, 55.0))


def test_known_position_in_beijing() -> None:
    """The worked example that is published with every version of the formula."""
    gcj = from_wgs84(np.array([[116.404, 39.915]]), CoordinateSystem.GCJ02)[0]
    assert gcj == pytest.approx([116.41024449916938, 39.91640428150164], abs=1e-9)
    bd = from_wgs84(np.array([[116.404, 39.915]]), CoordinateSystem.BD09)[0]
    assert bd == pytest.approx([116.41662724378733, 39.922699552216216], abs=1e-9)


@pytest.mark.parametrize("system", SHIFTED)
@given(point=inside)
def test_inverse_is_exact_to_a_tenth_of_a_millimetre(system: CoordinateSystem, point: tuple[float, float]) -> None:
    wgs = np.array([point])
    back = to_wgs84(from_wgs84(wgs, system), system)
    assert np.abs(back - wgs).max() < 1e-9


@given(point=inside)
def test_the_shift_is_hundreds_of_metres(point: tuple[float, float]) -> None:
    shift = from_wgs84(np.array([point]), CoordinateSystem.GCJ02)[0] - np.array(point)
    metres = np.hypot(shift[0] * 111_320 * np.cos(np.radians(point[1])), shift[1] * 111_320)
    assert 5 < metres < 1_000


@given(point=st.tuples(st.floats(-180.0, 70.0), st.floats(-85.0, 85.0)))
def test_outside_china_gcj_changes_nothing(point: tuple[float, float]) -> None:
    here = np.array([point])
    assert np.array_equal(to_wgs84(here, CoordinateSystem.GCJ02), here)
    assert np.array_equal(from_wgs84(here, CoordinateSystem.GCJ02), here)


def test_many_points_equal_one_by_one() -> None:
    points = np.random.default_rng(3).uniform([80, 10], [130, 50], size=(200, 2))
    together = to_wgs84(points, CoordinateSystem.BD09)
    assert together.shape == (200, 2)
    assert np.allclose(together, [to_wgs84(one[None], CoordinateSystem.BD09)[0] for one in points], atol=1e-13)


def test_a_polygon_keeps_its_shape_and_holes() -> None:
    hole = box(120.601, 31.3005, 120.602, 31.301).exterior.coords
    drawn = Polygon(box(120.6, 31.3, 120.603, 31.302).exterior.coords, [hole])
    moved, nothing = geometries_to_wgs84([drawn, None], CoordinateSystem.GCJ02)
    assert nothing is None
    assert isinstance(moved, Polygon) and len(moved.interiors) == 1
    assert moved.distance(drawn) > 0.001
    assert moved.area == pytest.approx(drawn.area, rel=1e-3)
    assert geometries_to_wgs84([drawn], CoordinateSystem.WGS84) == [drawn]
