"""A georeferenced drawing surface: reflectance and height on one north-up grid, and sprites warped onto it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from shapely.geometry import Polygon

from data_samples.scene_model import MapPoint, SunPosition

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
SPRITE_GSD_M = 0.05
_SUBPIXEL_BITS = 4
_LINE_PIECE_M = 24.0


@dataclass(frozen=True, slots=True)
class Grid:
    """North-up pixel grid: upper left corner in map metres, pixel size in metres, size in pixels."""

    west_m: float
    north_m: float
    gsd_m: float
    width_px: int
    height_px: int

    def pixels(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map points (N, 2) east, north as pixel coordinates with pixel centres at whole numbers."""
        array = np.asarray(points, dtype=np.float64)
        col = (array[:, 0] - self.west_m) / self.gsd_m - 0.5
        row = (self.north_m - array[:, 1]) / self.gsd_m - 0.5
        return np.stack([col, row], axis=1)

    def ring(self, polygon: Polygon) -> npt.NDArray[np.float64]:
        """Exterior of a map polygon in pixels, (N, 2), not closed."""
        return self.pixels(np.asarray(polygon.exterior.coords)[:-1, :2])

    def coarser(self, factor: int) -> Grid:
        """The same ground with pixels `factor` times larger; the size must divide."""
        return Grid(
            self.west_m, self.north_m, self.gsd_m * factor, self.width_px // factor, self.height_px // factor
        )


@dataclass(frozen=True, slots=True)
class Sprite:
    """An object seen from above at SPRITE_GSD_M, front towards larger columns, centre in the middle.

    rgb (h, w, 3) reflectance 0-255, alpha (h, w) 0-1, height (h, w) metres; lean (h, w, 2) is the horizontal
    part of the surface normal (forward, right), -1 to 1.
    """

    rgb: FloatArray
    alpha: FloatArray
    height: FloatArray
    lean: FloatArray


def sprite_of(rgb: npt.NDArray[Any], alpha: npt.NDArray[Any], height: npt.NDArray[Any]) -> Sprite:
    """Build a sprite and derive its lean from the height."""
    tall = height.astype(np.float32)
    smooth = cv2.GaussianBlur(tall, (0, 0), 2.5)
    lean = np.stack([-cv2.Sobel(smooth, cv2.CV_32F, 1, 0), -cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], axis=-1)
    return Sprite(
        rgb.astype(np.float32), np.clip(alpha, 0, 1).astype(np.float32), tall,
        np.clip(lean * 1.2, -1, 1).astype(np.float32),
    )


class Canvas:
    """Reflectance `rgb` (H, W, 3) 0-255 and `height` (H, W) metres above ground, both float32, on one grid."""

    def __init__(self, grid: Grid, rgb: FloatArray, height: FloatArray) -> None:
        self.grid = grid
        self.rgb = rgb
        self.height = height

    @classmethod
    def blank(cls, grid: Grid, colour: tuple[float, float, float]) -> Canvas:
        """A canvas of one colour and no height."""
        shape = (grid.height_px, grid.width_px)
        rgb = np.empty((*shape, 3), np.float32)
        rgb[:] = colour
        return cls(grid, rgb, np.zeros(shape, np.float32))

    def copy(self) -> Canvas:
        """An independent copy to draw on."""
        return Canvas(self.grid, self.rgb.copy(), self.height.copy())

    def mask(self, polygon: Polygon) -> tuple[slice, slice, FloatArray] | None:
        """Anti-aliased mask of a polygon: row slice, column slice and coverage 0-1; None when outside."""
        ring = self.grid.ring(polygon)
        col0, row0 = np.floor(ring.min(axis=0)).astype(int) - 1
        col1, row1 = np.ceil(ring.max(axis=0)).astype(int) + 2
        col0, row0 = max(col0, 0), max(row0, 0)
        col1, row1 = min(col1, self.grid.width_px), min(row1, self.grid.height_px)
        if col1 <= col0 or row1 <= row0:
            return None
        image = np.zeros((row1 - row0, col1 - col0), np.uint8)
        fixed = np.round((ring - (col0, row0)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(image, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        return slice(row0, row1), slice(col0, col1), image.astype(np.float32) / 255.0

    def paint(self, rows: slice, cols: slice, coverage: FloatArray, colour: Any) -> None:
        """Blend a colour or a texture of the same size into a region."""
        region = self.rgb[rows, cols]
        region += coverage[..., None] * (np.asarray(colour, dtype=np.float32) - region)

    def line(
        self, start: MapPoint, end: MapPoint, width_m: float, colour: tuple[float, float, float], opacity: float
    ) -> None:
        """A straight painted line of a width in metres; opacity 0-1. Painted in pieces, whose boxes are small."""
        length = math.hypot(end.east_m - start.east_m, end.north_m - start.north_m)
        if length == 0.0:
            return
        pieces = math.ceil(length / _LINE_PIECE_M)
        if pieces > 1:
            east, north = (end.east_m - start.east_m) / pieces, (end.north_m - start.north_m) / pieces
            ends = [MapPoint(start.east_m + east * i, start.north_m + north * i) for i in range(pieces + 1)]
            for first, last in pairwise(ends):
                self.line(first, last, width_m, colour, opacity)
            return
        half = 0.5 * max(width_m, self.grid.gsd_m)
        opacity *= min(1.0, width_m / self.grid.gsd_m)
        across_e = -(end.north_m - start.north_m) / length * half
        across_n = (end.east_m - start.east_m) / length * half
        found = self.mask(Polygon([
            (start.east_m + across_e, start.north_m + across_n), (end.east_m + across_e, end.north_m + across_n),
            (end.east_m - across_e, end.north_m - across_n), (start.east_m - across_e, start.north_m - across_n),
        ]))
        if found is not None:
            rows, cols, coverage = found
            self.paint(rows, cols, coverage * opacity, colour)

    def stamp(
        self, sprite: Sprite, centre: MapPoint, heading_deg: float, sun: SunPosition, *,
        direct: float = 0.6, contact: float = 0.5,
    ) -> None:
        """Warp a sprite into place, its front towards a compass heading.

        `direct` (0-1) says how much the sun models its surfaces, `contact` how dark the ground is beside it.
        """
        gsd = self.grid.gsd_m
        scale = SPRITE_GSD_M / gsd
        height, width = sprite.alpha.shape
        col, row = self.grid.pixels([(centre.east_m, centre.north_m)])[0]
        reach = 0.5 * math.hypot(width, height) * scale + 3.0 + 0.5 / gsd
        col0, row0 = max(int(col - reach), 0), max(int(row - reach), 0)
        col1 = min(int(col + reach) + 1, self.grid.width_px)
        row1 = min(int(row + reach) + 1, self.grid.height_px)
        if col1 <= col0 or row1 <= row0:
            return
        angle = math.radians(heading_deg)
        forward = (math.sin(angle), -math.cos(angle))
        right = (math.cos(angle), math.sin(angle))
        matrix = np.array([
            [forward[0] * scale, right[0] * scale, 0.0], [forward[1] * scale, right[1] * scale, 0.0],
        ])
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        matrix[:, 2] = np.array([col - col0, row - row0]) - matrix[:, :2] @ middle
        colour, alpha = self._lit(sprite, forward, right, sun, direct)
        packed = np.dstack([colour * alpha[..., None], alpha])
        sigma = 0.40 / scale
        packed = cv2.GaussianBlur(_padded(packed), (0, 0), sigma)
        tall = cv2.GaussianBlur(_padded(sprite.height * sprite.alpha), (0, 0), 0.5 * sigma)
        pad = _PAD_PX
        matrix[:, 2] -= matrix[:, :2] @ np.array([pad, pad])
        size = (col1 - col0, row1 - row0)
        warped = cv2.warpAffine(packed, matrix, size, flags=cv2.INTER_LINEAR)
        tall = cv2.warpAffine(tall, matrix, size, flags=cv2.INTER_LINEAR)
        rows, cols = slice(row0, row1), slice(col0, col1)
        cover = warped[..., 3:4]
        region = self.rgb[rows, cols]
        if contact > 0.0:
            region *= 1.0 - contact * cv2.GaussianBlur(warped[..., 3], (0, 0), 0.28 / gsd)[..., None]
        region *= 1.0 - cover
        region += warped[..., :3]
        np.maximum(self.height[rows, cols], tall, out=self.height[rows, cols])

    @staticmethod
    def _lit(
        sprite: Sprite, forward: tuple[float, float], right: tuple[float, float], sun: SunPosition, direct: float
    ) -> tuple[FloatArray, FloatArray]:
        azimuth = math.radians(sun.azimuth_deg)
        towards = (math.sin(azimuth), -math.cos(azimuth))
        along = towards[0] * forward[0] + towards[1] * forward[1]
        across = towards[0] * right[0] + towards[1] * right[1]
        strength = direct * min(1.0, 0.75 / max(math.tan(math.radians(sun.elevation_deg)), 0.3))
        shade = 1.0 + strength * (sprite.lean[..., 0] * along + sprite.lean[..., 1] * across)
        return np.clip(sprite.rgb * np.clip(shade, 0.35, 1.5)[..., None], 0, 255), sprite.alpha


_PAD_PX = 8


def _padded(image: FloatArray) -> FloatArray:
    padded = cv2.copyMakeBorder(image, _PAD_PX, _PAD_PX, _PAD_PX, _PAD_PX, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(padded, np.float32)


@lru_cache(maxsize=48)
def noise_tile(scale_px: int, seed: int = 0, size: int = 512) -> FloatArray:
    """Smooth noise of zero mean and unit deviation, periodic, with features of `scale_px` pixels; (size, size)."""
    rng = np.random.default_rng([seed, scale_px])
    cells = max(size // scale_px, 2)
    coarse = rng.standard_normal((cells, cells)).astype(np.float32)
    wrapped = np.pad(coarse, 3, mode="wrap")
    factor = size / cells
    large = cv2.resize(wrapped, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    edge = round(3 * factor)
    tile = large[edge:edge + size, edge:edge + size]
    return np.asarray((tile - tile.mean()) / (tile.std() + 1e-6), np.float32)


def noise(shape: tuple[int, int], scale_px: int, rng: np.random.Generator) -> FloatArray:
    """A piece of the periodic noise of one scale at a random place, tiled to a shape (rows, columns).

    Coarse noise is made small and enlarged, so that the period of the tile does not show.
    """
    if scale_px >= 24:
        factor = scale_px // 6
        small = noise((shape[0] // factor + 2, shape[1] // factor + 2), 6, rng)
        return np.asarray(cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)
    tile = noise_tile(scale_px, int(rng.integers(3)))
    row, col = (int(v) for v in rng.integers(tile.shape[0], size=2))
    rolled = np.roll(tile, (row, col), axis=(0, 1))
    repeats = (-(-shape[0] // tile.shape[0]), -(-shape[1] // tile.shape[1]))
    return np.tile(rolled, repeats)[: shape[0], : shape[1]]


def speckle(
    shape: tuple[int, int], rng: np.random.Generator, scales: tuple[int, ...], weights: tuple[float, ...]
) -> FloatArray:
    """Sum of noises of several scales, (rows, columns)."""
    total = np.zeros(shape, np.float32)
    for scale, weight in zip(scales, weights, strict=True):
        total += weight * noise(shape, scale, rng)
    return total
