"""Bays cut from labelled photographs of vehicles: rectangles of a bay's size around a vehicle, and beside one where none is.

The only photographs with labels of slots show one car park; these show streets and car parks of many places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon, box
from shapely.geometry.base import BaseGeometry

from detection.arrays import floats
from detection.dataset import Chip, LabelledImage, Picture, read_boxes_folder, resample
from detection.infer import rectify
from detection.orient import corners
from detection.vehicle_recipe import CUT_UNLABELLED, HELD_OUT, land_use_vehicles

GSD_M = 0.15
"""Grid that slots are cut from where the picture is at least as fine."""
_LENGTH_M, _WIDTH_M = (4.7, 5.8), (2.3, 2.9)
"""Of a bay."""
_CARS_M = (3.2, 6.2)
"""Lengths of vehicles that bays are put around."""
_HALF_IN = 0.2
"""Share of the occupied bays in which the vehicle stands about half: out at an end, or over to one side."""
_REACH = 0.06
"""Share of an empty bay that a neighbour's vehicle may cover."""
_ABOUT_M = 0.25
"""Vehicles are taken for so much larger all around: labels are drawn tight."""
_PER_CAR = 3
"""Places tried for an empty bay beside each vehicle."""
_EDGE_M = 3.0
"""Margin in which pictures of `CUT_UNLABELLED` may show a vehicle without a label."""


@dataclass(frozen=True)
class _Scene:
    image: Picture
    """On the grid of `GSD_M`."""
    cars: NDArray[np.float32]
    """N x 5: centre x and y, length, width in pixels of the grid, heading in radians."""
    vehicles: BaseGeometry
    """All that may be a vehicle, undecided ones too."""
    frame: Polygon


def bays_of(item: LabelledImage, seed: int) -> Iterator[Chip]:
    """Bays of one picture, 64 x 64 and upright: occupied around cars, empty beside them, both a little out of place."""
    rng = np.random.default_rng([seed, *item.name.encode()])
    scene = _scene(item)
    for number, (x, y, length, _, heading) in enumerate(scene.cars.tolist()):
        if not _CARS_M[0] <= length * GSD_M <= _CARS_M[1]:
            continue
        around = _bay(x, y, heading, *_beside_m(rng), length * GSD_M, rng)
        if scene.frame.contains(around):
            yield _chip(scene, around, item, 1, f"{number}")
        for k in range(_PER_CAR):
            side, along = float(rng.choice([-1.0, 1.0]) * rng.uniform(2.3, 6.5)), float(rng.normal(0, 1.5))
            beside = _bay(x, y, heading + float(rng.normal(0, 0.1)), side, along, 0.0, rng)
            covered = shapely.area(shapely.intersection(beside, scene.vehicles)) / beside.area
            if scene.frame.contains(beside) and covered <= _REACH:
                yield _chip(scene, beside, item, 0, f"{number} {k}")
                break


def _beside_m(rng: np.random.Generator) -> tuple[float, float]:
    """How far a bay lies beside its own vehicle, and before it."""
    side, along = float(rng.normal(0, 0.25)), float(rng.normal(0, 0.3))
    if rng.random() >= _HALF_IN:
        return side, along
    far = float(rng.choice([-1.0, 1.0]))
    return (side, far * float(rng.uniform(1.0, 2.3))) if rng.random() < 0.5 else (far * float(rng.uniform(0.4, 0.8)), along)


def _scene(item: LabelledImage) -> _Scene:
    scale = item.gsd_m / GSD_M
    image = resample(item.image, scale)
    turned = item.oriented.copy()
    turned[:, :4] *= scale
    hidden = [box(*row) for row in (item.ignore * scale).tolist()]
    shapes = [Polygon(ring) for ring in corners(turned).astype(np.float64)]
    vehicles = shapely.union_all([*shapes, *hidden]).buffer(_ABOUT_M / GSD_M)
    return _Scene(image, turned, vehicles, box(0, 0, image.shape[1], image.shape[0]))


def _bay(
    x: float, y: float, heading: float, side_m: float, along_m: float, least_m: float, rng: np.random.Generator
) -> Polygon:
    """A bay's outline in pixels: `side_m` beside and `along_m` before the point, not much shorter than `least_m`."""
    length, width = max(float(rng.uniform(*_LENGTH_M)), least_m), float(rng.uniform(*_WIDTH_M))
    along = np.array([np.cos(heading), np.sin(heading)]) / GSD_M
    across = np.array([-along[1], along[0]])
    centre = np.array([x, y]) + along * along_m + across * side_m
    ends, sides = along * length / 2, across * width / 2
    return Polygon([centre + ends + sides, centre + ends - sides, centre - ends - sides, centre - ends + sides])


def _chip(scene: _Scene, bay: Polygon, item: LabelledImage, label: int, mark: str) -> Chip:
    ring = [(float(a), float(b)) for a, b in list(bay.exterior.coords)[:-1]]
    return Chip(f"{item.name} {mark}", max(GSD_M, item.gsd_m), rectify(scene.image, ring), label, item.group)


def photographed_bays(data: Path, seed: int = 1) -> tuple[list[Chip], list[Chip]]:
    """Bays of the pictures of `data`/vehicles and of our own labels of `data`/land_use that vehicles are taught with, and
    those of the groups that are held out there."""
    pictures = read_boxes_folder(data / "vehicles", "train")
    drone = [item for item in pictures if item.source not in CUT_UNLABELLED]
    aerial = [without_margin(item) for item in pictures if item.source in CUT_UNLABELLED]
    items = [*drone, *aerial, *land_use_vehicles(data / "land_use")]
    return (
        list(_bays((item for item in items if item.group not in HELD_OUT), seed)),
        list(_bays((item for item in items if item.group in HELD_OUT), seed)),
    )


def without_margin(item: LabelledImage) -> LabelledImage:
    """The picture without its outer margin; vehicles that the cut crosses become ignored there."""
    edge = round(_EDGE_M / item.gsd_m)
    height, width = item.image.shape[:2]
    image = np.ascontiguousarray(item.image[edge : height - edge, edge : width - edge])
    shift = floats([edge, edge])
    oriented = item.oriented.copy()
    oriented[:, :2] -= shift
    boxes = item.boxes - np.tile(shift, 2)
    return replace(item, image=image, boxes=boxes, oriented=oriented, ignore=item.ignore - np.tile(shift, 2))


def _bays(items: Iterable[LabelledImage], seed: int) -> Iterator[Chip]:
    for item in items:
        yield from bays_of(item, seed)
