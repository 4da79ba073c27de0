"""Open ground without a site: packed car parks, lorry parks, cluttered yards and streets beside roofs with plant.

Training pictures of what real industrial places show and planned sites do not: vehicles side by side at any angle, and
car-sized things that are none (slabs, containers, stacks, skips, roof plant, painted and patched ground).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import Polygon

from data_samples.render_canvas import SPRITE_GSD_M, ByteArray, Canvas, FloatArray, Grid, Sprite, noise, speckle, sprite_of
from data_samples.render_goods import goods
from data_samples.render_light import Light, expose, illuminate, surface_tilt
from data_samples.render_place import Placed, draw_vehicles, vehicle_truths, view_of
from data_samples.render_vehicles import VehicleSprite, vehicle
from data_samples.scene_model import GOODS_KINDS, MapPoint, MapShift, SunPosition, VehicleKind, VehicleTruth

Colour = tuple[float, float, float]
_GROUNDS: tuple[tuple[Colour, float], ...] = (
    ((112, 113, 114), 5), ((82, 83, 86), 3), ((158, 155, 148), 5), ((186, 182, 172), 2), ((146, 130, 108), 3),
    ((172, 148, 116), 2), ((104, 108, 80), 1), ((134, 96, 74), 1),
)  # fmt: skip
"""Asphalt, concrete, gravel, earth, grass and how strongly each is preferred (its edge, metres)."""
_SLABS: tuple[Colour, ...] = (
    (196, 194, 188), (226, 226, 222), (150, 150, 148), (120, 116, 112), (176, 164, 142), (74, 76, 80), (208, 198, 176),
    (142, 96, 78), (92, 108, 126),
)  # fmt: skip
_ROOFS: tuple[Colour, ...] = (
    (178, 182, 184), (72, 104, 152), (206, 206, 202), (148, 98, 84), (128, 134, 138), (96, 98, 100), (190, 176, 156),
)  # fmt: skip
_LIGHT: tuple[VehicleKind, ...] = ("car", "van", "minibus")
_HEAVY: tuple[VehicleKind, ...] = ("lorry", "articulated", "flatbed", "bus")
_VARIANTS = 100_000
PAINT: Colour = (214, 214, 206)


@dataclass(frozen=True, slots=True)
class Yard:
    """A picture (rows, columns, 3) uint8 of open ground, its grid and its vehicles."""

    image: ByteArray
    grid: Grid
    vehicles: tuple[VehicleTruth, ...]


def render_yard(gsd_m: float, size_px: int, seed: int) -> Yard:
    """One square picture, all of it by chance from `seed`."""
    rng = np.random.default_rng([seed, 31])
    grid = Grid(500_000.0, 3_500_000.0 + size_px * gsd_m, gsd_m, size_px, size_px)
    work = _Work(grid, rng)
    scheme = rng.random()
    if scheme < 0.34:
        work.car_park()
    elif scheme < 0.52:
        work.lorry_park()
    elif scheme < 0.82:
        work.cluttered_yard()
    else:
        work.street()
    return work.finish()


class _Work:
    """A canvas being filled; nothing touches what already stands."""

    def __init__(self, grid: Grid, rng: np.random.Generator) -> None:
        self.rng = rng
        self.grid = grid
        self.reach = grid.width_px * grid.gsd_m
        self.middle = np.array([grid.west_m, grid.north_m]) + np.array([0.5, -0.5]) * self.reach
        self.heading = float(rng.uniform(0, 360))
        self.sun = SunPosition(float(rng.uniform(18, 72)), float(rng.uniform(0, 360)))
        self.light = Light.of(self.sun, overcast=bool(rng.random() < 0.25))
        self.canvas = self._ground()
        self.placed: list[Placed] = []
        self._taken: list[tuple[float, float, float]] = []

    def _ground(self) -> Canvas:
        rng = self.rng
        weights = np.array([weight for _, weight in _GROUNDS])
        colour = np.array(_GROUNDS[int(rng.choice(len(_GROUNDS), p=weights / weights.sum()))][0]) + rng.normal(0, 10)
        canvas = Canvas.blank(self.grid, (float(colour[0]), float(colour[1]), float(colour[2])))
        shape = canvas.height.shape
        scales = tuple(max(round(m / self.grid.gsd_m), 1) for m in (0.2, 0.6, 2.5, 12.0))
        rough = float(rng.uniform(0.6, 2.0))
        canvas.rgb += (rough * speckle(shape, rng, scales, (2.5, 2.0, 3.0, 5.0)))[..., None]
        stains = np.clip(noise(shape, scales[2], rng) - float(rng.uniform(0.6, 1.6)), 0, 1.5)
        canvas.rgb -= (float(rng.uniform(4, 24)) * stains)[..., None]
        return canvas

    def at(self, along: float, across: float, origin: MapPoint | None = None) -> MapPoint:
        """A point in metres along the yard's heading and to its right, from the middle or another point."""
        a = math.radians(self.heading)
        east, north = math.sin(a) * along + math.cos(a) * across, math.cos(a) * along - math.sin(a) * across
        start = origin or MapPoint(float(self.middle[0]), float(self.middle[1]))
        return MapPoint(start.east_m + east, start.north_m + north)

    def somewhere(self) -> MapPoint:
        east, north = self.rng.uniform(-0.5, 0.5, 2) * self.reach
        return MapPoint(float(self.middle[0] + east), float(self.middle[1] + north))

    def _free(self, point: MapPoint, radius: float) -> bool:
        if any((point.east_m - e) ** 2 + (point.north_m - n) ** 2 < (radius + r) ** 2 for e, n, r in self._taken):
            return False
        self._taken.append((point.east_m, point.north_m, radius))
        return True

    def _rectangle(self, centre: MapPoint, length: float, width: float, heading_deg: float) -> Polygon:
        a = math.radians(heading_deg)
        f, s = np.array([math.sin(a), math.cos(a)]) * length / 2, np.array([math.cos(a), -math.sin(a)]) * width / 2
        c = np.array([centre.east_m, centre.north_m])
        return Polygon([c + f + s, c + f - s, c - f - s, c - f + s])

    def put(self, item: VehicleSprite, centre: MapPoint, heading_deg: float) -> None:
        self.placed.append(Placed(item, centre, heading_deg % 360.0, None))

    def light_one(self, longest_m: float = 7.0) -> VehicleSprite:
        return vehicle(*self._light(longest_m))

    def heavy_one(self) -> VehicleSprite:
        return vehicle(*self._heavy())

    def _light(self, longest_m: float = 7.0) -> tuple[VehicleKind, int]:
        kind = _LIGHT[int(self.rng.choice(3, p=[0.86, 0.11, 0.03]))] if longest_m > 6 else "car"
        return kind, int(self.rng.integers(_VARIANTS))

    def _heavy(self) -> tuple[VehicleKind, int]:
        kind = _HEAVY[int(self.rng.choice(4, p=[0.38, 0.34, 0.16, 0.12]))]
        return kind, int(self.rng.integers(_VARIANTS))

    def _shown(self, point: MapPoint) -> bool:
        """Whether the longest vehicle, standing there, could reach into the picture."""
        east, north = abs(point.east_m - self.middle[0]), abs(point.north_m - self.middle[1])
        return bool(max(east, north) < self.reach / 2 + 10)

    def loose(self, count: int, heavy: float) -> None:
        """Single vehicles at any angle."""
        for _ in range(count):
            item = self.heavy_one() if self.rng.random() < heavy else self.light_one()
            point = self.somewhere()
            if self._free(point, item.length_m / 2 + 0.4):
                turn = float(self.rng.choice([0, 90, 180, 270])) + float(self.rng.normal(0, 5))
                free = self.rng.random() < 0.6
                self.put(item, point, float(self.rng.uniform(0, 360)) if free else self.heading + turn)

    def _rows(self, depth: float, aisle: float, pitch: float, fill: float, item: str, lines: float) -> None:
        """Rows of bays over the whole ground, two back to back between aisles, filled by chance."""
        rng, half = self.rng, self.reach * 0.72
        slant = float(rng.choice([0.0, 0.0, 0.0, 30.0, -30.0, 45.0]))
        step = pitch / math.cos(math.radians(slant))
        across, number = -half, 0
        while across < half:
            gap = rng.random() < 0.12
            for index in range(int(2 * half / step)):
                along = -half + index * step
                centre = self.at(along, across)
                heading = self.heading + 90 + slant + (180 if number % 2 else 0)
                if lines and not gap:
                    a = self.at(along - step / 2 - math.tan(math.radians(slant)) * depth / 2, across - depth / 2)
                    b = self.at(along - step / 2 + math.tan(math.radians(slant)) * depth / 2, across + depth / 2)
                    self.canvas.line(a, b, 0.12, PAINT, lines)
                if not gap and rng.random() < fill:
                    east, north = rng.normal(0, 0.1, 2)
                    spot = MapPoint(centre.east_m + float(east), centre.north_m + float(north))
                    chosen = self._light(6.5) if item == "car" else self._heavy()
                    turned = heading + (180 if rng.random() < 0.4 else 0) + float(rng.normal(0, 1.5))
                    if self._shown(spot):
                        self.put(vehicle(*chosen), spot, turned)
            across += depth + (aisle if number % 2 else float(rng.uniform(0.1, 0.6)))
            number += 1

    def car_park(self) -> None:
        """Packed cars in rows; some lamp islands; here and there a lorry in an aisle."""
        rng = self.rng
        self._rows(5.1, float(rng.uniform(5, 8)), float(rng.uniform(2.2, 2.9)), float(rng.uniform(0.05, 1.0)), "car",
                   float(rng.uniform(0.3, 0.9)) * float(rng.random() < 0.75))  # fmt: skip

    def lorry_park(self) -> None:
        """Lorries, trailers and buses side by side, some cars between them."""
        rng = self.rng
        depth, aisle, pitch = (float(rng.uniform(*span)) for span in ((14.5, 18), (8, 16), (3.1, 4.8)))
        fill, lines = float(rng.uniform(0.2, 0.95)), float(rng.uniform(0.3, 0.9)) * float(rng.random() < 0.5)
        self._rows(depth, aisle, pitch, fill, "heavy", lines)

    def cluttered_yard(self) -> None:
        """Slabs, stacks, containers and machines in rows and heaps; a few vehicles among them."""
        rng = self.rng
        for _ in range(int(rng.integers(1, 5))):
            self._stack_rows()
        for _ in range(int(rng.integers(4, 30))):
            self._thing(self.somewhere(), self.heading + float(rng.choice([0, 90])) + float(rng.normal(0, 6)))
        self.loose(int(rng.integers(0, 14)), 0.45)

    def street(self) -> None:
        """A street with traffic and kerb parking between roofs that carry plant."""
        rng = self.rng
        road, half = float(rng.uniform(7, 14)), self.reach * 0.75
        self._strip(0.0, road, (96, 97, 100))
        for along in np.arange(-half, half, 9.0):
            self.canvas.line(self.at(float(along), 0), self.at(float(along) + 4, 0), 0.15, PAINT, 0.8)
        for side in (-1, 1):
            self._roofs(side * (road / 2 + float(rng.uniform(5, 9))), side)
            along, kerb = -half, side * (road / 2 + 1.1)
            full = float(rng.uniform(0, 0.95))
            while along < half:
                item = self.light_one()
                if rng.random() < full:
                    turn = float(rng.choice([0, 180])) + float(rng.normal(0, 2))
                    self.put(item, self.at(along, kerb), self.heading + turn)
                along += item.length_m + float(rng.uniform(0.5, 1.6))
            along = -half + float(rng.uniform(0, 30))
            while along < half:
                item = self.heavy_one() if rng.random() < 0.3 else self.light_one()
                self.put(item, self.at(along, side * road / 4), self.heading + (0 if side > 0 else 180))
                along += item.length_m + float(rng.uniform(2, 40))

    def _strip(self, across: float, width: float, colour: Colour) -> None:
        length = self.reach * 1.6
        found = self.canvas.mask(self._rectangle(self.at(0, across), length, width, self.heading))
        if found is not None:
            rows, cols, coverage = found
            texture = np.asarray(colour, np.float32) + 3 * noise(coverage.shape, 3, self.rng)[..., None]
            self.canvas.paint(rows, cols, coverage, texture)

    def _roofs(self, across: float, side: int) -> None:
        rng, along = self.rng, -self.reach * 0.75
        while along < self.reach * 0.75:
            length, depth = float(rng.uniform(10, 34)), float(rng.uniform(10, 26))
            if rng.random() < 0.75:
                self._roof(self.at(along + length / 2, across + side * depth / 2), length, depth)
            along += length + float(rng.uniform(1, 8))

    def _roof(self, centre: MapPoint, length: float, depth: float) -> None:
        rng = self.rng
        found = self.canvas.mask(self._rectangle(centre, length, depth, self.heading))
        if found is None:
            return
        rows, cols, coverage = found
        colour = np.asarray(_ROOFS[int(rng.integers(len(_ROOFS)))], np.float32) + float(rng.normal(0, 8))
        height = float(rng.uniform(3, 14))
        self.canvas.paint(rows, cols, coverage, colour + 4 * noise(coverage.shape, 4, rng)[..., None])
        region = self.canvas.height[rows, cols]
        np.maximum(region, height * (coverage > 0.5), out=region)
        for _ in range(int(rng.integers(0, 9))):
            a, b = rng.uniform(-0.42, 0.42, 2)
            spot = self.at(float(a) * length, float(b) * depth, centre)
            size = rng.uniform(0.8, 5, 2)
            box = self.canvas.mask(self._rectangle(spot, float(size[0]), float(size[1]), self.heading))
            if box is not None:
                r, c, cover = box
                self.canvas.paint(r, c, cover, float(rng.uniform(90, 225)))
                self.canvas.height[r, c] += cover * float(rng.uniform(0.4, 2.2))

    def _stack_rows(self) -> None:
        """A block of equal things in a grid: slabs of a stone yard, pallets, containers."""
        rng = self.rng
        length, width = float(rng.uniform(1.6, 6.5)), float(rng.uniform(1.0, 2.6))
        base, height = _SLABS[int(rng.integers(len(_SLABS)))], float(rng.uniform(0.15, 2.4))
        gaps = rng.uniform(0.15, 2.0, 2)
        columns, rows = int(rng.integers(2, 12)), int(rng.integers(1, 7))
        origin = rng.uniform(-0.5, 0.3, 2) * self.reach
        for i in range(columns):
            for j in range(rows):
                if rng.random() < 0.1:
                    continue
                along, across = origin + np.array([i * (length + gaps[0]), j * (width + gaps[1])])
                point = self.at(float(along), float(across))
                if self._free(point, min(length, width) / 2):
                    tone = base if rng.random() < 0.7 else _SLABS[int(rng.integers(len(_SLABS)))]
                    sprite = slab(length * float(rng.uniform(0.85, 1)), width, tone, height, rng)
                    self._stamp(sprite, point, self.heading + float(rng.normal(0, 1.5)))

    def _thing(self, point: MapPoint, heading_deg: float) -> None:
        rng = self.rng
        if not self._free(point, 1.6):
            return
        if rng.random() < 0.45:
            kinds = [kind for kind in GOODS_KINDS if kind != "vehicle"]
            kind = kinds[int(rng.integers(len(kinds)))]
            size = (61, 25) if kind == "container" else (int(rng.integers(4, 14)) * 5, int(rng.integers(3, 7)) * 5)
            self._stamp(goods(kind, *size, int(rng.integers(64))), point, heading_deg)
        else:
            tone = _SLABS[int(rng.integers(len(_SLABS)))]
            length, width = float(rng.uniform(1.2, 7)), float(rng.uniform(0.8, 3))
            self._stamp(slab(length, width, tone, float(rng.uniform(0.1, 2.6)), rng), point, heading_deg)

    def _stamp(self, sprite: Sprite, point: MapPoint, heading_deg: float) -> None:
        self.canvas.stamp(sprite, point, heading_deg, self.sun, direct=self.light.contrast, contact=0.45)

    def finish(self) -> Yard:
        """Light, air and lens."""
        rng, grid = self.rng, self.grid
        draw_vehicles(self.canvas, self.placed, self.sun, self.light.contrast)
        tilt = surface_tilt(self.canvas.height, grid.gsd_m)
        rgb = illuminate(self.canvas.rgb, self.canvas.height, tilt, grid.gsd_m, self.sun, self.light)
        image = expose(rgb, float(rng.beta(1.2, 5)), grid.gsd_m, rng)
        south, east = grid.north_m - self.reach, grid.west_m + self.reach
        view = view_of(grid.west_m, south, east, grid.north_m)
        return Yard(image, grid, tuple(vehicle_truths(self.placed, MapShift(), view)))


def slab(length_m: float, width_m: float, colour: Sequence[float], height_m: float, rng: np.random.Generator) -> Sprite:
    """A block, stack, skip or machine bed: a rectangle with a rim, perhaps bands, a dark inside or a bump."""
    cols, rows = max(round(length_m / SPRITE_GSD_M), 8), max(round(width_m / SPRITE_GSD_M), 8)
    rgb: FloatArray = np.empty((rows, cols, 3), np.float32)
    rgb[:] = np.asarray(colour, np.float32) + float(rng.normal(0, 8))
    height: FloatArray = np.full((rows, cols), height_m, np.float32)
    style = rng.random()
    if style < 0.25:  # open skip: dark inside
        edge = 3
        rgb[edge:-edge, edge:-edge] *= float(rng.uniform(0.3, 0.8))
        height[edge:-edge, edge:-edge] *= 0.4
    elif style < 0.5:  # boards or slats across
        pitch = int(rng.integers(5, 26))
        rgb[:, ::pitch] *= 0.7
    elif style < 0.7:  # a second, smaller body on top
        a, b = int(cols * rng.uniform(0, 0.5)), int(rows * rng.uniform(0, 0.4))
        part = slice(b, b + max(rows // 2, 3)), slice(a, a + max(cols // 2, 3))
        rgb[part] = np.asarray(_SLABS[int(rng.integers(len(_SLABS)))], np.float32)
        height[part] += float(rng.uniform(0.2, 1.2))
    grain = cv2.GaussianBlur(rng.standard_normal((rows, cols)).astype(np.float32), (0, 0), float(rng.uniform(1, 5)))
    rgb *= 1 + float(rng.uniform(0.05, 0.4)) * grain[..., None]
    return sprite_of(np.clip(rgb, 0, 255), np.ones((rows, cols), np.float32), height)
