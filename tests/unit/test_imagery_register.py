"""Known shifts, turns and stretches are recovered, other places are refused."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagery.grid import GridSpec, MapShift, PixelSize, compose
from imagery.register import MAX_SHIFT_M, Alignment, align

GSD_M = 0.6


def grid(size: int = 420) -> GridSpec:
    return GridSpec(32651, Affine(GSD_M, 0, 350_000, 0, -GSD_M, 3_450_000), PixelSize(size, size))


def aligned(picture: NDArray[np.uint8], reference: NDArray[np.uint8], usable: NDArray[np.bool_] | None = None) -> Alignment:
    return align(picture, reference, grid(reference.shape[0]), usable)


def yard(seed: int, size: int = 420) -> NDArray[np.uint8]:
    """A picture with halls, roads and marks."""
    rng = np.random.default_rng(seed)
    image = rng.normal(110, 6, (size, size)).astype(np.float32)
    for _ in range(40):
        centre = tuple(float(v) for v in rng.uniform(0, size, 2))
        box = cv2.boxPoints((centre, tuple(float(v) for v in rng.uniform(6, 90, 2)), float(rng.uniform(0, 90))))
        cv2.fillPoly(image, [box.astype(np.int32)], float(rng.uniform(40, 220)))
    return np.asarray(np.clip(cv2.GaussianBlur(image, (0, 0), 0.8), 1, 255), np.uint8)


def displaced(image: NDArray[np.uint8], shift: MapShift) -> NDArray[np.uint8]:
    """The picture as it comes when its content lies off by `shift`, turned about the grid's centre."""
    place = grid(image.shape[0])
    middle = place.to_map(np.array([[image.shape[1] / 2, image.shape[0] / 2]]))[0]
    motion = replace(shift, pivot_east_m=float(middle[0]), pivot_north_m=float(middle[1])).affine
    centres = Affine.translation(-0.5, -0.5)
    pixels = compose(centres, ~place.affine, motion, place.affine, ~centres)
    matrix = np.array(pixels[:6]).reshape(2, 3)
    return np.asarray(cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT))


def worst_px(found: Alignment, given: MapShift, size: int = 420) -> float:
    place = grid(size)
    middle = place.to_map(np.array([[size / 2, size / 2]]))[0]
    wanted = replace(given, pivot_east_m=float(middle[0]), pivot_north_m=float(middle[1]))
    corners = np.array([[0.0, 0], [size, 0], [0, size], [size, size]])
    apart = place.shifted(found.shift).to_map(corners) - place.shifted(wanted).to_map(corners)
    return float(np.hypot(*apart.T).max()) / GSD_M


@given(st.floats(-7, 7), st.floats(-6, 6), st.floats(-4, 4), st.floats(0.985, 1.015), st.integers(0, 5), st.booleans())
@hypothesis_settings(max_examples=12, deadline=None)
def test_known_motions_are_recovered(
    east: float, north: float, turn: float, scale: float, seed: int, other_light: bool
) -> None:
    reference = yard(seed)
    given_shift = MapShift(east, north, turn, scale)
    moved = displaced(reference, given_shift)
    if other_light:
        noise = np.random.default_rng(seed + 1000).normal(0, 4, moved.shape)
        moved = np.clip(moved.astype(np.float32) * 0.6 + 60 + noise, 1, 255).astype(np.uint8)
    found = aligned(moved, reference)
    assert found.aligned
    assert worst_px(found, given_shift) < 0.5


@pytest.mark.parametrize("seed", range(4))
def test_another_place_is_refused(seed: int) -> None:
    assert not aligned(yard(seed), yard(seed + 100)).aligned


def test_what_lies_too_far_off_is_refused() -> None:
    reference = yard(1)
    found = aligned(displaced(reference, MapShift(MAX_SHIFT_M + 5, 0)), reference)
    assert not found.aligned or abs(found.shift.east_m) > MAX_SHIFT_M - 1
    assert not aligned(displaced(reference, MapShift(0, 0, 12.0)), reference).aligned


def test_an_empty_picture_is_refused() -> None:
    assert not aligned(np.zeros((200, 200), np.uint8), yard(1, 200)).aligned
    assert not aligned(np.full((200, 200), 90, np.uint8), yard(1, 200)).aligned


def test_hidden_parts_do_not_pull() -> None:
    reference = yard(3)
    moved = displaced(reference, MapShift(3.0, 1.8))
    usable = np.ones(moved.shape, np.bool_)
    moved[60:260, 40:230] = yard(77)[60:260, 40:230]
    usable[60:260, 40:230] = False
    found = aligned(moved, reference, usable)
    assert found.aligned and worst_px(found, MapShift(3.0, 1.8)) < 0.5


def test_changed_parts_do_not_pull_either() -> None:
    reference = yard(5)
    moved = displaced(reference, MapShift(-1.2, 0.6, 1.0))
    moved[40:230, 60:260] = yard(78)[40:230, 60:260]
    found = aligned(moved, reference)
    assert found.aligned and worst_px(found, MapShift(-1.2, 0.6, 1.0)) < 0.6
