"""Turned rectangles and heat maps: there and back again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detection import heatmap
from detection.arrays import Floats, floats
from detection.models.vehicles import VehicleMaps
from detection.orient import bounds, corners, orient_boxes


def _angle_gap(a: float, b: float) -> float:
    return abs((a - b + np.pi / 2) % np.pi - np.pi / 2)


def _picture(oriented: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = np.full((160, 160, 3), 120, np.uint8)
    for points in corners(oriented):
        cv2.fillPoly(image, [np.round(points).astype(np.int32)], (230, 230, 230))
    return cv2.GaussianBlur(image, (0, 0), 0.8).astype(np.uint8)


@pytest.mark.parametrize("degrees", [0, 25, 40, 65, 90, 115, 140, 160])
def test_box_and_picture_give_the_turned_rectangle(degrees: int) -> None:
    true = floats([[80, 80, 4.5 / 0.1, 1.85 / 0.1, np.deg2rad(degrees)]])
    found = orient_boxes(_picture(true), bounds(corners(true)), 0.1)
    assert found[0, 2] == pytest.approx(true[0, 2], rel=0.04)
    assert _angle_gap(float(found[0, 4]), float(true[0, 4])) < np.deg2rad(4)


def test_cut_boxes_are_taken_as_parallel_to_the_border() -> None:
    found = orient_boxes(np.zeros((50, 50, 3), np.uint8), floats([[0, 10, 30, 30]]), 0.1)
    assert found[0].tolist() == [15, 20, 30, 20, 0]
    assert orient_boxes(np.zeros((5, 5, 3), np.uint8), np.zeros((0, 4), np.float32), 0.1).shape == (0, 5)


@given(st.floats(-3.1, 3.1), st.floats(10, 60), st.floats(4, 9))
def test_bounds_hold_the_rectangle(heading: float, length: float, width: float) -> None:
    box = bounds(corners(floats([[0, 0, length, width, heading]])))[0]
    c, s = abs(np.cos(heading)), abs(np.sin(heading))
    assert box[2] - box[0] == pytest.approx(length * c + width * s, rel=1e-4)
    assert box[3] - box[1] == pytest.approx(length * s + width * c, rel=1e-4)


def test_targets_decode_to_the_boxes_they_came_from() -> None:
    boxes = floats([[20, 30, 51, 42], [100, 60, 112, 90], [60, 100, 150, 125]])
    shape = floats([[31, 0.1], [30, 1.5], [np.nan, -0.4]])
    target = torch.from_numpy(heatmap.encode(boxes, shape, np.zeros((0, 4), np.float32), 256))[None]
    raw = torch.logit(target[:, 0:1].clamp(1e-4, 1 - 1e-4))
    (peaks,) = heatmap.decode(VehicleMaps(raw, target[:, 3:5], target[:, 5:7], target[:, 7:8], target[:, 8:10]), 0.5)
    order = np.argsort(peaks.boxes[:, 0])
    assert peaks.boxes[order] == pytest.approx(boxes[np.argsort(boxes[:, 0])], abs=0.05)
    nearest = int(np.argmin(np.abs(peaks.boxes[:, 0] - 20)))
    assert peaks.length[nearest] == pytest.approx(31, rel=1e-3)
    assert _angle_gap(float(peaks.heading[nearest]), 0.1) < 1e-3


def test_ignored_regions_have_no_weight_but_vehicles_in_them_do() -> None:
    ignore = floats([[100, 100, 140, 140]])
    empty = np.zeros((0, 4), np.float32)
    target = heatmap.encode(empty, np.zeros((0, 2), np.float32), ignore, 256)
    assert target[1, 25:35, 25:35].max() == 0 and target[1].sum() == 64 * 64 - 100
    target = heatmap.encode(floats([[110, 110, 130, 130]]), floats([[20, 0]]), ignore, 256)
    assert target[1, 30, 30] == 1


def test_loss_falls_towards_the_target_and_skips_unknown_lengths() -> None:
    boxes, shape = floats([[20, 30, 51, 42]]), floats([[np.nan, 0.1]])
    target = torch.from_numpy(heatmap.encode(boxes, shape, np.zeros((0, 4), np.float32), 64))[None]
    raw = torch.logit(target[:, 0:1].clamp(1e-4, 1 - 1e-4))
    good = VehicleMaps(raw, target[:, 3:5], target[:, 5:7], torch.zeros_like(raw), target[:, 8:10])
    bad = VehicleMaps(torch.zeros_like(raw), target[:, 3:5] + 1, target[:, 5:7], torch.zeros_like(raw), target[:, 8:10])
    low, high = heatmap.loss(good, target)[0], heatmap.loss(bad, target)[0]
    assert torch.isfinite(low) and low < 0.05 * high
