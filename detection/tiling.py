"""Cuts a picture into overlapping tiles and says which tile owns which pixel.

Tiles overlap so that an object at a seam is seen whole by one of them; each pixel has exactly one owner, so nothing is
counted twice; the last tile ends at the picture's border, so no strip is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """One tile along one axis, pixels."""

    start: int
    stop: int
    own_start: int
    """First pixel that this tile answers for."""
    own_stop: int


@dataclass(frozen=True)
class Tile:
    """One tile: the product of two spans."""

    rows: Span
    columns: Span

    def owns(self, x: float, y: float) -> bool:
        """True when the point (picture pixels) is this tile's to report."""
        return self.columns.own_start <= x < self.columns.own_stop and self.rows.own_start <= y < self.rows.own_stop


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Covers 0..length with tiles of `tile` that overlap by at least `overlap`; seams lie in the middle of overlaps."""
    if length <= tile:
        return [Span(0, length, 0, length)]
    count = -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / (count - 1)) for i in range(count)]
    seams = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), length]
    return [Span(s, s + tile, seams[i], seams[i + 1]) for i, s in enumerate(starts)]


def tiles(height: int, width: int, tile: int, overlap: int) -> list[Tile]:
    """All tiles of a picture, row by row."""
    return [Tile(r, c) for r in spans(height, tile, overlap) for c in spans(width, tile, overlap)]


def even_tiles(height: int, width: int, most: int, overlap: int, multiple: int) -> list[Tile]:
    """All tiles of a picture, as few as tiles of at most `most` pixels can be, and no larger than they need to be.

    Tiles of fixed length cover a picture a little longer than one of them almost twice; these share the length out.
    """
    return [
        Tile(r, c)
        for r in spans(height, _even(height, most, overlap, multiple), overlap)
        for c in spans(width, _even(width, most, overlap, multiple), overlap)
    ]


def _even(length: int, most: int, overlap: int, multiple: int) -> int:
    if length <= most:
        return most
    count = -(-(length - overlap) // (most - overlap))
    needed = -(-(length + (count - 1) * overlap) // count)
    return min(most, -(-needed // multiple) * multiple)


def cut(image: NDArray[np.uint8], tile: Tile, multiple: int) -> NDArray[np.uint8]:
    """The tile's pixels, filled up at the right and below with mid-grey to a multiple of `multiple`."""
    part = image[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
    below, right = -part.shape[0] % multiple, -part.shape[1] % multiple
    if below == 0 and right == 0:
        return part
    return np.pad(part, ((0, below), (0, right), (0, 0)), constant_values=127)
