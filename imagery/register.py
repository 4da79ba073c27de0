"""Aligns a window with the site's reference: pictures of one place lie a few metres apart as delivered, and a little turned.

First the whole picture by phase correlation (Kuglin & Hines 1975) of gradient magnitudes, which survive another sun and
season better than brightness; those at the ends of shadows count little. Then the same in overlapping blocks, through whose
displacements a similarity (shift, turn, scale) is laid that blocks disagreeing with the rest do not pull (Tukey's biweight).
Turned pictures are searched for when the upright one does not match. What cannot be aligned is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from imagery.grid import NO_SHIFT, GridSpec, MapShift, apply_affine, compose
from imagery.vectors import length

MAX_SHIFT_M = 10.0
"""A larger displacement of the window's centre is not searched for."""
MAX_TURN_DEG = 6.0
MAX_STRETCH = 0.03
"""Largest departure of the scale from 1."""
MIN_AGREEMENT = 0.10
"""Smallest normalised correlation of the gradients after alignment, and ..."""
MIN_MATCHED_SHARE = 0.20
"""... smallest share of the blocks that lie where the alignment says; measured by `evaluate registration`."""

_PASSES = ((2, 4), (4, 5))
"""(blocks to a block's edge, passes at most): few blocks until it lies about right, then more."""
_SETTLED_PX = 0.03
_TURN_STEP_DEG = 1.0
_COARSE_PX = 256
"""Turned pictures are compared at about this size."""
_BLOCK_PX = (32, 64)
_MATCHED_PX = 1.0
"""A block has matched when its displacement is as found within this."""
_LEAST_BLOCKS = 9
"""With fewer matched blocks only the shift is taken."""

_SHADE_WEIGHT = 0.3
"""Of edges where it gets brighter towards the pole: there the shadows of things end, and move with the sun."""

_Matrix = NDArray[np.float64]
"""2 x 3, reference pixel (column, row; pixel centres) -> picture pixel."""
_Edges = NDArray[np.float32]


@dataclass(frozen=True)
class Alignment:
    """How a window lies against the reference."""

    aligned: bool
    shift: MapShift
    """Displacement of the window's content from the reference's; `read_pixels` puts it right."""
    agreement: float
    """Normalised correlation of gradients after the shift, -1 to 1."""
    matched_share: float = 0.0
    """Share of blocks that lie within a pixel of where the alignment says, 0 to 1."""


def align(
    picture: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    grid: GridSpec,
    usable: NDArray[np.bool_] | None = None,
    reach_m: float = MAX_SHIFT_M,
) -> Alignment:
    """Finds the displacement of `picture` against `reference`.

    Args:
        picture: rows x columns luminance, north up.
        reference: the same shape, on the same grid; 0 where it says nothing.
        grid: of both.
        usable: rows x columns, False where the picture shows cloud or nothing.
        reach_m: largest displacement of the centre that is searched for and accepted.

    With an edge of less than 32 pixels nothing is aligned.
    """
    known = (reference > 0) & (picture > 0)
    if usable is not None:
        known &= usable
    poleward = 1.0 if 32701 <= grid.epsg <= 32760 else -1.0
    moving = _edges(picture, (picture > 0) if usable is None else (picture > 0) & usable, poleward)
    fixed = _edges(reference, reference > 0, poleward)
    if min(picture.shape) < _BLOCK_PX[0] or not moving.any() or not fixed.any() or known.sum() < 256:
        return Alignment(False, NO_SHIFT, 0.0)
    reach_px = reach_m / grid.gsd_m
    best = _refined(moving, fixed, _upright(moving, fixed, reach_px))
    if not _good(best):
        for start in _turned(moving, fixed, reach_px):
            best = max(best, _refined(moving, fixed, start), key=lambda found: found.agreement * found.matched)
    shift = map_shift(best.matrix, grid)
    within = (
        shift.length_m <= reach_m and abs(shift.turn_deg) <= MAX_TURN_DEG and abs(shift.scale - 1) <= MAX_STRETCH
    )
    return Alignment(_good(best) and within, shift, best.agreement, best.matched)


def map_shift(matrix: _Matrix, grid: GridSpec) -> MapShift:
    """A motion in pixels (reference -> picture, OpenCV's pixel centres) as one on the map, about the grid's centre."""
    centres = Affine.translation(-0.5, -0.5)
    moved = compose(grid.affine, ~centres, Affine(*matrix.ravel()), centres, ~grid.affine)
    pivot = grid.to_map(np.array([[grid.size.width / 2, grid.size.height / 2]]))
    east, north = (apply_affine(moved, pivot) - pivot)[0].tolist()
    turn, scale = float(np.degrees(np.arctan2(moved.d, moved.a))), float(np.sqrt(abs(moved.determinant)))
    return MapShift(east, north, turn, scale, float(pivot[0, 0]), float(pivot[0, 1]))


@dataclass(frozen=True)
class _Found:
    matrix: _Matrix
    agreement: float
    matched: float


def _good(found: _Found) -> bool:
    return found.agreement >= MIN_AGREEMENT and found.matched >= MIN_MATCHED_SHARE


def _edges(image: NDArray[np.uint8], known: NDArray[np.bool_], poleward: float) -> _Edges:
    """Gradient magnitude; `poleward`: the sign of a step in rows towards the nearer pole."""
    values = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    across, down = (np.asarray(cv2.Sobel(values, cv2.CV_32F, *order), np.float32) for order in ((1, 0), (0, 1)))
    down = np.where(down * poleward > 0, np.float32(_SHADE_WEIGHT) * down, down)
    gradient = length(across, down)
    core = cv2.erode(known.astype(np.uint8), np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 0
    if not core.any():
        return np.zeros(image.shape, np.float32)
    # A few hard shadows must not decide: strong gradients count no more than the 95th percentile.
    gradient = np.minimum(gradient, np.percentile(gradient[core], 95))
    gradient = np.where(core, gradient - gradient[core].mean(), 0.0)
    return np.asarray(gradient, np.float32)


def _taper(shape: tuple[int, ...]) -> _Edges:
    """Square root of a Hann window: without it the picture's edges are the strongest structure."""
    window = np.hanning(shape[0])[:, None] * np.hanning(shape[1])[None, :]
    return np.asarray(np.sqrt(window), np.float32)


def _moved_back(edges: _Edges, matrix: _Matrix) -> _Edges:
    size = (edges.shape[1], edges.shape[0])
    return np.asarray(cv2.warpAffine(edges, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.float32)


def _motion(columns: float, rows: float) -> _Matrix:
    return np.array([[1.0, 0.0, columns], [0.0, 1.0, rows]])


def _about_centre(shape: tuple[int, ...], turn_deg: float) -> _Matrix:
    centre = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return np.asarray(cv2.getRotationMatrix2D(centre, turn_deg, 1.0), np.float64)


def _upright(moving: _Edges, fixed: _Edges, reach_px: float) -> _Matrix:
    """Shift only, in two passes: the taper lies still while the content moves, which pulls towards no shift."""
    taper = _taper(fixed.shape)
    columns, rows, _ = _peak(moving * taper, fixed * taper, reach_px)
    more = _peak(_moved_back(moving, _motion(columns, rows)) * taper, fixed * taper, 3.0)
    return _motion(columns + more[0], rows + more[1])


def _turned(moving: _Edges, fixed: _Edges, reach_px: float) -> Sequence[_Matrix]:
    """The two best starts among turned pictures, found on smaller ones."""
    factor = min(1.0, _COARSE_PX / max(fixed.shape))
    size = (round(fixed.shape[1] * factor), round(fixed.shape[0] * factor))
    small, wanted = (
        np.asarray(cv2.resize(edges, size, interpolation=cv2.INTER_AREA), np.float32) for edges in (moving, fixed)
    )
    taper = _taper(wanted.shape)
    tried = []
    for turn in np.arange(-MAX_TURN_DEG, MAX_TURN_DEG + 0.01, _TURN_STEP_DEG):
        back = _moved_back(small, _about_centre(small.shape, float(turn)))
        columns, rows, height = _peak(back * taper, wanted * taper, reach_px * factor + 1)
        tried.append((height, float(turn), columns / factor, rows / factor))
    starts = []
    for _, turn, columns, rows in sorted(tried, reverse=True)[:2]:
        # The turned-back picture still lies off by (columns, rows): reference -> +shift -> turned -> picture.
        matrix = _about_centre(fixed.shape, turn)
        matrix[:, 2] += matrix[:, :2] @ (columns, rows)
        starts.append(matrix)
    return starts


def _refined(moving: _Edges, fixed: _Edges, start: _Matrix) -> _Found:
    """Moves the picture back, measures what is left in blocks, and again until nothing is left."""
    matrix, matched = start, 0.0
    for steps, passes in _PASSES:
        for _ in range(passes):
            places, left, weights = _blocks(_moved_back(moving, matrix), fixed, steps)
            if not len(places):
                return _Found(matrix, 0.0, 0.0)
            more, matched = _similarity(places, left, weights, fixed.shape)
            matrix = _after(matrix, more)
            if matched < MIN_MATCHED_SHARE / 2 or _reach(more, fixed.shape) < _SETTLED_PX * 4 / steps:
                break
    return _Found(matrix, _agreement(_moved_back(moving, matrix), fixed), matched)


def _after(matrix: _Matrix, more: _Matrix) -> _Matrix:
    """`more` first (reference -> nearly reference), then `matrix`."""
    linear = matrix[:, :2] @ more[:, :2]
    return np.column_stack([linear, matrix[:, :2] @ more[:, 2] + matrix[:, 2]])


def _reach(more: _Matrix, shape: tuple[int, ...]) -> float:
    corners = np.array([[0, 0], [shape[1], 0], [0, shape[0]], [shape[1], shape[0]]], np.float64)
    return float(np.abs(corners @ more[:, :2].T + more[:, 2] - corners).max())


def _blocks(moving: _Edges, fixed: _Edges, steps: int) -> tuple[_Matrix, _Matrix, NDArray[np.float64]]:
    """Centres (column, row) of the blocks with structure in both, displacement of each, weight of each."""
    edge = int(np.clip(min(fixed.shape) // 4, *_BLOCK_PX))
    step = edge // steps
    a, b = (np.lib.stride_tricks.sliding_window_view(edges, (edge, edge))[::step, ::step] for edges in (moving, fixed))
    filled = ((a != 0).mean(axis=(2, 3)) > 0.6) & ((b != 0).mean(axis=(2, 3)) > 0.6)
    rows, columns = np.nonzero(filled)
    places = np.stack([columns, rows], axis=1) * float(step) + (edge - 1) / 2
    taper = _taper((edge, edge))
    parts = [(part[filled] - part[filled].mean(axis=(1, 2), keepdims=True)) * taper for part in (a, b)]
    found = np.array([_highest(surface, edge / 4) for surface in _correlation(*parts)], np.float64).reshape(-1, 3)
    return np.asarray(places, np.float64), found[:, :2], np.asarray(np.maximum(found[:, 2], 0.0), np.float64)


def _similarity(
    places: _Matrix, left: _Matrix, weights: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[_Matrix, float]:
    """The motion most blocks agree on, and the share of them within `_MATCHED_PX` of it."""
    centre = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    at = places - centre
    # Displacement = shift + (a, -b; b, a) at: linear in shift, a (stretch) and b (turn).
    design = np.zeros((2 * len(at), 4))
    design[0::2, 0], design[1::2, 1] = 1.0, 1.0
    design[0::2, 2], design[1::2, 2] = at[:, 0], at[:, 1]
    design[0::2, 3], design[1::2, 3] = -at[:, 1], at[:, 0]
    wanted = left.ravel()
    solution = np.array([*_mode(left, weights), 0.0, 0.0])
    scale = 3.0
    for _ in range(15):
        residual = np.hypot(*(wanted - design @ solution).reshape(-1, 2).T)
        robust = weights * np.square(np.clip(1 - np.square(residual / (4.685 * scale)), 0, None))
        near = robust > 0
        if near.sum() < 3:
            break
        unknowns = 4 if near.sum() >= _LEAST_BLOCKS else 2
        root = np.sqrt(np.repeat(robust, 2))[:, None]
        part, *_ = np.linalg.lstsq(design[:, :unknowns] * root, wanted * root[:, 0], rcond=None)
        solution = np.concatenate([part, np.zeros(4 - unknowns)])
        scale = max(0.25, scale * 0.7)
    residual = np.hypot(*(wanted - design @ solution).reshape(-1, 2).T)
    a, b = solution[2], solution[3]
    linear = np.array([[1 + a, -b], [b, 1 + a]])
    matrix = np.column_stack([linear, solution[:2] + centre - linear @ centre])
    return matrix, float(np.mean(residual <= _MATCHED_PX))


def _mode(left: _Matrix, weights: NDArray[np.float64]) -> tuple[float, float]:
    """The displacement with most weight of blocks within 2 px of it."""
    near = np.hypot(left[:, None, 0] - left[None, :, 0], left[:, None, 1] - left[None, :, 1]) < 2.0
    best = int(np.argmax(near @ weights))
    inside = near[best]
    mean = np.average(left[inside], axis=0, weights=weights[inside] + 1e-9)
    return float(mean[0]), float(mean[1])


def _correlation(moving: _Edges, fixed: _Edges) -> NDArray[np.float64]:
    """Correlation over the last two axes, between pure phase and plain: pure phase lets noise of empty frequencies in."""
    shape = tuple(cv2.getOptimalDFTSize(edge) for edge in moving.shape[-2:])
    cross = np.fft.rfft2(moving, shape) * np.conj(np.fft.rfft2(fixed, shape))
    return np.asarray(np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-9) ** 0.7, shape), np.float64)


def _peak(moving: _Edges, fixed: _Edges, reach_px: float) -> tuple[float, float, float]:
    """(columns, rows) by which `moving` lies right of and below `fixed`, and the peak's height."""
    return _highest(_correlation(moving, fixed), reach_px)


def _highest(surface: NDArray[np.float64], reach_px: float) -> tuple[float, float, float]:
    """Place of the peak to a tenth of a pixel by a parabola, and its height over the surface's spread."""
    reach = min(int(np.ceil(reach_px)) + 1, min(surface.shape) // 2 - 1)
    offsets = np.arange(-reach, reach + 1)
    near = surface[np.ix_(offsets % surface.shape[0], offsets % surface.shape[1])]
    row, column = (int(v) for v in np.unravel_index(int(np.argmax(near)), near.shape))
    rows = offsets[row] + _parabola(near[:, column], row)
    columns = offsets[column] + _parabola(near[row], column)
    return float(columns), float(rows), float(near[row, column] / max(float(surface.std()), 1e-12))


def _parabola(values: NDArray[np.float64], at: int) -> float:
    if not 0 < at < len(values) - 1:
        return 0.0
    left, middle, right = (float(v) for v in values[at - 1 : at + 2])
    bend = left - 2 * middle + right
    return 0.0 if bend >= 0 else float(np.clip(0.5 * (left - right) / bend, -0.5, 0.5))


def _agreement(moving: _Edges, fixed: _Edges) -> float:
    both = (moving != 0) & (fixed != 0)
    if both.sum() < 256:
        return 0.0
    a, b = moving[both] - moving[both].mean(), fixed[both] - fixed[both].mean()
    norm = float(np.sqrt(np.sum(a * a) * np.sum(b * b)))
    return float(np.sum(a * b)) / norm if norm > 0 else 0.0
