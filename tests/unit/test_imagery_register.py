"""Known shifts are recovered, other places are refused, references take the middle of what the scenes say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagery.register import MAX_SHIFT_M, align

GSD_M = 0.6


def yard(seed: int, size: int = 420) -> NDArray[np.uint8]:
    """A picture with halls, roads and marks."""
    rng = np.random.default_rng(seed)
    image = rng.normal(110, 6, (size, size)).astype(np.float32)
    for _ in range(40):
        centre = tuple(float(v) for v in rng.uniform(0, size, 2))
        box = cv2.boxPoints((centre, tuple(float(v) for v in rng.uniform(6, 90, 2)), float(rng.uniform(0, 90))))
        cv2.fillPoly(image, [box.astype(np.int32)], float(rng.uniform(40, 220)))
    return np.asarray(np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 1, 255), np.uint8)


def displaced(image: NDArray[np.uint8], columns: float, rows: float) -> NDArray[np.uint8]:
    matrix = np.array([[1.0, 0.0, columns], [0.0, 1.0, rows]])
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))


@given(st.floats(-12, 12), st.floats(-11, 11), st.integers(0, 5), st.booleans())
@hypothesis_settings(max_examples=40, deadline=None)
def test_known_shifts_are_recovered(columns: float, rows: float, seed: int, other_light: bool) -> None:
    reference = yard(seed)
    moved = displaced(reference, columns, rows)
    if other_light:
        noise = np.random.default_rng(seed + 1000).normal(0, 4, moved.shape)
        moved = np.clip(moved.astype(np.float32) * 0.6 + 60 + noise, 1, 255).astype(np.uint8)
    found = align(moved, reference, GSD_M)
    assert found.aligned
    assert found.shift.east_m == pytest.approx(columns * GSD_M, abs=0.2 * GSD_M)
    assert found.shift.north_m == pytest.approx(-rows * GSD_M, abs=0.2 * GSD_M)


@pytest.mark.parametrize("seed", range(8))
def test_another_place_is_refused(seed: int) -> None:
    assert not align(yard(seed), yard(seed + 100), GSD_M).aligned


def test_what_lies_too_far_off_is_refused() -> None:
    reference = yard(1)
    far = displaced(reference, (MAX_SHIFT_M + 8) / GSD_M, 0)
    found = align(far, reference, GSD_M)
    assert not found.aligned or abs(found.shift.east_m) > MAX_SHIFT_M - 1


def test_an_empty_picture_is_refused() -> None:
    assert not align(np.zeros((200, 200), np.uint8), yard(1, 200), GSD_M).aligned
    assert not align(np.full((200, 200), 90, np.uint8), yard(1, 200), GSD_M).aligned


def test_hidden_parts_do_not_pull() -> None:
    reference = yard(3)
    moved = displaced(reference, 5, -3)
    usable = np.ones(moved.shape, np.bool_)
    moved[60:260, 40:230] = yard(77)[60:260, 40:230]
    usable[60:260, 40:230] = False
    found = align(moved, reference, GSD_M, usable)
    assert found.aligned and found.shift.east_m == pytest.approx(3.0, abs=0.15)
