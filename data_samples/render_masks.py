"""Labelled panel masks cut from rendered plants and roofs, in the Masks folder format."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from shapely.affinity import translate

from data_samples.render import Rendered
from data_samples.render_canvas import ByteArray
from data_samples.scene_model import SiteLayout

MASK_CROP_PX = 384


def panel_mask(rendered: Rendered) -> ByteArray:
    """255 where a module is, 0 elsewhere, (rows, columns)."""
    mask: ByteArray = np.zeros(rendered.image.shape[:2], np.uint8)
    for panel in rendered.truth.panels:
        for polygon in panel.polygons:
            true = translate(polygon, -rendered.truth.shift.east_m, -rendered.truth.shift.north_m)
            cv2.fillPoly(mask, [np.round(rendered.grid.ring(true) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    return mask


def write_masks_folder(
    directory: Path, scenes: Iterator[tuple[SiteLayout, Rendered]], n_images: int, seed: int, per_scene: int = 3
) -> int:
    """Write `n_images` cut-outs with panel masks; about a fifth show no panel. Returns pictures with panels."""
    for name in ("images", "masks"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 9])
    rows: list[tuple[object, ...]] = []
    with_panels = 0
    for layout, rendered in scenes:
        if len(rows) >= n_images:
            break
        mask = panel_mask(rendered)
        split = "val" if int(layout.site_id.rsplit("-", 1)[1]) % 7 == 3 else "train"
        for row, col in _corners(mask, per_scene, rng):
            part = mask[row:row + MASK_CROP_PX, col:col + MASK_CROP_PX]
            if len(rows) >= n_images or part.shape != (MASK_CROP_PX, MASK_CROP_PX):
                continue
            name = f"{layout.site_id}_{len(rows):05d}"
            picture = rendered.image[row:row + MASK_CROP_PX, col:col + MASK_CROP_PX]
            cv2.imwrite(str(directory / "images" / f"{name}.jpg"), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
            cv2.imwrite(str(directory / "masks" / f"{name}.png"), part)
            rows.append((name, split, rendered.grid.gsd_m, "rendered", layout.site_id))
            with_panels += int(part.any())
    with (directory / "index.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("name", "split", "gsd_m", "source", "group"))
        writer.writerows(rows)
    return with_panels


def _corners(mask: ByteArray, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Upper left corners of cut-outs: one anywhere, the others around panels."""
    last = np.maximum(np.array(mask.shape) - MASK_CROP_PX, 0)
    on = np.argwhere(mask[::8, ::8] > 0) * 8
    corners: list[tuple[int, int]] = []
    for number in range(count):
        corner = rng.integers(0, last + 1)
        if number > 0 and len(on):
            jitter = rng.uniform(-0.3, 0.3, 2) * MASK_CROP_PX
            corner = np.clip(on[int(rng.integers(len(on)))] - MASK_CROP_PX / 2 + jitter, 0, last).astype(int)
        corners.append((int(corner[0]), int(corner[1])))
    return corners

