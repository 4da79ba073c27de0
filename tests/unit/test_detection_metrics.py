"""Matching, counting and calibration against small cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detection.arrays import Floats, floats
from detection.metrics import (
    FLAT,
    Counted,
    binary_scores,
    calibrate,
    calibration_error,
    fit_calibration,
    iou,
    match,
    suppress,
    unbiased_threshold,
    undecided,
    wilson,
)

LABELS = floats([[0, 0, 10, 10], [20, 0, 30, 10]])


def test_iou_by_hand() -> None:
    assert iou(floats([[0, 0, 10, 10]]), floats([[5, 0, 15, 10]]))[0, 0] == pytest.approx(50 / 150)
    assert iou(floats([[0, 0, 1, 1]]), floats([[2, 2, 3, 3]]))[0, 0] == 0


def test_each_label_is_taken_once_by_the_most_confident() -> None:
    boxes = floats([[1, 0, 11, 10], [0, 0, 10, 10], [60, 60, 70, 70]])
    assert match(boxes, floats([0.9, 0.8, 0.7]), LABELS, 0.3).tolist() == [0, -1, -1]
    assert match(boxes, floats([0.7, 0.8, 0.9]), LABELS, 0.3).tolist() == [-1, 0, -1]


def test_boxes_mostly_in_an_ignore_region_are_undecided() -> None:
    boxes = floats([[0, 0, 10, 10], [6, 0, 16, 10], [40, 40, 50, 50]])
    assert undecided(boxes, floats([[0, 0, 10, 10]])).tolist() == [True, False, False]
    assert not undecided(boxes, np.zeros((0, 4), np.float32)).any()


def test_suppression_keeps_the_strongest_of_a_heap() -> None:
    boxes = floats([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]])
    assert suppress(boxes, floats([0.5, 0.9, 0.4]), 0.45).tolist() == [1, 2]


def test_counts_add_up() -> None:
    total = Counted(1, 4, 3, 2, 1) + Counted(1, 6, 7, 4, 1)
    assert total == Counted(2, 10, 10, 6, 2)
    assert (total.precision, total.recall, total.f1, total.count_error) == pytest.approx((0.6, 0.6, 0.6, 0.2))
    assert Counted(1, 0, 0, 0, 0).f1 == 1.0 and Counted(1, 0, 2, 0, 2).precision == 0.0


def test_calibration_error_is_the_gap() -> None:
    confidence = np.full(10, 0.8, np.float32)
    right = np.array([True] * 6 + [False] * 4)
    assert calibration_error(confidence, right) == pytest.approx(0.2, abs=1e-6)
    assert calibration_error(np.zeros(0, np.float32), np.zeros(0, np.bool_)) == 0.0


def test_calibration_recovers_what_made_the_outcomes() -> None:
    rng = np.random.default_rng(3)
    raw = floats(rng.uniform(0.02, 0.98, 20_000))
    slope, intercept = 1.7, -0.6
    right = rng.random(20_000) < calibrate(raw, (slope, intercept))
    assert fit_calibration(raw, right) == pytest.approx((slope, intercept), abs=0.1)


def _f1(confidence: Floats, right: NDArray[np.bool_], objects: int, threshold: float) -> float:
    chosen = confidence >= threshold
    return float(2 * right[chosen].sum() / max(1, chosen.sum() + objects))


@given(st.lists(st.tuples(st.floats(0.05, 0.95), st.booleans()), min_size=1, max_size=40))
def test_no_threshold_beats_the_unbiased_one_by_more_than_is_flat(pairs: list[tuple[float, bool]]) -> None:
    confidence = floats([p for p, _ in pairs])
    right = np.array([r for _, r in pairs])
    objects = int(right.sum()) + 2
    best = max(_f1(confidence, right, objects, float(step)) for step in np.round(np.arange(0.05, 0.96, 0.01), 2))
    assert _f1(confidence, right, objects, unbiased_threshold([(confidence, right, objects)])) >= best - FLAT - 1e-9


def test_of_equally_good_thresholds_the_one_that_counts_right_is_taken() -> None:
    sure, false, more = np.full(4000, 0.9), np.full(8, 0.6), np.full(16, 0.3)
    confidence = np.concatenate([sure, false, more]).astype(np.float32)
    right = np.concatenate([np.ones(4000, np.bool_), np.zeros(8, np.bool_), np.arange(16) % 2 == 0])
    assert unbiased_threshold([(confidence, right, 4020)]) <= 0.3
    assert 0.3 < unbiased_threshold([(confidence, right, 4009)]) <= 0.6
    assert 0.6 < unbiased_threshold([(confidence, right, 4000)]) <= 0.9
    few = (floats([0.9, 0.9]), np.array([True, True]), 2)
    assert 0.3 < unbiased_threshold([few, (confidence, right, 4009)]) <= 0.6, "each part counts, however small"


def test_of_thresholds_that_find_the_same_the_middle_one_is_taken() -> None:
    sure = (floats([0.9, 0.9, 0.1]), np.array([True, True, False]), 2)
    assert unbiased_threshold([sure]) == pytest.approx(0.5, abs=0.02)
    assert unbiased_threshold([(floats([]), np.zeros(0, np.bool_), 5)]) == pytest.approx(0.5, abs=0.02), "nothing found"


def test_yes_no_scores_by_hand() -> None:
    scores = binary_scores(np.array([True, True, False, False]), np.array([True, False, False, False]))
    assert scores == pytest.approx(
        {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "accuracy": 0.75, "balanced_accuracy": (1 + 2 / 3) / 2}
    )


def test_wilson_interval() -> None:
    low, high = wilson(95, 100)
    assert (low, high) == pytest.approx((0.8882, 0.9785), abs=2e-3)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(103, 103)[1] == 1.0
    assert wilson(0, 103)[0] == 0.0
