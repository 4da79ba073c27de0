"""Labelled training pictures cut from rendered scenes, in the Boxes and Slots folder formats.

    python -m data_samples.boxes_folder DIR --n 400 --yards 700 --slots 2000 --panels 200 --seed 1

writes DIR/vehicles (with `oriented/NAME.txt`: centre x, centre y, length, width in pixels and heading in radians
from the x axis towards the y axis, one row for each label) and DIR/slots (chips straightened as the slot classifier
does it), and DIR/panels (masks). Splits go by site: no site of val was seen in train.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import orjson
from shapely.geometry import Polygon

from data_samples.layout import make_layout
from data_samples.render import Rendered, render_image
from data_samples.render_canvas import ByteArray, Grid
from data_samples.render_masks import write_masks_folder
from data_samples.render_yards import render_yard
from data_samples.scene_model import (
    GOODS_KINDS,
    ArrayState,
    GoodsKind,
    MapShift,
    SceneState,
    SiteKind,
    SiteLayout,
    SlotTruth,
    VehicleTruth,
)
from detection.evaluate import to_grid
from detection.infer import rectify

KINDS: tuple[SiteKind, ...] = ("factory", "warehouse", "factory", "warehouse", "solar")
CLASSES = ("car", "heavy")
SLOT_GSD_M = 0.15
"""Pixel size on which slots are straightened, as in a scan."""
CROP_PX = 512
SCENES_PER_SITE = 2
YARD_GSDS_M = (0.07, 0.1, 0.13, 0.15, 0.18, 0.22, 0.25, 0.3, 0.3)


@dataclass(frozen=True, slots=True)
class Crop:
    """A cut-out: picture and YOLO rows (class, centre x, centre y, width, height; relative), decided or not."""

    image: ByteArray
    labels: tuple[tuple[int, float, float, float, float], ...]
    ignored: tuple[tuple[int, float, float, float, float], ...]
    oriented: tuple[tuple[float, float, float, float, float], ...]
    """For each label: centre x and y, length, width in pixels, heading in radians from x towards y."""


def random_state(layout: SiteLayout, gsd_m: float, seed: int) -> SceneState:
    """A scene state by chance: any daylight, season, air and filling."""
    rng = np.random.default_rng([seed, 77, *layout.site_id.encode()])
    day = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(366)), minutes=int(rng.integers(90, 420)))
    share = float(rng.uniform(0.05, 0.85))
    occupied: dict[str, GoodsKind] = {
        slot.slot_id: GOODS_KINDS[int(rng.integers(len(GOODS_KINDS)))] if rng.random() < 0.93 else "vehicle"
        for slot in layout.slots_of("yard_bay") if rng.random() < share
    }
    bays = len(layout.slots_of("parking_bay"))
    return SceneState(
        day, gsd_m, cars=int(bays * rng.uniform(0.1, 0.95)) + int(rng.integers(0, 8)), heavy=int(rng.integers(0, 11)),
        passing=int(rng.integers(0, 9)), occupied=occupied,
        stock_cover={yard.yard_id: float(rng.uniform(0, 0.6)) for yard in layout.stock_yards},
        arrays={
            array.array_id: ArrayState(float(rng.random() < 0.2) * float(rng.uniform(0, 0.4)),
                                       float(rng.random() < 0.3) * float(rng.uniform(0, 1)))
            for array in layout.arrays
        },
        haze=float(rng.beta(1.2, 5)), cloud_cover=float(rng.random() < 0.12) * float(rng.uniform(0, 0.3)),
        overcast=bool(rng.random() < 0.25), shift=MapShift(), seed=int(rng.integers(1 << 30)),
    )


def random_scenes(
    seed: int, gsds_m: Sequence[float], kinds: Sequence[SiteKind] = KINDS
) -> Iterator[tuple[SiteLayout, Rendered]]:
    """Endless rendered scenes of ever new sites, a few of each, kinds in turn."""
    rng = np.random.default_rng(seed)
    number = 0
    while True:
        kind = kinds[number % len(kinds)]
        lon, lat = float(rng.uniform(104, 121)), float(rng.uniform(24, 39))
        layout = make_layout(f"R{seed}-{number}", kind, lon, lat, seed)
        gsd = float(gsds_m[int(rng.integers(len(gsds_m)))])
        for scene in range(SCENES_PER_SITE):
            state = random_state(layout, gsd, seed * 1000 + number * 10 + scene)
            yield layout, render_image([layout], [state], layout.site_id, margin_m=10.0)
        number += 1


def _yolo(
    polygon: Polygon, grid: Grid, origin: tuple[int, int], size: int
) -> tuple[tuple[float, float, float, float], float] | None:
    """Clipped relative box and the part of the whole box inside the crop; None outside."""
    ring = grid.ring(polygon) + 0.5 - origin
    x0, y0 = ring.min(axis=0)
    x1, y1 = ring.max(axis=0)
    cx0, cy0, cx1, cy1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(size)), min(y1, float(size))
    if cx1 - cx0 < 2 or cy1 - cy0 < 2:
        return None
    inside = (cx1 - cx0) * (cy1 - cy0) / ((x1 - x0) * (y1 - y0))
    return ((cx0 + cx1) / 2 / size, (cy0 + cy1) / 2 / size, (cx1 - cx0) / size, (cy1 - cy0) / size), float(inside)


def crop_of(rendered: Rendered, origin: tuple[int, int], size: int = CROP_PX) -> Crop:
    """Cut a square at a pixel origin (column, row) with its boxes. Half-hidden vehicles become ignored boxes."""
    return _cut(rendered.image, rendered.grid, rendered.truth.vehicles, origin, size)


def _cut(
    image: ByteArray, grid: Grid, vehicles: Sequence[VehicleTruth], origin: tuple[int, int], size: int
) -> Crop:
    col, row = origin
    labels: list[tuple[int, float, float, float, float]] = []
    ignored: list[tuple[int, float, float, float, float]] = []
    oriented: list[tuple[float, float, float, float, float]] = []
    for vehicle in vehicles:
        found = _yolo(vehicle.polygon, grid, origin, size)
        if found is None:
            continue
        box, inside = found
        clear = inside >= 0.4 and vehicle.visible_fraction >= 0.5
        (labels if clear else ignored).append((CLASSES.index(vehicle.label), *box))
        if clear:
            x, y = grid.ring(vehicle.polygon).mean(axis=0) + 0.5 - origin
            gsd = grid.gsd_m
            heading = math.radians(vehicle.heading_deg - 90.0)
            oriented.append((float(x), float(y), vehicle.length_m / gsd, vehicle.width_m / gsd, heading))
    return Crop(image[row:row + size, col:col + size], tuple(labels), tuple(ignored), tuple(oriented))


def _origins(rendered: Rendered, count: int, size: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Places to cut: mostly around a vehicle, one anywhere."""
    rows, cols = rendered.image.shape[:2]
    origins: list[tuple[int, int]] = []
    for number in range(count):
        col, row = int(rng.integers(max(cols - size, 0) + 1)), int(rng.integers(max(rows - size, 0) + 1))
        vehicles = rendered.truth.vehicles
        if number > 0 and vehicles:
            centre = vehicles[int(rng.integers(len(vehicles)))].polygon.centroid
            x, y = rendered.grid.pixels([(centre.x, centre.y)])[0] + rng.uniform(-0.35, 0.35, 2) * size - size / 2
            col, row = int(np.clip(x, 0, max(cols - size, 0))), int(np.clip(y, 0, max(rows - size, 0)))
        origins.append((col, row))
    return origins


def write_boxes_folder(
    directory: Path, n_images: int, seed: int, gsds_m: Sequence[float] = (0.1, 0.13, 0.15, 0.2, 0.3), n_yards: int = 0
) -> int:
    """Write `n_images` cut-outs of sites and `n_yards` open grounds with vehicle boxes in the Boxes format.

    Cut-outs are 512 x 512 pixels, open grounds that or 400 x 400. Returns the number of boxes written.
    """
    for name in ("images", "labels", "ignore", "oriented"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 5])
    rows: list[tuple[str, str, float, str, str]] = []
    boxes = 0
    for layout, rendered in random_scenes(seed, gsds_m):
        if len(rows) >= n_images:
            break
        site = int(layout.site_id.rsplit("-", 1)[1])
        split = "val" if site % 7 == 3 else "train"
        per_scene = 2 if rendered.grid.gsd_m > 0.25 else 3
        for origin in _origins(rendered, per_scene, CROP_PX, rng):
            crop = crop_of(rendered, origin)
            if len(rows) >= n_images or crop.image.shape[:2] != (CROP_PX, CROP_PX):
                continue
            name = f"{layout.site_id}_{len(rows):05d}"
            _write_crop(directory, name, crop, int(rng.integers(78, 96)))
            rows.append((name, split, rendered.grid.gsd_m, "rendered", layout.site_id))
            boxes += len(crop.labels)
    for number in range(n_yards):
        gsd = YARD_GSDS_M[number % len(YARD_GSDS_M)]
        size = CROP_PX if gsd < 0.2 else 400
        yard = render_yard(gsd, size, seed * 100_000 + number)
        crop = _cut(yard.image, yard.grid, yard.vehicles, (0, 0), size)
        name = f"Y{seed}-{number:05d}"
        _write_crop(directory, name, crop, 70 + seed * 7 % 5 + number * 7 % 25)
        rows.append((name, "val" if number % 10 == 3 else "train", gsd, "rendered yards", f"Y{seed}-{number // 10}"))
        boxes += len(crop.labels)
    _write_index(directory / "index.csv", ("name", "split", "gsd_m", "source", "group"), rows)
    (directory / "dataset.json").write_bytes(orjson.dumps({"classes": list(CLASSES)}))
    return boxes


def _write_crop(directory: Path, name: str, crop: Crop, quality: int) -> None:
    target = str(directory / "images" / f"{name}.jpg")
    cv2.imwrite(target, crop.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    _write_labels(directory / "labels" / f"{name}.txt", crop.labels)
    turned = "".join(" ".join(f"{value:.3f}" for value in row) + "\n" for row in crop.oriented)
    (directory / "oriented" / f"{name}.txt").write_text(turned)
    if crop.ignored:
        _write_labels(directory / "ignore" / f"{name}.txt", crop.ignored)


def _write_labels(path: Path, rows: Sequence[tuple[int, float, float, float, float]]) -> None:
    path.write_text("".join(f"{c} {x:.6f} {y:.6f} {w:.6f} {h:.6f}\n" for c, x, y, w, h in rows))


def _write_index(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        writer.writerows(rows)


def slot_chip(
    rendered: Rendered, picture: ByteArray, slot: SlotTruth, shift_m: tuple[float, float] = (0.0, 0.0)
) -> ByteArray:
    """A slot straightened to the classifier's chip; `picture` is the rendered one on the SLOT_GSD_M grid.

    `shift_m`: how far from its place the slot is looked for, right and down.
    """
    corners = (rendered.grid.ring(slot.polygon) + 0.5) * (rendered.grid.gsd_m / SLOT_GSD_M)
    corners = corners + np.array(shift_m) / SLOT_GSD_M
    return rectify(picture, [(float(x), float(y)) for x, y in corners])


def _compressed(image: ByteArray, rng: np.random.Generator) -> ByteArray:
    """Most scenes are stored as JPEG on their own grid: at 0.3 m its blots of colour are as large as a bay."""
    if rng.random() < 0.2:
        return image
    quality = int(rng.integers(45, 96))
    coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def write_slots_folder(
    directory: Path, n_chips: int, seed: int, gsds_m: Sequence[float] = (0.1, 0.15, 0.3), misplaced_m: float = 0.0
) -> tuple[int, int]:
    """Write `n_chips` slot chips, half of them empty, in the Slots format; returns (empty, occupied) written.

    Half of them are looked for up to `misplaced_m` beside their place, as a picture that is not well registered shows them.
    """
    rng = np.random.default_rng([seed, 6])
    rows: list[tuple[str, str, int, float, str, str, float]] = []
    counts = [0, 0]
    for name in ("empty", "occupied"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for layout, rendered in random_scenes(seed + 500_000, gsds_m):
        if sum(counts) >= n_chips:
            break
        if layout.kind == "solar":
            continue
        split = "val" if int(layout.site_id.rsplit("-", 1)[1]) % 7 == 3 else "train"
        picture = to_grid(_compressed(rendered.image, rng), rendered.grid.gsd_m, SLOT_GSD_M, None)
        taken = [0, 0]
        for index in rng.permutation(len(rendered.truth.slots)):
            slot = rendered.truth.slots[int(index)]
            label = int(slot.occupied)
            if slot.visible_fraction < 0.9 or taken[label] >= 14 or counts[label] >= -(-n_chips // 2):
                continue
            name = f"{('empty', 'occupied')[label]}/{layout.site_id}_{sum(counts):05d}.png"
            far = float(rng.uniform(0, misplaced_m)) if rng.random() < 0.5 else 0.0
            turn = float(rng.uniform(0, 2 * math.pi))
            chip = slot_chip(rendered, picture, slot, (far * math.cos(turn), far * math.sin(turn)))
            cv2.imwrite(str(directory / name), chip[..., ::-1])
            rows.append((name, split, label, rendered.grid.gsd_m, slot.kind, slot.goods or "", round(far, 3)))
            taken[label] += 1
            counts[label] += 1
    _write_index(directory / "index.csv", ("name", "split", "label", "gsd_m", "kind", "goods", "shift_m"), rows)
    return counts[0], counts[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: DIR --n IMAGES --slots CHIPS --seed S."""
    parser = argparse.ArgumentParser(description="Write rendered training pictures (Boxes and Slots folders).")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--n", type=int, default=200, help="pictures with vehicle boxes")
    parser.add_argument("--yards", type=int, default=0, help="pictures of open ground with vehicle boxes, besides --n")
    parser.add_argument("--slots", type=int, default=0, help="slot chips")
    parser.add_argument("--misplaced", type=float, default=0.0, help="metres that half of the slots are looked for beside")
    parser.add_argument("--panels", type=int, default=0, help="pictures with panel masks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gsd", type=float, nargs="*", default=[0.1, 0.13, 0.15, 0.2, 0.3], help="metres per pixel")
    args = parser.parse_args(argv)
    if args.n or args.yards:
        boxes = write_boxes_folder(args.directory / "vehicles", args.n, args.seed, args.gsd, args.yards)
        sys.stderr.write(f"{args.n + args.yards} pictures, {boxes} boxes in {args.directory / 'vehicles'}\n")
    if args.slots:
        empty, occupied = write_slots_folder(args.directory / "slots", args.slots, args.seed, args.gsd, args.misplaced)
        sys.stderr.write(f"{empty} empty and {occupied} occupied chips in {args.directory / 'slots'}\n")
    if args.panels:
        plants = random_scenes(args.seed + 900_000, args.gsd, ("solar", "solar", "warehouse"))
        shown = write_masks_folder(args.directory / "panels", plants, args.panels, args.seed)
        sys.stderr.write(f"{args.panels} pictures, {shown} with panels in {args.directory / 'panels'}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
