"""How the vehicle network is taught: mosaics of turned, rescaled and re-lit pictures on the model grid."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detection import heatmap
from detection.arrays import floats
from detection.augment import affine, cover, photometric, random_angle
from detection.dataset import LabelledImage, Picture, picture_path, read_boxes_folder, read_picture
from detection.models.backbone import LITE0, Size, load_imagenet
from detection.models.vehicles import VehicleMaps, VehicleNet
from detection.orient import bounds, corners
from detection.tiling import GRAIN

GSD_M = 0.15
"""Metres per pixel of the model grid."""
CROP = 256
HELD_OUT = (
    "catslab_0", "catslab_6", "catslab_9", "land_use_parkinglot_b", "land_use_freeway_b", "land_use_intersection_b",
    "land_use_overpass_b", "land_use_buildings_b", "land_use_mobilehomepark_b",
)  # fmt: skip
"""Groups of the train split that give thresholds and calibration and are never trained on."""
BARE_CLASSES = (
    "agricultural", "beach", "chaparral", "forest", "golfcourse", "river", "runway", "storagetanks", "harbor",
)  # fmt: skip
"""Land-use classes (0.3 m) that show no road vehicles worth a label: hard negatives."""
YARDS = "rendered yards"
"""Source of rendered pictures without a site (packed car parks, cluttered yards)."""
OWN_LABELS = "land_use labelled"
"""Source of land-use pictures with our own labels."""
LAND_USE_LABELS = Path(__file__).parent / "labels" / "land_use_vehicles.csv"
_MARK = ("cx", "cy", "length", "width", "heading")
_SECOND_PART = {"parkinglot": 24, "freeway": 24, "buildings": 24}
"""Number of the first picture of a class's second, held-out part (10 where not named): pictures nearby may overlap."""
CUT_UNLABELLED = ("kit",)
"""Sources whose labels leave out most vehicles that the picture's border cuts. In views of these the frame cuts likewise:
the network learns to leave them out in pictures of that kind, wherever a tile ends; another tile sees those whole."""
_WHOLE, _NEARLY_WHOLE = 0.9, 0.75
"""Share of a vehicle's box that shows where it is as good as whole; in pictures of `CUT_UNLABELLED` what shows less than the
second is ground."""
_AIRBORNE = ("catslab", "kit")
_AS_IT_IS = 0.6
"""Chance that light and sharpness of a photograph from the air (source in `_AIRBORNE`) are not changed."""
_FILLED_UP = 0.5
"""Chance that a canvas ends a few pixels early, right and below."""
_COVERED = 0.3
"""Chance that crowns, roofs or gantries hide parts of vehicles in a view."""
_LEAST_SEEN = 0.4
"""Vehicles of which less is to be seen are ignored."""


@dataclass(frozen=True)
class Pool:
    """Pictures that are drawn with the same chance."""

    weight: float
    images: tuple[LabelledImage, ...]


@dataclass(frozen=True)
class Mix:
    """Weights of the pools."""

    sites: float
    """Rendered sites."""
    yards: float
    """Rendered open grounds."""
    own_labels: float
    """Land-use pictures with our own labels."""
    photographs: float
    """The other photographs together."""


MIX = Mix(sites=1.0, yards=0.4, own_labels=0.6, photographs=2.0)
"""Of `vehicles`. To a network that has learnt packed cars, rows of pallets look like them: sites show goods often."""


@dataclass(frozen=True)
class VehicleTask:
    """Batches and loss of the vehicle network (see `detection.train.Task`)."""

    pools: tuple[Pool, ...]
    size: Size = LITE0
    """Of the network."""

    def model(self) -> nn.Module:
        """The network, with ImageNet weights in its backbone."""
        net = VehicleNet(size=self.size)
        load_imagenet(net.backbone)
        return net

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One mosaic: picture (3, CROP, CROP) uint8 and target maps (10, CROP/4, CROP/4)."""
        canvas, boxes, shape, ignore = mosaic(self.pools, rng)
        target = heatmap.encode(boxes, shape, ignore, CROP)
        return torch.from_numpy(canvas.transpose(2, 0, 1).copy()), torch.from_numpy(target)

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Loss of one batch and its parts."""
        maps: VehicleMaps = model(images)
        return heatmap.loss(maps, targets)


def real_pools(data: Path) -> tuple[Pool, ...]:
    """Pools from the labelled photographs under `data`."""
    images = [i for i in read_boxes_folder(data / "vehicles", "train") if i.group not in HELD_OUT]
    drone = tuple(i for i in images if i.source != "kit")
    aerial = tuple(i for i in images if i.source == "kit")
    pools = (Pool(0.75, drone), Pool(0.35, aerial), Pool(0.15, bare_pictures(data / "land_use")))
    return tuple(pool for pool in pools if pool.images)


def mixed_pools(data: Path, rendered: Path, mix: Mix) -> tuple[Pool, ...]:
    """The photographs, a Boxes folder of rendered pictures and our own labels of land-use pictures, weighted by `mix`."""
    drawn = read_boxes_folder(rendered, "train")
    sites = tuple(item for item in drawn if item.source != YARDS)
    yards = tuple(item for item in drawn if item.source == YARDS)
    real = [replace(pool, weight=pool.weight * mix.photographs) for pool in real_pools(data)]
    own = tuple(item for item in land_use_vehicles(data / "land_use") if item.group not in HELD_OUT)
    pools = [*real, Pool(mix.sites, sites), Pool(mix.yards, yards), Pool(mix.own_labels, own)]
    return tuple(pool for pool in pools if pool.images)


def held_out(data: Path, rendered: Path | None) -> list[LabelledImage]:
    """Pictures that give thresholds and calibration: groups kept out of train; with `rendered` more of them."""
    real = read_boxes_folder(data / "vehicles", "train", HELD_OUT)
    if rendered is None:
        return real
    own = [item for item in land_use_vehicles(data / "land_use") if item.group in HELD_OUT]
    return [*real, *own, *read_boxes_folder(rendered, "val")]


def land_use_vehicles(root: Path, table: Path = LAND_USE_LABELS) -> tuple[LabelledImage, ...]:
    """Land-use pictures (0.3 m) with our own labels, each a turned rectangle; uncertain ones are ignored.

    Columns of `table`: picture (class/name), use (vehicle, ignore or none), cx, cy, length, width (px), heading (radians).
    """
    rows: dict[str, list[dict[str, str]]] = {}
    with table.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            rows.setdefault(row["picture"], []).append(row)
    out = []
    for name, marks in rows.items():
        kind, stem = name.split("/")
        turned = {
            use: floats([[float(m[k]) for k in _MARK] for m in marks if m["use"] == use]).reshape(-1, 5)
            for use in ("vehicle", "ignore")
        }
        image = read_picture(picture_path(root / kind, stem))
        boxes, ignore = (bounds(corners(turned[use])) for use in ("vehicle", "ignore"))
        group = f"land_use_{kind}_{'b' if int(stem[-2:]) >= _SECOND_PART.get(kind, 10) else 'a'}"
        out.append(LabelledImage(stem, OWN_LABELS, group, 0.3, image, boxes, ignore, turned["vehicle"]))
    return tuple(out)


def bare_pictures(root: Path) -> tuple[LabelledImage, ...]:
    """Land-use pictures without vehicles, as labelled images without boxes."""
    none, turned = np.zeros((0, 4), np.float32), np.zeros((0, 5), np.float32)
    out = []
    for name in BARE_CLASSES:
        for path in sorted((root / name).glob("*")):
            image = read_picture(picture_path(path.parent, path.name))
            out.append(LabelledImage(path.stem, "land_use", name, 0.3, image, none, none, turned))
    return tuple(out)


def mosaic(
    pools: Sequence[Pool], rng: np.random.Generator
) -> tuple[Picture, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """One training picture: canvas, boxes N x 4, (length, heading) N x 2, ignore M x 4; all in canvas pixels."""
    weights = np.array([pool.weight for pool in pools])
    weights /= weights.sum()
    canvas = np.full((CROP, CROP, 3), 127, np.uint8)
    boxes, shapes, ignores = [], [], []
    for x0, y0, x1, y1 in _cells(*_shown(rng), rng):
        pool = pools[int(rng.choice(len(pools), p=weights))]
        item = pool.images[int(rng.integers(len(pool.images)))]
        patch, box, shape, ignore = view(item, x1 - x0, y1 - y0, rng)
        as_it_is = item.source in _AIRBORNE and rng.random() < _AS_IT_IS
        canvas[y0:y1, x0:x1] = patch if as_it_is else photometric(patch, rng)
        shift = floats([x0, y0, x0, y0])
        boxes.append(box + shift)
        shapes.append(shape)
        ignores.append(ignore + shift)
    return canvas, np.concatenate(boxes), np.concatenate(shapes), np.concatenate(ignores)


def _shown(rng: np.random.Generator) -> tuple[int, int]:
    """Width and height of what a canvas shows; the rest, right and below, is filled up as inference fills tiles up."""
    if rng.random() >= _FILLED_UP:
        return CROP, CROP
    right, below = (int(v) for v in rng.integers(0, GRAIN, 2))
    return CROP - right, CROP - below


def _cells(width: int, height: int, rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    kind = rng.random()
    x, y = (int(v) for v in rng.integers(CROP * 3 // 8, CROP * 5 // 8, 2))
    if kind < 0.4:
        return [(0, 0, width, height)]
    if kind < 0.6:
        return [(0, 0, x, height), (x, 0, width, height)]
    if kind < 0.8:
        return [(0, 0, width, y), (0, y, width, height)]
    return [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]


def view(
    item: LabelledImage, width: int, height: int, rng: np.random.Generator
) -> tuple[Picture, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A turned, rescaled, flipped cut of `item` on the model grid: patch, boxes, (length, heading), ignore."""
    scale = item.gsd_m / GSD_M * float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
    angle, flip = random_angle(rng, 0.5), bool(rng.random() < 0.5)
    source = _focus(item, width / scale, height / scale, rng)
    matrix = affine(source, (width / 2, height / 2), scale, angle, flip)
    image, matrix_image = item.image, matrix
    if scale < 0.6:  # warping does not average: shrink first, or thin things alias
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        matrix_image = matrix @ np.diag([1 / scale, 1 / scale, 1.0])
    grey = rng.random() < 0.5  # what inference fills up with
    fill = (127, 127, 127) if grey else tuple(int(v) for v in rng.integers(60, 190, 3))
    patch = cv2.warpAffine(
        image, _pixel_centres(matrix_image), (width, height), flags=cv2.INTER_LINEAR, borderValue=fill
    ).astype(np.uint8)
    boxes, shape, outlines, ignore = _project(item, matrix, scale, width, height)
    if len(boxes) and rng.random() < _COVERED:
        return _cover(patch, boxes, shape, outlines, ignore, rng)
    return patch, boxes, shape, ignore


def _cover(
    patch: Picture,
    boxes: NDArray[np.float32],
    shape: NDArray[np.float32],
    outlines: NDArray[np.float32],
    ignore: NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[Picture, NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Hides parts of some vehicles: boxes then hold what is to be seen, and what is mostly hidden is ignored."""
    size = (patch.shape[0], patch.shape[1])
    hidden = np.zeros(size, np.float32)
    canvas = patch.astype(np.float32)
    for index in rng.choice(len(boxes), min(len(boxes), int(rng.integers(1, 4))), replace=False):
        x0, y0, x1, y1 = (float(v) for v in boxes[index])
        thing, mask = cover(size, (float(rng.uniform(x0, x1)), float(rng.uniform(y0, y1))), rng)
        canvas += (thing - canvas) * mask[:, :, None]
        hidden = np.maximum(hidden, mask)
    kept, shapes, lost = [], [], [ignore]
    for box, about, outline in zip(boxes, shape, outlines, strict=True):
        share, seen = _seen(hidden, box, outline)
        if share > 0.9:
            kept.append(box)
            shapes.append(about)
        elif share >= _LEAST_SEEN:
            kept.append(seen)
            shapes.append(floats([np.nan, about[1]]))
        else:
            lost.append(box[None])
    return (
        canvas.clip(0, 255).astype(np.uint8),
        floats(kept).reshape(-1, 4),
        floats(shapes).reshape(-1, 2),
        np.concatenate(lost).astype(np.float32),
    )


def _seen(
    hidden: NDArray[np.float32], box: NDArray[np.float32], outline: NDArray[np.float32]
) -> tuple[float, NDArray[np.float32]]:
    """Share of a vehicle (its box's part of `outline`) that nothing hides, and the box of that part."""
    x0, y0 = (int(v) for v in np.floor(box[:2]))
    x1, y1 = (int(v) for v in np.ceil(box[2:]))
    part = hidden[y0:y1, x0:x1]
    body = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(body, np.round(outline - floats([x0 + 0.5, y0 + 0.5])).astype(np.int32), (1,))
    rows, columns = np.nonzero((body > 0) & (part < 0.5))
    if len(rows) == 0:
        return 0.0, box
    found = floats([x0 + columns.min(), y0 + rows.min(), x0 + columns.max() + 1, y0 + rows.max() + 1])
    seen = np.concatenate([np.maximum(found[:2], box[:2]), np.minimum(found[2:], box[2:])]).astype(np.float32)
    return len(rows) / max(1, int(body.sum())), seen


def _pixel_centres(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same map for OpenCV, whose origin is the first pixel's centre instead of its corner."""
    out = matrix.copy()
    out[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    return out


def _focus(item: LabelledImage, width: float, height: float, rng: np.random.Generator) -> tuple[float, float]:
    rows, columns = item.image.shape[:2]
    if len(item.oriented) and rng.random() < 0.5:
        near = item.oriented[int(rng.integers(len(item.oriented))), :2] + rng.uniform(-0.4, 0.4, 2) * (width, height)
        return float(np.clip(near[0], 0, columns)), float(np.clip(near[1], 0, rows))
    # often the picture's border is the frame's, as it is for the network at work
    x = columns / 2 if width >= columns else np.clip(rng.uniform(0, columns), width / 2, columns - width / 2)
    y = rows / 2 if height >= rows else np.clip(rng.uniform(0, rows), height / 2, rows - height / 2)
    return float(x), float(y)


def _project(
    item: LabelledImage, matrix: NDArray[np.float64], scale: float, width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Boxes N x 4, (length, heading) N x 2, outlines N x 4 x 2, ignore M x 4."""
    frame = floats([width, height, width, height])
    rows, columns = item.image.shape[:2]
    points = corners(item.oriented)
    inside = np.clip(points, 0, floats([columns, rows]))  # what the source picture does not show is not labelled
    outlines = _apply(points, matrix)
    full = bounds(outlines)
    shown = np.clip(bounds(_apply(inside, matrix)), 0, frame)
    visible = _area(shown) / np.maximum(_area(full), 1e-6)
    direction = np.stack([np.cos(item.oriented[:, 4]), np.sin(item.oriented[:, 4])], 1) @ matrix[:, :2].T
    heading = np.arctan2(direction[:, 1], direction[:, 0]).astype(np.float32)
    length = np.where(visible > _WHOLE, item.oriented[:, 2] * scale, np.nan).astype(np.float32)
    cut = item.source in CUT_UNLABELLED
    keep = (visible >= (_WHOLE if cut else _LEAST_SEEN)) & (_area(shown) > 12)
    part = (visible > (_NEARLY_WHOLE if cut else 0.02)) & ~keep
    square = np.stack([item.ignore[:, [0, 1]], item.ignore[:, [2, 1]], item.ignore[:, [2, 3]], item.ignore[:, [0, 3]]], 1)
    ignored = np.clip(bounds(_apply(square, matrix)), 0, frame) if len(item.ignore) else item.ignore
    lost = np.concatenate([shown[part], ignored]).astype(np.float32)
    return shown[keep], np.stack([length, heading], 1)[keep], outlines[keep], lost


def _apply(points: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return floats(np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None))
