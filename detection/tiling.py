"""Cuts a picture into overlapping tiles and says which tile owns which pixel.

Tiles overlap so that an object at a seam is seen whole by one of them; each pixel has exactly one owner; the last tile
reaches the picture's border, so no strip is left out. Every tile begins on a multiple of `GRAIN` pixels of the picture: the
network's own lattice (stride 16) lies the same in all of them, and where the seams run changes only what tiles do not see.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

GRAIN = 16
"""Pixels: tiles begin on multiples of it and are multiples of it long, as the networks want it."""


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut."""

    edge: int
    """Longest edge of a tile, pixels, a multiple of GRAIN: larger tiles see less twice, and need more memory."""
    overlap: int
    """Least overlap of neighbours, pixels, a multiple of GRAIN."""
    shift: tuple[int, int] = (0, 0)
    """Moves the seams that many pixels left and up, in whole GRAINs and less than a tile; the picture's borders stay."""


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

    def owns(self, x: NDArray[np.floating], y: NDArray[np.floating], halo: float = 0.0) -> NDArray[np.bool_]:
        """True for points (picture pixels) that are this tile's to report; a halo around its own pixels counts too."""
        column = (x >= self.columns.own_start - halo) & (x < self.columns.own_stop + halo)
        return np.asarray(column & (y >= self.rows.own_start - halo) & (y < self.rows.own_stop + halo))


def spans(length: int, tile: int, overlap: int, shift: int = 0) -> list[Span]:
    """Covers 0..length with tiles of `tile` pixels that overlap by at least `overlap`; seams lie in the middle of overlaps.

    `tile` and `overlap` are multiples of GRAIN. The last tile may end up to GRAIN - 1 pixels beyond the picture. `shift`
    moves the inner tiles to the left.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    last, pitch = _grains(length - tile), (tile - overlap) // GRAIN
    moved = shift // GRAIN % pitch
    if moved == 0:
        count = -(-last // pitch)
        starts = [i * last // count * GRAIN for i in range(count + 1)]
    else:
        starts = [number * GRAIN for number in (0, *range(pitch - moved, last, pitch), last)]
    seams = [0, *((a + tile + b) // 2 for a, b in pairwise(starts)), length]
    return [Span(s, s + tile, seams[i], seams[i + 1]) for i, s in enumerate(starts)]


def tiles(height: int, width: int, tiling: Tiling) -> list[Tile]:
    """All tiles of a picture, row by row: as few as tiles of at most `edge` can be, and no larger than they need to be.

    Tiles of fixed length cover a picture a little longer than one of them almost twice; these share the length out.
    """
    rows, columns = (
        spans(length, _even(length, tiling), tiling.overlap, shift)
        for length, shift in ((height, tiling.shift[1]), (width, tiling.shift[0]))
    )
    return [Tile(r, c) for r in rows for c in columns]


def _even(length: int, tiling: Tiling) -> int:
    if length <= tiling.edge:
        return tiling.edge
    grains, most, overlap = _grains(length), tiling.edge // GRAIN, tiling.overlap // GRAIN
    count = -(-(grains - overlap) // (most - overlap))
    return -(-(grains + (count - 1) * overlap) // count) * GRAIN


def _grains(pixels: int) -> int:
    """How many GRAINs hold that many pixels."""
    return -(-pixels // GRAIN)


def filled_size(tile: Tile) -> tuple[int, int]:
    """Rows and columns of a tile in whole GRAINs."""
    rows, columns = _grains(tile.rows.stop - tile.rows.start), _grains(tile.columns.stop - tile.columns.start)
    return rows * GRAIN, columns * GRAIN


def cut(image: NDArray[np.uint8], tile: Tile) -> NDArray[np.uint8]:
    """The tile's pixels, filled up at the right and below with mid-grey to whole GRAINs."""
    part = image[tile.rows.start : tile.rows.stop, tile.columns.start : tile.columns.stop]
    return fill(part, tile)


def fill(part: NDArray[np.uint8], tile: Tile) -> NDArray[np.uint8]:
    """What the picture has of a tile, filled up at the right and below with mid-grey to whole GRAINs."""
    height, width = filled_size(tile)
    below, right = height - part.shape[0], width - part.shape[1]
    if below == 0 and right == 0:
        return part
    return np.pad(part, ((0, below), (0, right), (0, 0)), constant_values=127)
