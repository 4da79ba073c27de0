"""Pictures for teaching what is goods, roof and ground, with masks, at 0.3 m per pixel.

    python -m data_samples.stock_folder DIR --n 700 --drawn 300 --backgrounds DATA/land_use --seed 21

Mask values: 0 ground, vehicles and all else, 1 goods, 2 roof, 3 not goods, and nothing is known about roofs. Pictures
of `--drawn` are photographs (`--backgrounds`, folders of 0.3 m tiles) with rendered goods and heaps on them, or with none.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from shapely.affinity import translate
from shapely.geometry import Polygon

from data_samples.boxes_folder import random_state
from data_samples.layout import make_layout
from data_samples.render import Rendered, render_image
from data_samples.render_canvas import ByteArray, Canvas, Grid, Sprite, noise, sprite_of
from data_samples.render_goods import GOODS_VARIANTS, goods
from data_samples.render_light import cast_shadows
from data_samples.render_place import rectangle
from data_samples.render_works import plan_construction, plan_roof_work
from data_samples.scene_model import GOODS_KINDS, MapPoint, SiteKind, SiteLayout, SunPosition
from detection.evaluate import to_grid

GSD_M = 0.3
CROP_PX = 256
_FINE = 8
"""Parts of a pixel's edge when outlines are filled."""
GROUND, GOODS, ROOF, NO_GOODS = 0, 1, 2, 3
KINDS: tuple[SiteKind, ...] = ("factory", "factory", "warehouse", "factory", "solar")
_GROUNDS = ("parkinglot", "runway", "airplane", "freeway", "intersection", "storagetanks", "buildings", "agricultural",
            "baseballdiamond", "beach", "chaparral", "river", "overpass")  # fmt: skip
"""Folders goods are drawn on; the others only show what is not goods."""
_HEAPS = ((96, 92, 88), (168, 146, 112), (52, 50, 50), (178, 172, 160), (120, 84, 62))


def stock_mask(layout: SiteLayout, rendered: Rendered) -> ByteArray:
    """Rows x columns on the GSD_M grid: GROUND, GOODS or ROOF."""
    scale = rendered.grid.gsd_m / GSD_M
    height, width = (round(edge * scale) for edge in rendered.image.shape[:2])
    mask: ByteArray = np.zeros((height, width), np.uint8)

    def fill(polygon: Polygon, value: int) -> None:
        _fill(mask, (rendered.grid.ring(polygon) + 0.5) * scale - 0.5, value)

    for building in layout.buildings:
        fill(building.polygon, ROOF)
    back = rendered.truth.shift
    for work in rendered.truth.works:
        fill(translate(work.polygon, -back.east_m, -back.north_m), ROOF if work.look in ("building", "covered") else GROUND)
    for item in rendered.truth.goods:
        fill(translate(item.polygon, -back.east_m, -back.north_m), GOODS)
    return mask


def _fill(mask: ByteArray, ring: npt.NDArray[np.float64], value: int) -> None:
    """Sets the pixels of which more than half lies in a ring (centres at whole numbers); OpenCV alone fills the rim too."""
    low = np.clip(np.floor(ring.min(axis=0)).astype(int) - 1, 0, None)
    high = np.minimum(np.ceil(ring.max(axis=0)).astype(int) + 2, mask.shape[1::-1])
    if (high <= low).any():
        return
    fine: ByteArray = np.zeros((high - low)[::-1] * _FINE, np.uint8)
    cv2.fillPoly(fine, [np.round(((ring - low + 0.5) * _FINE - 0.5) * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
    share = cv2.resize(fine, None, fx=1 / _FINE, fy=1 / _FINE, interpolation=cv2.INTER_AREA)
    mask[low[1]:high[1], low[0]:high[0]][share > 127] = value


def rendered_pairs(seed: int) -> Iterator[tuple[str, int, ByteArray, ByteArray]]:
    """Endless (site, its number, picture, mask) on the GSD_M grid, two dates of each site."""
    rng = np.random.default_rng([seed, 41])
    number = 0
    while True:
        kind = KINDS[number % len(KINDS)]
        lon, lat = float(rng.uniform(104, 121)), float(rng.uniform(24, 39))
        layout = make_layout(f"K{seed}-{number}", kind, lon, lat, seed)
        gsd_m = 0.3 if rng.random() < 0.75 else 0.15
        for date in range(2):
            state = random_state(layout, gsd_m, seed * 1000 + number * 10 + date)
            planned = (plan_roof_work(layout, rng), plan_construction(layout, rng)) if rng.random() < 0.4 else ()
            state = replace(
                state, cloud_cover=0.0, works=tuple(work for work in planned if work is not None),
                stock_cover={yard.yard_id: float(rng.uniform(0, 0.9)) for yard in layout.stock_yards},
            )
            rendered = render_image([layout], [state], layout.site_id, margin_m=10.0)
            picture = np.asarray(to_grid(rendered.image, rendered.grid.gsd_m, GSD_M, None), np.uint8)
            yield layout.site_id, number, picture, stock_mask(layout, rendered)
        number += 1


def draw_on_photograph(photograph: ByteArray, rng: np.random.Generator) -> tuple[ByteArray, ByteArray]:
    """Rows of goods or a few heaps drawn on a photograph of GSD_M, with shadows; picture and mask (GOODS, NO_GOODS)."""
    size = photograph.shape[0]
    canvas = Canvas.blank(Grid(0.0, size * GSD_M, GSD_M, photograph.shape[1], size), (0.0, 0.0, 0.0))
    canvas.rgb[:] = photograph
    mask: ByteArray = np.full(photograph.shape[:2], NO_GOODS, np.uint8)
    sun = SunPosition(float(rng.uniform(22, 70)), float(rng.uniform(0, 360)))
    for _ in range(int(rng.integers(1, 4))):
        _draw_block(canvas, mask, sun, rng)
    shadow = cast_shadows(canvas.height, GSD_M, sun) * float(rng.uniform(0.2, 0.65))
    lit = canvas.rgb * (1.0 - shadow[..., None])
    picture: ByteArray = np.clip(cv2.GaussianBlur(lit, (0, 0), float(rng.uniform(0.3, 0.6))), 0, 255).astype(np.uint8)
    return picture, mask


def _draw_block(canvas: Canvas, mask: ByteArray, sun: SunPosition, rng: np.random.Generator) -> None:
    """Some rows of one kind of goods, or a heap."""
    reach = canvas.grid.width_px * GSD_M
    heading, direct = float(rng.uniform(0, 360)), float(rng.uniform(0.3, 0.7))
    turn = math.radians(heading)
    east, north = (float(value) for value in rng.uniform(0.1 * reach, 0.9 * reach, 2))
    heap = rng.random() < 0.3
    kind, variant = GOODS_KINDS[int(rng.integers(len(GOODS_KINDS)))], int(rng.integers(GOODS_VARIANTS))
    length_dm, width_dm = int(rng.integers(4, 14)) * 5, int(rng.integers(4, 14)) * 5
    rows, columns = (1, 1) if heap else (int(rng.integers(1, 4)), int(rng.integers(1, 7)))
    gap = float(rng.uniform(0.2, 3.0))
    for row in range(rows):
        for column in range(columns):
            if rng.random() < 0.1:
                continue
            along, across = column * (length_dm / 10 + gap), row * (width_dm / 10 + gap)
            spot = MapPoint(east + math.sin(turn) * along + math.cos(turn) * across,
                            north + math.cos(turn) * along - math.sin(turn) * across)
            sprite = _heap(rng) if heap else goods(kind, length_dm, width_dm, variant + 8 * int(rng.integers(3)))
            canvas.stamp(sprite, spot, heading, sun, direct=direct, contact=0.4)
            long_m, wide_m = (edge * 0.05 for edge in sprite.alpha.shape[::-1])
            if heap:
                centre = canvas.grid.pixels([(spot.east_m, spot.north_m)])[0]
                axes = (round(long_m / 2 * 0.93 / GSD_M), round(wide_m / 2 * 0.93 / GSD_M))
                cv2.ellipse(mask, (round(centre[0]), round(centre[1])), axes, heading - 90.0, 0, 360, GOODS, -1)
            else:
                _fill(mask, canvas.grid.ring(rectangle(spot, heading, long_m, wide_m)), GOODS)


def _heap(rng: np.random.Generator) -> Sprite:
    """A cone of sand, coal, gravel or scrap of 4 to 14 m."""
    cols, rows = (round(float(edge) / 0.05) for edge in rng.uniform(4.0, 14.0, 2))
    yy, xx = np.mgrid[-1:1:complex(rows), -1:1:complex(cols)].astype(np.float32)
    lumps = noise((rows, cols), 24, rng) * 0.08 + noise((rows, cols), 6, rng) * 0.03
    radius = np.hypot(xx, yy) + lumps
    alpha = np.clip((0.97 - radius) * 12, 0, 1)
    height = np.clip(1.0 - radius, 0, 1) * min(cols, rows) * 0.05 * float(rng.uniform(0.2, 0.35))
    tone = np.asarray(_HEAPS[int(rng.integers(len(_HEAPS)))], np.float32)
    grain = 1.0 + float(rng.uniform(0.05, 0.2)) * noise((rows, cols), int(rng.integers(3, 14)), rng)
    return sprite_of(np.clip(tone * grain[..., None], 0, 255), alpha, height)


def _photographs(folder: Path, rng: np.random.Generator) -> Iterator[tuple[str, ByteArray]]:
    """Endless (folder's name, picture) from tiles below `folder`."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".webp", ".png", ".jpg", ".tif"))
    while True:
        for index in rng.permutation(len(paths)):
            path = paths[int(index)]
            picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if picture is not None and min(picture.shape[:2]) >= CROP_PX - 16:
                fitted = cv2.resize(picture, (CROP_PX, CROP_PX)) if picture.shape[:2] != (CROP_PX, CROP_PX) else picture
                yield path.parent.name, np.ascontiguousarray(fitted[..., ::-1])


def _drawn(folder: Path, count: int, seed: int) -> Iterator[tuple[str, str, str, ByteArray, ByteArray]]:
    rng = np.random.default_rng([seed, 42])
    for number, (name, picture) in zip(range(count), _photographs(folder, rng), strict=False):
        split = "val" if number % 8 == 5 else "train"
        if name in _GROUNDS and rng.random() < 0.75:
            yield (*(f"D{seed}-{number}", "land_use, goods drawn", split), *draw_on_photograph(picture, rng))
        else:
            yield f"D{seed}-{number}", "land_use", split, picture, np.full(picture.shape[:2], NO_GOODS, np.uint8)


def _cut(count: int, seed: int) -> Iterator[tuple[str, str, str, ByteArray, ByteArray]]:
    rng = np.random.default_rng([seed, 43])
    made = 0
    for site, number, picture, mask in rendered_pairs(seed):
        split = "val" if number % 7 == 3 else "train"
        goods_at = np.argwhere(mask[::4, ::4] == GOODS) * 4
        for cut in range(3):
            if made >= count:
                return
            last = np.array(mask.shape) - CROP_PX
            corner = rng.integers(0, last + 1)
            if cut < 2 and len(goods_at):
                middle = goods_at[int(rng.integers(len(goods_at)))] - CROP_PX / 2 + rng.uniform(-0.3, 0.3, 2) * CROP_PX
                corner = np.clip(middle, 0, last).astype(int)
            row, col = int(corner[0]), int(corner[1])
            part = (slice(row, row + CROP_PX), slice(col, col + CROP_PX))
            yield f"{site}_{made:05d}", "rendered", split, picture[part], mask[part]
            made += 1


def write_stock_folder(directory: Path, n_images: int, seed: int, drawn: int = 0, backgrounds: Path | None = None) -> int:
    """Writes `n_images` rendered and `drawn` photographed pictures with masks; returns pictures that show goods."""
    for name in ("images", "masks"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    sources = [_cut(n_images, seed)] + ([_drawn(backgrounds, drawn, seed)] if backgrounds is not None else [])
    shown = 0
    with (directory / "index.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("name", "split", "gsd_m", "source", "group"))
        for source in sources:
            for name, origin, split, picture, mask in source:
                quality = [cv2.IMWRITE_JPEG_QUALITY, 90]
                cv2.imwrite(str(directory / "images" / f"{name}.jpg"), np.ascontiguousarray(picture[..., ::-1]), quality)
                cv2.imwrite(str(directory / "masks" / f"{name}.png"), mask)
                writer.writerow((name, split, GSD_M, origin, name.split("_")[0]))
                shown += int((mask == GOODS).any())
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: DIR --n PICTURES --drawn PICTURES --backgrounds FOLDER --seed S."""
    parser = argparse.ArgumentParser(description="Write pictures with masks of goods and roofs.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--n", type=int, default=400, help="rendered pictures")
    parser.add_argument("--drawn", type=int, default=0, help="photographs, most with goods drawn on them")
    parser.add_argument("--backgrounds", type=Path, help="folder of 0.3 m tiles in folders by class")
    parser.add_argument("--seed", type=int, default=21)
    args = parser.parse_args(argv)
    shown = write_stock_folder(args.directory, args.n, args.seed, args.drawn, args.backgrounds)
    count = args.n + (args.drawn if args.backgrounds else 0)
    sys.stderr.write(f"{count} pictures, {shown} with goods in {args.directory}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
