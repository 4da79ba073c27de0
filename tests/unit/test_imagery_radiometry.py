"""A picture under other light is brought back; what changed on the ground stays a change."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from imagery.radiometry import UNCHANGED, fit_bands, normalise

EVERYWHERE = np.ones((160, 200), np.bool_)


def ground(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    image = np.full((160, 200, 3), 110.0)
    for _ in range(60):
        left, top = int(rng.integers(0, 190)), int(rng.integers(0, 150))
        image[top : top + int(rng.integers(8, 40)), left : left + int(rng.integers(8, 40))] = rng.uniform(50, 190, 3)
    return np.asarray(cv2.GaussianBlur(image + rng.normal(0, 3, image.shape), (0, 0), 0.7), np.uint8)


def under(image: NDArray[np.uint8], gains: list[float], offsets: list[float], seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).normal(0, 3, image.shape)
    return np.asarray(np.clip(image * np.array(gains) + np.array(offsets) + noise, 0, 255), np.uint8)


@given(st.lists(st.floats(0.6, 1.15), min_size=3, max_size=3), st.lists(st.floats(-15, 35), min_size=3, max_size=3),
       st.integers(0, 9))
@hypothesis_settings(max_examples=15, deadline=None)
def test_gain_and_offset_are_taken_back_and_goods_stay(gains: list[float], offsets: list[float], seed: int) -> None:
    reference = ground(seed)
    changed = reference.copy()
    changed[30:110, 40:130] = (205, 60, 50)  # a quarter of the window is filled with new goods
    back = normalise(under(changed, gains, offsets, seed), reference, EVERYWHERE).astype(int)
    same = np.ones(EVERYWHERE.shape, np.bool_)
    same[28:112, 38:132] = False
    assert abs(np.median(back[same] - reference[same].astype(int))) <= 2
    assert np.mean(np.abs(back[same] - reference[same])) < 9
    assert np.median(np.abs(back[40:100, 50:120] - changed[40:100, 50:120].astype(int))) < 15, "goods keep their own colour"


def test_one_band_and_the_mask() -> None:
    reference = ground(3)[..., 0]
    moved = np.clip(reference * 0.7 + 30, 0, 255).astype(np.uint8)
    moved[:, 100:] = 20  # under cloud shadow, and masked
    mask = EVERYWHERE.copy()
    mask[:, 100:] = False
    (fit,) = fit_bands(moved, reference, mask)
    assert fit.gain == pytest.approx(1 / 0.7, rel=0.04) and fit.invariant_share > 0.8
    assert np.mean(np.abs(normalise(moved, reference, mask)[:, :100].astype(int) - reference[:, :100])) < 3


def test_nothing_to_compare_changes_nothing() -> None:
    reference = ground(4)
    assert fit_bands(reference, reference, ~EVERYWHERE) == (UNCHANGED,) * 3
    assert np.array_equal(normalise(reference, reference, ~EVERYWHERE), reference)
    with pytest.raises(InvalidInputError, match="one grid"):
        normalise(reference, reference[:80], EVERYWHERE)
