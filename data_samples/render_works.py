"""Building work: parts of roofs covered anew or opened, new halls, frames and pits; where they may stand, how they look."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

import numpy as np
from shapely.affinity import rotate, translate
from shapely.geometry import LineString, Point, Polygon, box
from shapely.geometry.base import BaseGeometry
from shapely.ops import unary_union

from data_samples.render_canvas import Canvas, FloatArray, noise
from data_samples.render_ground import ROOF_COLOURS
from data_samples.scene_model import (
    BuildingShape,
    GoodsTruth,
    MapPoint,
    MapShift,
    SceneState,
    SiteLayout,
    WorkLook,
    WorkShape,
    WorkTruth,
)

Carried = TypeVar("Carried", GoodsTruth, WorkTruth)
_ROOF_LOOKS: tuple[WorkLook, ...] = ("covered", "covered", "opened")
_GROUND_LOOKS: tuple[WorkLook, ...] = ("building", "building", "frame", "pit")
_SOIL = (146, 118, 88)
_INSIDE = (64, 62, 60)
_TRIES = 80


def carried(item: Carried, shift: MapShift) -> Carried:
    """The same in file coordinates."""
    return replace(item, polygon=translate(item.polygon, shift.east_m, shift.north_m))


def plan_roof_work(layout: SiteLayout, rng: np.random.Generator, number: int = 1) -> WorkShape | None:
    """A part of the largest roof (of those without PV) to be covered anew or opened; None when there is no roof."""
    arrays = unary_union([array.polygon for array in layout.arrays])
    free = [b for b in layout.buildings if not b.polygon.intersects(arrays) and b.polygon.area > 150]
    if not free:
        return None
    building = max(free, key=lambda each: each.polygon.area)
    look = _ROOF_LOOKS[int(rng.integers(len(_ROOF_LOOKS)))]
    part = _part_of(building, rng, 0.5 if look == "covered" else 0.22)
    tones = [tone for tone in range(len(ROOF_COLOURS)) if _distance(tone, building.tone) > 45]
    tone = tones[int(rng.integers(len(tones)))]
    return WorkShape(f"{layout.site_id}-W{number}", "roof", part, look, building.height_m + 0.1, tone)


def _distance(tone: int, other: int) -> float:
    return float(np.linalg.norm(np.subtract(ROOF_COLOURS[tone], ROOF_COLOURS[other])))


def _part_of(building: BuildingShape, rng: np.random.Generator, most: float) -> Polygon:
    p0, p1, _, p3 = (np.array(xy[:2]) for xy in list(building.polygon.exterior.coords)[:4])
    share, deep = float(rng.uniform(0.5, 1.0)) * most, float(rng.choice([0.5, 0.9]))
    start, low = float(rng.uniform(0.03, 0.97 - share)), float(rng.choice([0.05, 0.95 - deep]))
    along, up = p1 - p0, p3 - p0
    corner = p0 + along * start + up * low
    return Polygon([corner, corner + along * share, corner + along * share + up * deep, corner + up * deep])


def plan_construction(layout: SiteLayout, rng: np.random.Generator, number: int = 2) -> WorkShape | None:
    """A new hall, frame or pit of 80 to 400 m2 where nothing else stands; None when no room was found."""
    taken: list[BaseGeometry] = [building.polygon.buffer(1.0) for building in layout.buildings]
    taken += [slot.polygon.buffer(1.0) for slot in layout.slots] + [array.polygon.buffer(2.0) for array in layout.arrays]
    taken += [place.buffer(1.0) for yard in layout.yards for place in yard.places]
    taken += [Point(s.centre.east_m, s.centre.north_m).buffer(s.length_m / 2 + 1.5) for s in layout.stands]
    taken += [Point(t.centre.east_m, t.centre.north_m).buffer(t.radius_m * 0.8) for t in layout.trees]
    for road in layout.roads:
        line = LineString([(road.start.east_m, road.start.north_m), (road.end.east_m, road.end.north_m)])
        taken.append(line.buffer(road.width_m / 2 + 1.0))
    free = layout.boundary.buffer(-2.0).difference(unary_union(taken))
    west, south, east, north = layout.boundary.bounds
    best: Polygon | None = None
    for _ in range(_TRIES):
        centre = (float(rng.uniform(west, east)), float(rng.uniform(south, north)))
        half_u, half_v = float(rng.uniform(4.5, 11.0)), float(rng.uniform(4.0, 9.0))
        shape = box(centre[0] - half_u, centre[1] - half_v, centre[0] + half_u, centre[1] + half_v)
        turned = rotate(shape, layout.rotation_deg)
        if free.contains(turned) and (best is None or turned.area > best.area):
            best = turned
    if best is None:
        return None
    look = _GROUND_LOOKS[int(rng.integers(len(_GROUND_LOOKS)))]
    height = {"building": float(rng.uniform(4.5, 8.0)), "frame": 4.0, "pit": 0.0}[look]
    return WorkShape(f"{layout.site_id}-W{number}", "construction", best, look, height, int(rng.integers(len(ROOF_COLOURS))))


def draw_works(canvas: Canvas, layout: SiteLayout, state: SceneState) -> list[WorkTruth]:
    """Paints the state's building work; truth in true coordinates."""
    for work in state.works:
        found = canvas.mask(work.polygon)
        if found is None:
            continue
        rows, cols, coverage = found
        rng = np.random.default_rng([layout.seed, 31, *work.work_id.encode()])
        canvas.paint(rows, cols, coverage, _texture(canvas, coverage.shape, work, rng))
        if work.look == "frame":
            _beams(canvas, work)
        elif work.look != "opened":
            height = canvas.height[rows, cols]
            np.maximum(height, work.height_m * (coverage > 0.5), out=height)
    return [WorkTruth(work.work_id, layout.site_id, work.kind, work.look, work.polygon) for work in state.works]


def _texture(canvas: Canvas, shape: tuple[int, ...], work: WorkShape, rng: np.random.Generator) -> FloatArray:
    size = (shape[0], shape[1])
    fine, broad = noise(size, 1, rng), noise(size, max(round(3.0 / canvas.grid.gsd_m), 2), rng)
    if work.look in ("pit", "frame"):
        base, grain = _SOIL, 9.0 * fine + 12.0 * broad
    elif work.look == "opened":
        base, grain = _INSIDE, 6.0 * fine + 16.0 * np.maximum(broad, 0)
    else:
        colour = ROOF_COLOURS[work.tone]
        base, grain = (int(colour[0]), int(colour[1]), int(colour[2])), 2.5 * fine + 3.0 * broad
    return np.asarray(np.asarray(base, np.float32) + grain[..., None], np.float32)


def _beams(canvas: Canvas, work: WorkShape) -> None:
    """Steel beams every three metres, both ways."""
    p0, p1, _, p3 = (np.array(xy[:2]) for xy in list(work.polygon.exterior.coords)[:4])
    for first, second in ((p1, p3), (p3, p1)):
        count = max(math.floor(float(np.linalg.norm(first - p0)) / 3.0), 1)
        for step in range(count + 1):
            start = p0 + (first - p0) * step / count
            end = start + (second - p0)
            canvas.line(MapPoint(*start), MapPoint(*end), 0.4, (132, 84, 62), 0.95)
