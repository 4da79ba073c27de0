"""Pixels to map and back, and the intervals of counts, shares and areas."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from shapely.affinity import rotate
from shapely.geometry import box

from detection.consumers import measured
from detection.infer import Box
from detection.locate import locate_boxes, locate_mask, polygon_pixels
from detection.observe import estimate_area, estimate_count, estimate_share, estimate_state
from detection.weightfile import Card
from imagery.grid import GridSpec, PixelSize
from imagery.target import mask_inside, to_lonlat, to_utm

GRID = GridSpec(32651, Affine(0.2, 0, 350_000, 0, -0.2, 3_450_000), PixelSize(400, 300))


def test_boxes_get_their_place_and_those_outside_are_left_out() -> None:
    site = box(350_000, 3_449_960, 350_040, 3_450_000)
    boxes = [
        Box(10, 20, 30, 60, 0.9, "heavy", 40.0),
        Box(190, 20, 209, 30, 0.8, "car", 20.0),
        Box(195, 20, 215, 30, 0.7, "car", 20.0),
    ]
    found = locate_boxes(boxes, GRID, site)
    assert [item.confidence for item in found] == [0.9, 0.8], "the centre of the third lies outside"
    assert found[0].geometry.bounds == pytest.approx((350_002, 3_449_988, 350_006, 3_449_996))
    assert found[0].length_m == pytest.approx(8.0)
    back = to_utm(found[0].lonlat, 32651)
    assert back.symmetric_difference(found[0].geometry).area < 1e-3
    assert locate_boxes([], GRID, site) == []


def test_mask_regions_keep_area_place_and_holes() -> None:
    mask = np.zeros((300, 400), np.bool_)
    mask[50:150, 100:300] = True
    mask[80:100, 150:200] = False
    mask[200:202, 10:12] = True
    probability = np.where(mask, np.float32(0.75), np.float32(0.1)).astype(np.float32)
    found = locate_mask(mask, probability, GRID, "panel", min_area_m2=1.0)
    assert len(found) == 1, "the speck of 0.16 m2 is noise"
    assert found[0].geometry.area == pytest.approx((100 * 200 - 20 * 50) * 0.04, rel=0.01)
    assert found[0].geometry.bounds == pytest.approx((350_020, 3_449_970, 350_060, 3_449_990))
    assert found[0].confidence == pytest.approx(0.75)


@given(st.floats(0, 90), st.floats(5, 60), st.floats(5, 60))
def test_polygon_to_mask_to_polygon(degrees: float, width: float, height: float) -> None:
    shape = rotate(box(350_040 - width / 3, 3_449_970 - height / 3, 350_040 + width / 3, 3_449_970 + height / 3), degrees)
    mask = mask_inside(shape, GRID)
    (found,) = locate_mask(mask, mask.astype(np.float32), GRID, "panel", 0.0)
    clipped = shape.intersection(GRID.footprint)
    assert found.geometry.intersection(clipped).area / found.geometry.union(clipped).area > 0.9
    corners = polygon_pixels(shape, GRID)
    again = GRID.to_map(np.array(corners))
    assert len(corners) == 4 and box(*shape.bounds).buffer(1e-6).covers(box(*again.min(axis=0), *again.max(axis=0)))


def test_lonlat_round_trip() -> None:
    shape = box(350_000, 3_450_000, 350_100, 3_450_100)
    assert to_utm(to_lonlat(shape, 32651), 32651).symmetric_difference(shape).area < 1e-3


@given(st.lists(st.floats(0.5, 1.0), max_size=40), st.floats(0.5, 1.0), st.floats(0, 0.5))
def test_count_intervals_hold_the_value_and_widen_with_what_is_hidden(p: list[float], recall: float, hidden: float) -> None:
    clear, covered = estimate_count(p, recall), estimate_count(p, recall, hidden)
    assert 0 <= clear.lower <= clear.value <= clear.upper <= covered.upper + 1e-9
    assert clear.value == pytest.approx(sum(p) / recall)
    assert covered.value == clear.value


def test_seeing_nothing_is_not_certainty_and_confidence_narrows() -> None:
    assert estimate_count([], 0.8).upper > 1.0
    assert estimate_count([0.99] * 20, 0.99).upper - 20 < estimate_count([0.6] * 33, 0.99).upper - 20
    sure = estimate_count([1.0] * 10, 1.0)
    assert (sure.value, sure.lower, sure.upper) == (10, 10, 10)


def test_count_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(600):
        there = int(rng.integers(3, 40))
        hits = rng.random(there) < 0.85
        true_confidence = rng.uniform(0.7, 1.0, int(hits.sum()))
        false = rng.uniform(0.5, 0.9, rng.poisson(float((1 - true_confidence).sum())))
        found = estimate_count([*true_confidence, *false], 0.85)
        covered += found.lower <= there <= found.upper
    assert covered / 600 > 0.90


def test_shares_states_and_areas() -> None:
    share = estimate_share([0.99, 0.99, 0.01, 0.01])
    assert share.value == pytest.approx(0.5) and 0.4 < share.lower < 0.5 < share.upper < 0.6
    assert estimate_share([0.5, 0.5]).upper == 1.0
    assert estimate_state(1.0).lower == 1.0 and estimate_state(0.5).lower == 0.0
    probability = np.array([[0.9, 0.9], [0.1, 0.6]], np.float32)
    area = estimate_area(probability, 0.5, 0.04, 0.05)
    assert area.value == pytest.approx(0.12) and area.lower < area.value < area.upper
    assert estimate_area(probability, 0.5, 0.04, 0.05, 0.2).upper > area.upper


def test_figures_of_the_card_are_found_and_rendered_scenes_come_first() -> None:
    card = Card("v", "vehicles", "0" * 64, 0.15, 0.5, (1.0, 0.0), figures={
        "catslab": {"recall_iou30": 0.7}, "scenes": {"inner": {"recall_iou30": 0.9}}, "note": "x"})
    assert measured(card, "recall_iou30", 0.5) == 0.9
    assert measured(card, "accuracy", 0.5) == 0.5
