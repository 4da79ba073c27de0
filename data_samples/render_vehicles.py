"""Vehicles seen from above: cars, vans, minibuses, lorries, articulated lorries, flatbeds, buses.

Each is painted at 5 cm per pixel with body, glass, roof, lights and a height, then warped into the scene.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from data_samples.render_canvas import SPRITE_GSD_M, ByteArray, FloatArray, Sprite, sprite_of
from data_samples.scene_model import HEAVY_LENGTH_M, VehicleKind, VehicleLabel

Colour = tuple[int, int, int]
CAR_COLOURS: tuple[tuple[Colour, float], ...] = (
    ((236, 238, 238), 0.34), ((176, 180, 183), 0.13), ((112, 116, 120), 0.12), ((38, 40, 44), 0.21),
    ((150, 28, 32), 0.07), ((36, 58, 118), 0.07), ((190, 178, 150), 0.03), ((84, 60, 48), 0.02),
    ((208, 160, 40), 0.01),
)
VAN_COLOURS: tuple[tuple[Colour, float], ...] = (
    ((238, 240, 240), 0.6), ((180, 184, 186), 0.15), ((60, 64, 70), 0.1), ((40, 66, 130), 0.08), ((150, 40, 36), 0.07),
)
BOX_COLOURS: tuple[tuple[Colour, float], ...] = (
    ((232, 234, 234), 0.45), ((188, 192, 194), 0.15), ((46, 84, 140), 0.14), ((152, 52, 44), 0.1),
    ((70, 110, 80), 0.08), ((120, 124, 128), 0.08),
)
CAB_COLOURS: tuple[tuple[Colour, float], ...] = (
    ((232, 234, 234), 0.4), ((160, 36, 36), 0.22), ((40, 70, 140), 0.2), ((190, 150, 50), 0.06), ((70, 74, 78), 0.12),
)
GLASS: Colour = (34, 40, 46)
VARIANTS = 14


@dataclass(frozen=True, slots=True)
class VehicleSprite:
    """A painted vehicle with its outer measures in metres (mirrors left out)."""

    kind: VehicleKind
    length_m: float
    width_m: float
    sprite: Sprite

    @property
    def label(self) -> VehicleLabel:
        """heavy from HEAVY_LENGTH_M upward."""
        return "heavy" if self.length_m >= HEAVY_LENGTH_M else "car"


class _Bench:
    """Paint bench for one vehicle: x forward in metres from the middle, y to the right."""

    def __init__(self, length_m: float, width_m: float) -> None:
        margin = 0.3
        self.half_l, self.half_w = length_m / 2, width_m / 2
        self.cols = round((length_m + 2 * margin) / SPRITE_GSD_M)
        self.rows = round((width_m + 2 * margin) / SPRITE_GSD_M)
        self.rgb: ByteArray = np.zeros((self.rows, self.cols, 3), np.uint8)
        self.alpha: ByteArray = np.zeros((self.rows, self.cols), np.uint8)
        self.height: FloatArray = np.zeros((self.rows, self.cols), np.float32)

    def _fixed(self, points: npt.ArrayLike) -> npt.NDArray[np.int32]:
        array = np.asarray(points, dtype=np.float64) / SPRITE_GSD_M
        array += np.array([(self.cols - 1) / 2, (self.rows - 1) / 2])
        return np.round(array * 16).astype(np.int32)

    def shape(self, points: npt.ArrayLike, colour: Colour, *, body: bool = False, opacity: float = 1.0) -> ByteArray:
        """Fill a polygon; body polygons also make the outline. Returns the mask, 0-255."""
        mask = np.zeros((self.rows, self.cols), np.uint8)
        cv2.fillPoly(mask, [self._fixed(points)], 255, cv2.LINE_AA, 4)
        share = mask[..., None].astype(np.float32) * (opacity / 255.0)
        if body:
            self.alpha = np.maximum(self.alpha, mask)
            share = np.maximum(share, (mask[..., None] > 0).astype(np.float32))
        self.rgb = (self.rgb * (1 - share) + share * np.asarray(colour, np.float32)).astype(np.uint8)
        return mask

    def box(self, x0: float, x1: float, half_w: float, colour: Colour, *, opacity: float = 1.0) -> ByteArray:
        """A centred rectangle from x0 to x1."""
        return self.shape([(x0, -half_w), (x1, -half_w), (x1, half_w), (x0, half_w)], colour, opacity=opacity)

    def lift(self, mask: ByteArray, height_m: float) -> None:
        """Raise what a mask covers to a height."""
        self.height = np.maximum(self.height, (mask > 127) * np.float32(height_m))

    def finish(self, grain: np.random.Generator) -> Sprite:
        """Soften and turn into a sprite; a little dirt keeps surfaces from being flat."""
        dirt = cv2.GaussianBlur(grain.standard_normal((self.rows, self.cols)).astype(np.float32), (0, 0), 3.0)
        rgb = self.rgb.astype(np.float32) * (1.0 + 0.20 * dirt[..., None])
        return sprite_of(cv2.GaussianBlur(rgb, (0, 0), 0.6), self.alpha.astype(np.float32) / 255, self.height)


def _outline(half_l: float, half_w: float, front: float, rear: float) -> npt.NDArray[np.float64]:
    """A rounded body: superellipse with its own exponent for the front and the rear half; (96, 2)."""
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    power = np.where(cos >= 0, front, rear)
    x = np.sign(cos) * np.abs(cos) ** (2 / power) * half_l
    y = np.sign(sin) * np.abs(sin) ** (2 / power) * half_w
    return np.stack([x, y], axis=1)


def _shade(colour: Colour, factor: float) -> Colour:
    r, g, b = (int(min(255, max(0, channel * factor))) for channel in colour)
    return r, g, b


def _pick(table: tuple[tuple[Colour, float], ...], rng: np.random.Generator) -> Colour:
    weights = np.array([weight for _, weight in table])
    colour = table[int(rng.choice(len(table), p=weights / weights.sum()))][0]
    lighter = rng.normal(0, 7)
    r, g, b = (int(np.clip(channel + lighter + rng.normal(0, 2), 8, 250)) for channel in colour)
    grey = (r + g + b) / 3
    r, g, b = (int(0.85 * channel + 0.15 * grey) for channel in (r, g, b))
    return r, g, b


def _lights(bench: _Bench, colour: Colour, rng: np.random.Generator) -> None:
    half_l, half_w = bench.half_l, bench.half_w
    for side in (-1, 1):
        lamp = _shade((215, 220, 225), 1.0 if sum(colour) < 450 else 0.75)
        x0, x1 = half_l - 0.42, half_l - 0.12
        bench.shape([(x0, side * (half_w - 0.12)), (x1, side * (half_w - 0.28)), (x1 - 0.02, side * (half_w - 0.55)),
                     (x0 + 0.06, side * (half_w - 0.34))], lamp, opacity=0.75)
        r0, r1 = -half_l + 0.06, -half_l + 0.26
        bench.shape([(r0, side * (half_w - 0.2)), (r1, side * (half_w - 0.1)), (r1, side * (half_w - 0.4)),
                     (r0, side * (half_w - 0.5))], (150, 30, 28), opacity=0.7)


def _glass(rng: np.random.Generator) -> Colour:
    """Windows: nearly black, at times with some sky in them."""
    sky = float(rng.random() ** 2) * 0.45
    r, g, b = (int(dark * (1 - sky) + light * sky) for dark, light in zip(GLASS, (150, 165, 180), strict=True))
    return r, g, b


def _car(rng: np.random.Generator) -> VehicleSprite:
    style = ("sedan", "sedan", "suv", "hatch")[int(rng.integers(4))]
    length = float(rng.uniform(4.4, 4.9) if style != "hatch" else rng.uniform(4.1, 4.4))
    width = float(rng.uniform(1.76, 1.92))
    bench = _Bench(length, width)
    half_l, half_w = length / 2, width / 2
    colour = _pick(CAR_COLOURS, rng)
    body = bench.shape(_outline(half_l, half_w, 3.6, 5.5), _shade(colour, 0.92), body=True)
    bench.lift(body, 0.75 if style != "suv" else 0.95)
    wind = half_l * float(rng.uniform(0.36, 0.46))
    roof_front = wind - float(rng.uniform(0.55, 0.75))
    rear_end = {"sedan": -half_l * 0.66, "suv": -half_l * 0.93, "hatch": -half_l * 0.90}[style]
    roof_rear = rear_end + {"sedan": 0.62, "suv": 0.32, "hatch": 0.45}[style]
    pane = _glass(rng)
    low, high = half_w * 0.90, half_w * 0.70
    bench.shape([(wind, -low * 0.86), (wind + 0.12, 0), (wind, low * 0.86), (roof_front, low), (roof_rear, low),
                 (rear_end, low * 0.86), (rear_end - 0.06, 0), (rear_end, -low * 0.86), (roof_rear, -low),
                 (roof_front, -low)], pane)
    if style == "sedan":
        bench.box(-half_l + 0.06, rear_end - 0.06, half_w * 0.86, _shade(colour, 1.0))
    roof = bench.shape([(roof_front, -high), (roof_front + 0.06, 0), (roof_front, high), (roof_rear, high * 0.97),
                        (roof_rear - 0.05, 0), (roof_rear, -high * 0.97)], _shade(colour, 1.06))
    for side in (-1, 1):
        for x0, x1 in ((roof_front, wind), (roof_rear, rear_end)):
            bench.shape([(x0, side * high), (x0, side * (high + 0.09)), (x1, side * (low * 0.90)),
                         (x1, side * (low * 0.80))], _shade(colour, 0.9))
        middle = 0.5 * (roof_front + roof_rear)
        bench.shape([(middle - 0.05, side * high), (middle + 0.05, side * high), (middle + 0.05, side * low),
                     (middle - 0.05, side * low)], _shade(colour, 0.8))
        bench.shape([(wind - 0.25, side * half_w), (wind - 0.05, side * half_w), (wind - 0.1, side * (half_w + 0.16)),
                     (wind - 0.25, side * (half_w + 0.16))], _shade(colour, 0.85), body=True)
        bench.box(wind + 0.1, half_l - 0.25, 0.02, colour)
        bench.shape([(wind + 0.1, side * half_w * 0.55), (half_l - 0.3, side * half_w * 0.42),
                     (half_l - 0.3, side * half_w * 0.46), (wind + 0.1, side * half_w * 0.62)], _shade(colour, 0.8))
    bench.lift(roof, 1.45 if style != "suv" else 1.7)
    if rng.random() < 0.25:
        bench.box(roof_front - 0.85, roof_front - 0.2, high * 0.75, pane)
    if style == "suv" and rng.random() < 0.6:
        for side in (-1, 1):
            bench.shape([(roof_front, side * (high - 0.06)), (roof_rear, side * (high - 0.06)),
                         (roof_rear, side * (high - 0.11)), (roof_front, side * (high - 0.11))], (70, 72, 74))
    _gloss(bench, colour, roof_front, roof_rear, high, wind, rng)
    _lights(bench, colour, rng)
    return VehicleSprite("car", length, width, bench.finish(rng))


def _gloss(
    bench: _Bench, colour: Colour, roof_front: float, roof_rear: float, high: float, wind: float, rng: np.random.Generator
) -> None:
    """Sky reflected by paint: a soft patch on the roof, another on the bonnet; strongest on dark paint."""
    strength = 0.10 + 0.30 * (1.0 - sum(colour) / 765.0) * float(rng.uniform(0.3, 1.0))
    shift = float(rng.uniform(-0.3, 0.3)) * high
    bench.shape([(roof_front - 0.1, shift - 0.2), (roof_front - 0.1, shift + 0.2), (roof_rear + 0.15, shift + 0.2),
                 (roof_rear + 0.15, shift - 0.2)], (205, 214, 224), opacity=strength)
    bench.shape([(wind + 0.15, shift - 0.25), (wind + 0.15, shift + 0.25), (bench.half_l - 0.35, shift + 0.15),
                 (bench.half_l - 0.35, shift - 0.15)], (205, 214, 224), opacity=strength * 0.8)


def _van(rng: np.random.Generator, kind: VehicleKind) -> VehicleSprite:
    length = float(rng.uniform(5.0, 5.9) if kind == "van" else rng.uniform(6.0, 6.9))
    width = float(rng.uniform(1.95, 2.1))
    bench = _Bench(length, width)
    half_l, half_w = length / 2, width / 2
    colour = _pick(VAN_COLOURS, rng)
    bench.lift(bench.shape(_outline(half_l, half_w, 4.5, 9.0), _shade(colour, 0.93), body=True), 1.2)
    wind = half_l - float(rng.uniform(0.55, 0.95))
    roof_front = wind - float(rng.uniform(0.5, 0.65))
    bench.shape([(wind, -half_w * 0.82), (wind + 0.12, 0), (wind, half_w * 0.82), (roof_front, half_w * 0.86),
                 (roof_front, -half_w * 0.86)], _glass(rng))
    roof = bench.box(-half_l + 0.12, roof_front, half_w * 0.87, _shade(colour, 1.03))
    bench.lift(roof, 2.2)
    for x in np.arange(-half_l + 0.6, roof_front - 0.2, 0.55):
        bench.box(float(x), float(x) + 0.05, half_w * 0.7, _shade(colour, 0.86), opacity=0.7)
    if kind == "minibus":
        for x in (-half_l * 0.45, half_l * 0.15):
            bench.box(x, x + 0.7, 0.35, _shade(colour, 0.78))
        for side in (-1, 1):
            bench.shape([(-half_l + 0.4, side * half_w * 0.88), (roof_front, side * half_w * 0.88),
                         (roof_front, side * half_w * 0.96), (-half_l + 0.4, side * half_w * 0.96)], _glass(rng))
    _lights(bench, colour, rng)
    return VehicleSprite(kind, length, width, bench.finish(rng))


def _cab(bench: _Bench, front: float, half_w: float, rng: np.random.Generator, *, depth: float) -> None:
    colour = _pick(CAB_COLOURS, rng)
    outline = _outline(depth / 2, half_w, 6.0, 9.0) + np.array([front - depth / 2, 0.0])
    bench.lift(bench.shape(outline, colour, body=True), 2.9)
    bench.shape([(front - 0.05, -half_w * 0.8), (front - 0.05, half_w * 0.8), (front - 0.42, half_w * 0.88),
                 (front - 0.42, -half_w * 0.88)], _glass(rng))
    bench.box(front - depth + 0.25, front - 0.75, half_w * 0.7, _shade(colour, 1.08))
    for side in (-1, 1):
        bench.shape([(front - 0.35, side * half_w), (front - 0.2, side * half_w), (front - 0.2, side * (half_w + 0.22)),
                     (front - 0.35, side * (half_w + 0.22))], (60, 62, 64), body=True)


def _cargo_box(bench: _Bench, rear: float, front: float, half_w: float, rng: np.random.Generator) -> None:
    colour = _pick(BOX_COLOURS, rng)
    mask = bench.shape([(rear, -half_w), (front, -half_w), (front, half_w), (rear, half_w)], _shade(colour, 0.86), body=True)
    bench.lift(mask, 3.7)
    bench.box(rear + 0.09, front - 0.09, half_w - 0.09, colour)
    pitch = float(rng.choice([0.3, 0.6, 1.2]))
    for x in np.arange(rear + pitch, front, pitch):
        bench.box(float(x), float(x) + 0.06, half_w - 0.1, _shade(colour, 0.88), opacity=0.6)
    bench.box(rear, rear + 0.1, half_w, _shade(colour, 0.6))


def _cargo_bed(bench: _Bench, rear: float, front: float, half_w: float, rng: np.random.Generator) -> None:
    rim = _pick(CAB_COLOURS, rng)
    mask = bench.shape([(rear, -half_w), (front, -half_w), (front, half_w), (rear, half_w)], _shade(rim, 0.8), body=True)
    bench.lift(mask, 1.9)
    floor: Colour = ((96, 84, 72), (120, 116, 110), (84, 86, 88))[int(rng.integers(3))]
    bench.box(rear + 0.12, front - 0.12, half_w - 0.12, floor)
    x = rear + 0.3
    while x < front - 1.4:
        size = float(rng.uniform(1.0, 2.2))
        if rng.random() < 0.55:
            load: Colour = ((150, 128, 96), (176, 176, 172), (60, 92, 130), (110, 80, 56))[int(rng.integers(4))]
            bench.lift(bench.box(x, min(x + size, front - 0.2), half_w * float(rng.uniform(0.6, 0.88)), load), 2.6)
        x += size + 0.25


def _lorry(rng: np.random.Generator, kind: VehicleKind) -> VehicleSprite:
    length = float(rng.uniform(13.5, 16.2) if kind == "articulated" else rng.uniform(7.2, 10.5))
    width = 2.5 if length > 8.5 else 2.3
    bench = _Bench(length, width)
    half_l, half_w = length / 2, width / 2
    depth = 2.3 if kind == "articulated" else 1.9
    frame = bench.shape([(-half_l + 0.3, -half_w * 0.4), (half_l - 1.0, -half_w * 0.4), (half_l - 1.0, half_w * 0.4),
                         (-half_l + 0.3, half_w * 0.4)], (44, 44, 46), body=True)
    bench.lift(frame, 1.0)
    cargo_front = half_l - depth - float(rng.uniform(0.35, 0.8))
    if kind == "flatbed":
        _cargo_bed(bench, -half_l, cargo_front, half_w, rng)
    else:
        _cargo_box(bench, -half_l, cargo_front, half_w, rng)
    _cab(bench, half_l, half_w * 0.97, rng, depth=depth)
    return VehicleSprite(kind, length, width, bench.finish(rng))


def _bus(rng: np.random.Generator) -> VehicleSprite:
    length, width = float(rng.uniform(9.5, 12.2)), 2.5
    bench = _Bench(length, width)
    half_l, half_w = length / 2, width / 2
    table: tuple[Colour, ...] = ((232, 234, 234), (206, 170, 60), (52, 90, 150), (80, 140, 100))
    colour = table[int(rng.integers(len(table)))]
    bench.lift(bench.shape(_outline(half_l, half_w, 9.0, 12.0), _shade(colour, 0.85), body=True), 3.1)
    bench.box(-half_l + 0.15, half_l - 0.45, half_w - 0.16, _shade((236, 238, 238), 0.98))
    bench.shape([(half_l - 0.08, -half_w * 0.85), (half_l - 0.08, half_w * 0.85), (half_l - 0.38, half_w * 0.9),
                 (half_l - 0.38, -half_w * 0.9)], _glass(rng))
    for x in np.linspace(-half_l * 0.6, half_l * 0.6, 3):
        bench.box(float(x) - 0.4, float(x) + 0.4, 0.4, (190, 192, 194))
    bench.lift(bench.box(-0.2, 2.0, 0.75, _shade(colour, 0.95)), 3.4)
    return VehicleSprite("bus", length, width, bench.finish(rng))


@lru_cache(maxsize=512)
def vehicle(kind: VehicleKind, variant: int) -> VehicleSprite:
    """One of the painted vehicles of a kind; the same variant looks the same in every scene."""
    rng = np.random.default_rng([variant, *kind.encode()])
    if kind == "car":
        return _car(rng)
    if kind in ("van", "minibus"):
        return _van(rng, kind)
    return _bus(rng) if kind == "bus" else _lorry(rng, kind)


def draw_vehicle(label: VehicleLabel, rng: np.random.Generator, longest_m: float = 20.0) -> VehicleSprite:
    """A vehicle by chance: among light ones mostly cars, among heavy ones mostly box lorries, none above a length."""
    light: tuple[VehicleKind, ...] = ("car", "van", "minibus")
    heavy: tuple[VehicleKind, ...] = ("lorry", "articulated", "flatbed", "bus")
    if label == "car":
        kind = light[int(rng.choice(3, p=[0.86, 0.11, 0.03]))] if longest_m >= 5.9 else "car"
        return vehicle(kind, int(rng.integers(40 if kind == "car" else VARIANTS)))
    for _ in range(8):
        kind = heavy[int(rng.choice(4, p=[0.45, 0.27, 0.2, 0.08]))]
        chosen = vehicle(kind, int(rng.integers(VARIANTS)))
        if chosen.length_m <= longest_m:
            return chosen
    return min((vehicle("lorry", n) for n in range(VARIANTS)), key=lambda item: item.length_m)
