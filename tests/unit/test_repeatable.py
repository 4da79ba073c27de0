"""The same pictures give the same bits, wherever in memory they happen to lie: a figure can be repeated by an auditor."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from detection.change_maps import change_maps
from imagery.grid import GridSpec, PixelSize
from imagery.register import align
from imagery.vectors import length

SIZE = 112
GRID = GridSpec(32651, Affine(0.6, 0, 350_000, 0, -0.6, 3_450_000), PixelSize(SIZE, SIZE))
RUNS = 20


def pictures(bands: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rows x columns x bands: a place with halls and roads, and the same place noisier and a few pixels off."""
    rng = np.random.default_rng(bands)
    image = rng.normal(110, 6, (SIZE, SIZE, bands)).astype(np.float32)
    for _ in range(25):
        centre = tuple(float(v) for v in rng.uniform(0, SIZE, 2))
        corners = cv2.boxPoints((centre, tuple(float(v) for v in rng.uniform(6, 40, 2)), float(rng.uniform(0, 90))))
        cv2.fillPoly(image, [corners.astype(np.int32)], rng.uniform(40, 220, bands).tolist())
    later = np.roll(image, (2, 3), (0, 1)) + rng.normal(0, 4, image.shape)
    first, second = (np.asarray(np.clip(picture, 1, 255), np.uint8) for picture in (image, later))
    return first, second


def elsewhere() -> Iterator[int]:
    """Numbers of runs; before each the heap is left in another state, so that arrays begin at other addresses."""
    rng = np.random.default_rng(0)
    kept = []
    for run in range(RUNS):
        kept.append(np.empty(int(rng.integers(1, 4000)) * 16, np.uint8))
        yield run


def test_a_length_does_not_depend_on_where_its_vectors_lie() -> None:
    rng = np.random.default_rng(1)
    across, down = (rng.uniform(-50, 50, (97, 131)).astype(np.float32) for _ in range(2))
    found = {length(across.copy(), down.copy()).tobytes() for _ in elsewhere()}
    assert len(found) == 1
    np.testing.assert_allclose(length(across, down), np.hypot(across, down), rtol=1e-6)


def test_a_window_is_aligned_alike_in_every_run() -> None:
    first, second = (picture[..., 0] for picture in pictures(1))
    found = {repr(align(second.copy(), first.copy(), GRID)) for _ in elsewhere()}
    assert len(found) == 1
    assert "aligned=True" in found.pop()


def test_two_dates_differ_alike_in_every_run() -> None:
    first, second = pictures(3)
    valid = np.ones((SIZE, SIZE), np.bool_)
    found = set()
    for _ in elsewhere():
        maps = change_maps(first.copy(), second.copy(), valid, 0.3)
        found.add(b"".join(getattr(maps, name).tobytes() for name in ("structure", "chroma", "hue", "lightness", "shade")))
    assert len(found) == 1
