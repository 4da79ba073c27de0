"""PV tables: modules with frames and cell tone, soiled ones brownish, missing ones leaving the rack bare."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import Polygon

from data_samples.layout import MODULE_WIDTH_M
from data_samples.render_canvas import SPRITE_GSD_M, Canvas, FloatArray, Sprite, noise
from data_samples.scene_model import ArrayShape, ArrayState, MapPoint, SunPosition

NOON = SunPosition(50.0, 180.0)
SOIL = np.array([152, 136, 110], np.float32)


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Which module columns of a table are there and which are soiled; boolean arrays (columns,)."""

    present: np.ndarray
    soiled: np.ndarray


def plan_tables(array: ArrayShape, state: ArrayState, seed: int) -> tuple[TablePlan, ...]:
    """Spread missing and soiled modules over an array in runs, the same for the same seed.

    Runs keep their order when a fraction grows, so that soiling and theft look like one process over time.
    """
    rng = np.random.default_rng([seed, *array.array_id.encode()])
    counts = [max(round(_edges(table)[2] / MODULE_WIDTH_M), 1) for table in array.tables]
    total = sum(counts)
    smooth = np.repeat(rng.random(-(-total // 6)), 6)[:total] + 0.05 * rng.random(total)
    dirty = cv2.GaussianBlur(rng.random((1, total)).astype(np.float32), (0, 0), 5).ravel()
    missing = np.zeros(total, bool)
    missing[np.argsort(smooth, kind="stable")[: round(state.missing_fraction * total)]] = True
    soiled = np.zeros(total, bool)
    soiled[np.argsort(dirty, kind="stable")[: round(state.soiled_fraction * total)]] = True
    ends = np.cumsum(counts)
    return tuple(
        TablePlan(~missing[end - count:end], soiled[end - count:end])
        for end, count in zip(ends, counts, strict=True)
    )


def present_polygons(array: ArrayShape, plans: tuple[TablePlan, ...]) -> tuple[Polygon, ...]:
    """Outlines of the runs of modules that are there, in map metres."""
    outlines: list[Polygon] = []
    for table, plan in zip(array.tables, plans, strict=True):
        origin, along, length, up = _edges(table)
        step = along / len(plan.present) * length
        edges = np.flatnonzero(np.diff(np.concatenate([[0], plan.present.astype(np.int8), [0]])))
        for start, stop in zip(edges[::2], edges[1::2], strict=True):
            a, b = origin + step * start, origin + step * stop
            outlines.append(Polygon([a, b, b + up, a + up]))
    return tuple(outlines)


def paint_array(
    canvas: Canvas, array: ArrayShape, plans: tuple[TablePlan, ...], seed: int, base_height_m: float
) -> None:
    """Draw the tables of one array; `base_height_m` is what they stand on (a roof, or 0)."""
    rng = np.random.default_rng([seed + 1, *array.array_id.encode()])
    tone = np.array(((38, 48, 82), (34, 40, 62), (30, 34, 46), (46, 60, 98))[int(rng.integers(4))], np.float32)
    for table, plan in zip(array.tables, plans, strict=True):
        origin, along, length, up = _edges(table)
        centre = origin + along * length / 2 + up / 2
        depth = float(np.linalg.norm(up))
        sprite = _table(plan, length, depth, tone, base_height_m, array.mounting == "ground", rng)
        heading = math.degrees(math.atan2(along[0], along[1]))
        canvas.stamp(sprite, MapPoint(*centre), heading, NOON, direct=0.0, contact=0.12)


def _edges(table: Polygon) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    corners = np.asarray(table.exterior.coords)[:4, :2]
    first = corners[1] - corners[0]
    length = float(np.linalg.norm(first))
    return corners[0], first / length, length, corners[3] - corners[0]


def _table(
    plan: TablePlan, length: float, depth: float, tone: FloatArray, base: float, ground: bool, rng: np.random.Generator
) -> Sprite:
    rows, cols = round(depth / SPRITE_GSD_M), round(length / SPRITE_GSD_M)
    count = len(plan.present)
    column_of = np.minimum((np.arange(cols) * count / cols).astype(int), count - 1)
    rgb = np.empty((rows, cols, 3), np.float32)
    per_module = rng.normal(0, 2.5, size=(2, count)).astype(np.float32)
    rgb[:] = tone
    rgb[: rows // 2] += per_module[0, column_of][None, :, None]
    rgb[rows // 2:] += per_module[1, column_of][None, :, None]
    soiled = plan.soiled[column_of].astype(np.float32)[None, :]
    if plan.soiled.any():
        blotch = np.clip(0.40 + 0.06 * noise((rows, cols), 20, rng), 0.2, 0.6) * soiled
        rgb += blotch[..., None] * (SOIL - rgb)
    edge = np.concatenate([[True], np.diff(column_of) > 0])
    frame = np.array([172, 176, 180], np.float32)
    line_cols = edge | np.roll(edge, -1)
    rgb[:, line_cols] += 0.35 * (frame - rgb[:, line_cols])
    for row in (0, rows // 2 - 1, rows // 2, rows - 1):
        rgb[row] += 0.6 * (frame - rgb[row])
    present = plan.present[column_of].astype(np.float32)[None, :]
    alpha = np.repeat(present, rows, axis=0)
    rail = np.zeros((rows, 1), np.float32)
    rail[[rows // 4, rows // 4 + 1, 3 * rows // 4, 3 * rows // 4 + 1]] = 1.0
    bare = (1 - alpha) * rail
    rgb = rgb * alpha[..., None] + bare[..., None] * np.array([150, 152, 154], np.float32)
    rise = np.linspace(2.0, 0.7, rows, dtype=np.float32)[:, None] if ground else np.full((rows, 1), 0.3, np.float32)
    height = (rise + np.float32(base)) * np.maximum(alpha, bare)
    lean = np.zeros((rows, cols, 2), np.float32)
    return Sprite(rgb, np.maximum(alpha, bare), height, lean)
