"""Stock seen from above: containers, pallets, crates, coils, big bags, timber, pipes, painted at 5 cm per pixel."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from data_samples.render_canvas import SPRITE_GSD_M, ByteArray, FloatArray, Sprite, sprite_of
from data_samples.scene_model import GoodsKind

Colour = tuple[int, int, int]
CONTAINER_COLOURS: tuple[Colour, ...] = (
    (150, 54, 42), (44, 78, 128), (58, 104, 78), (150, 152, 150), (204, 204, 198), (176, 108, 42), (84, 40, 38),
)
WOOD: tuple[Colour, ...] = ((158, 128, 92), (136, 106, 74), (176, 150, 114), (118, 98, 78))
WRAP: tuple[Colour, ...] = ((206, 208, 206), (168, 140, 104), (188, 166, 132), (66, 92, 128), (148, 150, 146))
GOODS_VARIANTS = 8


class _Heap:
    """Paint bench for goods on a rectangle: pixels at SPRITE_GSD_M, origin at the upper left corner of the rectangle."""

    def __init__(self, length_m: float, width_m: float, rng: np.random.Generator) -> None:
        self.rng = rng
        self.cols, self.rows = round(length_m / SPRITE_GSD_M), round(width_m / SPRITE_GSD_M)
        self.rgb: FloatArray = np.zeros((self.rows, self.cols, 3), np.float32)
        self.alpha: FloatArray = np.zeros((self.rows, self.cols), np.float32)
        self.height: FloatArray = np.zeros((self.rows, self.cols), np.float32)

    def block(self, x: float, y: float, length: float, width: float, colour: Colour, height_m: float) -> None:
        """A box with a darker rim and a little grain."""
        c0, r0 = round(x / SPRITE_GSD_M), round(y / SPRITE_GSD_M)
        c1, r1 = round((x + length) / SPRITE_GSD_M), round((y + width) / SPRITE_GSD_M)
        if c1 <= c0 or r1 <= r0:
            return
        tone = np.asarray(colour, np.float32) + float(self.rng.normal(0, 7))
        self.rgb[r0:r1, c0:c1] = tone * 0.72
        self.rgb[r0 + 1:r1 - 1, c0 + 1:c1 - 1] = tone
        self.alpha[r0:r1, c0:c1] = 1.0
        self.height[r0:r1, c0:c1] = height_m

    def disc(self, x: float, y: float, radius: float, colour: Colour, height_m: float, hole: float = 0.0) -> None:
        """A round thing, with a dark hole of a relative radius."""
        centre = (round(x / SPRITE_GSD_M * 16), round(y / SPRITE_GSD_M * 16))
        mask: ByteArray = np.zeros((self.rows, self.cols), np.uint8)
        cv2.circle(mask, centre, round(radius / SPRITE_GSD_M * 16), 255, -1, cv2.LINE_AA, 4)
        share = mask.astype(np.float32) / 255
        tone = np.asarray(colour, np.float32) + np.float32(self.rng.normal(0, 7))
        self.rgb += share[..., None] * (tone.astype(np.float32) - self.rgb)
        self.alpha = np.maximum(self.alpha, share)
        distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3) * SPRITE_GSD_M
        self.height = np.maximum(self.height, height_m * np.minimum(1.0, 0.4 + distance / max(radius, 0.1)) * (mask > 127))
        if hole > 0.0:
            dark: ByteArray = np.zeros_like(mask)
            cv2.circle(dark, centre, round(radius * hole / SPRITE_GSD_M * 16), 255, -1, cv2.LINE_AA, 4)
            self.rgb *= 1.0 - 0.75 * (dark.astype(np.float32) / 255)[..., None]

    def finish(self) -> Sprite:
        grain = self.rng.standard_normal((self.rows, self.cols)).astype(np.float32)
        rgb = self.rgb * (1.0 + 0.05 * cv2.GaussianBlur(grain, (0, 0), 1.2)[..., None])
        return sprite_of(np.clip(rgb, 0, 255), self.alpha, self.height)


def _containers(heap: _Heap, length: float, width: float) -> None:
    """Containers side by side, as many as the width holds."""
    abreast = max(round(width / 2.6), 1)
    for number in range(abreast):
        if abreast == 1 or heap.rng.random() < 0.9:
            _container(heap, length, width / abreast, number * width / abreast)


def _container(heap: _Heap, length: float, width: float, top: float) -> None:
    colour = CONTAINER_COLOURS[int(heap.rng.integers(len(CONTAINER_COLOURS)))]
    used_l, used_w = min(length, 6.06), min(width, 2.44)
    x, y = (length - used_l) / 2, top + (width - used_w) / 2
    heap.block(x, y, used_l, used_w, colour, 2.6 * float(heap.rng.choice([1, 1, 2])))
    pitch = max(round(0.28 / SPRITE_GSD_M), 2)
    c0, c1 = round(x / SPRITE_GSD_M) + 3, round((x + used_l) / SPRITE_GSD_M) - 3
    r0, r1 = round(y / SPRITE_GSD_M) + 3, round((y + used_w) / SPRITE_GSD_M) - 3
    for col in range(c0, c1, pitch):
        heap.rgb[r0:r1, col:col + 2] *= 0.84


def _grid_of(heap: _Heap, length: float, width: float, unit: tuple[float, float], gap: float,
             colours: tuple[Colour, ...], heights: tuple[float, float]) -> None:
    colour = colours[int(heap.rng.integers(len(colours)))]
    columns, rows = int((length + gap) / (unit[0] + gap)), int((width + gap) / (unit[1] + gap))
    left = (length - columns * (unit[0] + gap) + gap) / 2
    top = (width - rows * (unit[1] + gap) + gap) / 2
    for column in range(columns):
        for row in range(rows):
            if heap.rng.random() < 0.07:
                continue
            own = colour if heap.rng.random() < 0.75 else colours[int(heap.rng.integers(len(colours)))]
            dx, dy = heap.rng.normal(0, 0.035, size=2)
            heap.block(
                max(left + column * (unit[0] + gap) + dx, 0), max(top + row * (unit[1] + gap) + dy, 0), *unit, own,
                float(heap.rng.uniform(*heights)),
            )


def _discs(heap: _Heap, length: float, width: float, radius: float, colour: Colour, height: float, hole: float) -> None:
    pitch = 2 * radius + 0.08
    columns, rows = int(length / pitch), int(width / pitch)
    left, top = (length - columns * pitch) / 2, (width - rows * pitch) / 2
    for column in range(columns):
        for row in range(rows):
            if heap.rng.random() > 0.06:
                dx, dy = heap.rng.normal(0, 0.05, size=2)
                heap.disc(left + (column + 0.5) * pitch + dx, top + (row + 0.5) * pitch + dy, radius, colour, height, hole)


def _bars(heap: _Heap, length: float, width: float, colours: tuple[Colour, ...], thick: float, height: float) -> None:
    y = 0.1
    colour = colours[int(heap.rng.integers(len(colours)))]
    while y + thick <= width - 0.05:
        if heap.rng.random() > 0.05:
            start, end = heap.rng.uniform(0.05, 0.35), length - heap.rng.uniform(0.05, 0.35)
            heap.block(start, y, end - start, thick, colour, height + float(heap.rng.normal(0, 0.05)))
        y += thick + 0.03


@lru_cache(maxsize=512)
def goods(kind: GoodsKind, length_dm: int, width_dm: int, variant: int) -> Sprite:
    """Goods of a kind on a rectangle, sizes in decimetres, front along the length; variants differ in colour and order."""
    rng = np.random.default_rng([variant, length_dm, width_dm, *kind.encode()])
    length, width = length_dm / 10.0, width_dm / 10.0
    heap = _Heap(length, width, rng)
    if kind == "container":
        _containers(heap, length, width)
    elif kind == "crates":
        _grid_of(heap, length, width, (1.6, 1.1), 0.12, WOOD, (1.0, 2.2))
    elif kind == "big_bags":
        _discs(heap, length, width, 0.48, ((214, 214, 206), (196, 190, 172))[variant % 2], 1.1, 0.18)
    elif kind == "coils":
        _discs(heap, length, width, float(rng.uniform(0.6, 0.8)), (142, 146, 150), 1.3, 0.38)
    elif kind == "timber":
        _bars(heap, length, width, WOOD, 0.22, 1.5)
    elif kind == "pipes":
        _bars(heap, length, width, ((120, 124, 128), (92, 74, 62), (96, 112, 128)), 0.3, 1.1)
    else:
        _grid_of(heap, length, width, (1.2, 1.0), 0.1, WRAP, (0.9, 1.9))
    return heap.finish()
