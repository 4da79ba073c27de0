"""Tiles cover every pixel once, with enough overlap, and reach the border."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detection.tiling import GRAIN, Tiling, cut, spans, tiles


@given(st.integers(1, 4000), st.sampled_from([(512, 128), (256, 64), (96, 32)]))
def test_spans_own_every_pixel_once(length: int, shape: tuple[int, int]) -> None:
    tile, overlap = shape
    found = spans(length, tile, overlap)
    owned = [pixel for span in found for pixel in range(span.own_start, span.own_stop)]
    assert owned == list(range(length))
    assert found[0].start == 0 and length <= found[-1].stop < length + GRAIN
    for left, right in pairwise(found):
        assert left.stop - right.start >= overlap
        margin = overlap // 2
        assert left.stop - left.own_stop >= margin - 1 and right.own_start - right.start >= margin - 1
    assert all(span.stop - span.start == (tile if length > tile else length) for span in found)


def test_a_point_has_one_owner_and_a_halo_gives_it_its_neighbours() -> None:
    cuts = tiles(700, 1100, Tiling(512, 128))
    x, y = (np.random.default_rng(0).uniform(0, 1, (2, 300)) * [[1100], [700]]).astype(np.float32)
    assert (sum(tile.owns(x, y).astype(int) for tile in cuts) == 1).all()
    assert (sum(tile.owns(x, y, 100.0).astype(int) for tile in cuts) >= 1).all()
    assert any((tile.owns(x, y, 8.0) & ~tile.owns(x, y)).any() for tile in cuts)


def test_cut_fills_to_the_multiple_and_keeps_pixels() -> None:
    image = np.random.default_rng(1).integers(0, 255, (50, 70, 3), dtype=np.uint8)
    part = cut(image, tiles(50, 70, Tiling(512, 128))[0])
    assert part.shape == (64, 80, 3)
    assert np.array_equal(part[:50, :70], image)
    assert (part[50:] == 127).all() and (part[:, 70:] == 127).all()
