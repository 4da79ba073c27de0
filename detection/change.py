"""What appeared, vanished or moved between two registered pictures of a site, by kind, as polygons.

Where a class is known, states are compared: goods and roofs by the network of `detection.stock`, vehicles by their detector,
each with two thresholds (surely there on one date, surely not on the other) and only where the pictures themselves differ
(`detection.change_maps`). What differs and belongs to no class is building work when large and `other` when small: heaps,
machines, containers the network does not know. Shadows and vegetation are not changes of the ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely import GeometryCollection
from shapely.affinity import scale
from shapely.geometry.base import BaseGeometry

from collateral.errors import InvalidInputError
from detection.change_maps import ChangeMaps, Grey, change_maps
from detection.locate import Located, locate_mask
from imagery.grid import GridSpec, PixelSize
from imagery.target import mask_inside

GSD_M = 0.3
KINDS = ("stock", "vehicles", "roof", "construction", "other")
APPEARED, VANISHED, MOVED, ALTERED = "appeared", "vanished", "moved", "altered"
_RIM_M = 3.0
"""So near to what one date does not show no ground is compared, and ..."""
_CUT_OFF_M = 0.6
"""... a box so near to it is one of a vehicle that may be cut off."""
_SURE, _NOT = 0.5, 0.35
"""A class is there above the first, and was not there when no pixel nearby reached the second."""
_NEAR_M = 0.9
_STRUCTURE, _CHROMA, _LIGHTNESS = 0.35, 7.0, 10.0
_ROOF_LIGHTNESS = 20.0
_ROOF_LIGHT_CHROMA, _ROOF_LIGHT = 10.0, 30.0
"""Largest shift of a whole roof in colour and in lightness that is the sun's: beyond, the roof was covered anew."""
_CHROMA_SHADE = 16.0
"""Shade is blue: a change of colour must be larger than that to be one of the ground."""
_MOSTLY = 0.75
"""A region of which more looks like shade, or like plants, must differ in colour as well."""
_CHROMA_REGION = 5.0
_SUPPORT = 0.3
"""Share of a changed region in which the pictures must differ."""
_LEAST_M2 = {"stock": 5.0, "vehicles": 2.0, "roof": 15.0, "construction": 40.0, "other": 5.0}
_SURE_HALL = 0.5
"""Mean difference of the probabilities of a roof on both dates from which on a hall was built or taken down."""
_SURE_OTHER = 0.45
"""Least confidence of what belongs to no class: 9 of chroma or 14 of lightness."""
_AMID = 0.5
"""Share of roof on both dates around a region from which on it is a part of that roof."""
_AROUND_M = 1.5
"""Width of the ring in which that is measured. It begins _NEAR_M off: at a region's rim the network is sure of neither."""
_GOODS_IN_BLOCK = 0.4
"""Share of a changed block up to which the network may take it for goods without being right: bare soil in heaps."""
_SAME_PLACE_M, _SAME_PLACE_LENGTHS, _SAME_BOX_IOU = 1.2, 0.2, 0.5
"""Centres this near, in metres or lengths of the shorter one, or boxes that overlap so much, are one vehicle's. An upright
box around a car that stands obliquely covers half of its neighbour's: a smaller overlap says nothing."""
_BOX_CORE = 0.7
"""A vehicle's upright box is wider than the vehicle: this part of it is named as changed."""
_MOVED_AREA, _MOVED_COLOUR = 0.25, 9.0
"""Largest difference of area (as a share) and of mean colour (CIELAB) of what is taken for the same thing moved."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """One date of a site, registered; arrays rows x columns on `grid`."""

    grid: GridSpec
    rgb: NDArray[np.uint8]
    valid: Mask
    goods: Grey
    roof: Grey
    vehicles: tuple[Located, ...]
    """Down to half the detector's threshold, so that one half seen is not called gone."""
    vehicle_threshold: float = 0.5
    known: Mask | None = None
    """Pixels another detector answers for (panels); None: none."""

    @cached_property
    def lab(self) -> Grey:
        """The picture in CIELAB, rows x columns x 3."""
        return np.asarray(cv2.cvtColor(self.rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was."""

    kind: str
    """One of KINDS."""
    direction: str
    """`appeared`, `vanished`, `moved` or `altered`."""
    geometry: BaseGeometry
    """Metres of the grid's system; of `moved` where it stands now."""
    confidence: float
    """0 to 1."""
    colour: tuple[float, float, float]
    """Mean L*, a*, b* of the thing on the date on which it is there."""
    moved_from: BaseGeometry | None = None

    @property
    def area_m2(self) -> float:
        """Of the outline, square metres."""
        return float(self.geometry.area)


def find_changes(before: View, after: View, inside: BaseGeometry | None = None) -> list[Change]:
    """Changes between two views on one grid, largest first; with `inside` only what lies mostly in that polygon.

    Raises `InvalidInputError` when the views lie on different grids.
    """
    if before.grid != after.grid:
        raise InvalidInputError(f"Views on {before.grid} and on {after.grid} cannot be compared; read both on one grid.")
    valid = comparable(before, after)
    roofed = np.maximum(before.roof, after.roof) >= _NOT
    maps = change_maps(before.rgb, after.rgb, valid, before.grid.gsd_m, roofed)
    differ = valid & ((maps.structure > _STRUCTURE) | (maps.chroma > _CHROMA) | (np.abs(maps.lightness) > _LIGHTNESS))
    vehicles = _vehicles(before, after)
    stock = _of_class("stock", before, after, (before.goods, after.goods), differ, maps)
    roofs = _roofs(before, after, maps, differ)
    built = [*vehicles, *_halls(before, after, maps, differ, roofs)]
    blocks = _blocks(before, after, maps, built)
    stock = [item for item in stock if _covered_m2(item, blocks) < 0.5 * item.area_m2]
    known = [*built, *blocks, *stock]
    found = [*known, *_rest(before, after, maps, known)]
    if inside is not None:
        found = [item for item in found if item.geometry.intersection(inside).area > 0.5 * item.geometry.area]
    return sorted(_with_moves(found), key=lambda item: -item.area_m2)


def comparable(before: View, after: View) -> Mask:
    """Pixels where the ground is compared: both dates show it and what lies around it.

    Beside a hole, cloud or the scene's border a thing is cut off, and what the networks say of its rest is of no thing.
    """
    both = (before.valid & after.valid).astype(np.uint8)
    return np.asarray(cv2.erode(both, _disc(_RIM_M / before.grid.gsd_m)) > 0, np.bool_)


def _vehicles(before: View, after: View) -> list[Change]:
    """Those that stand on one date only, where both dates show all of the ground under and around them."""
    valid = before.valid & after.valid
    found: list[Change] = []
    for there, elsewhere, direction in ((after, before, APPEARED), (before, after, VANISHED)):
        places = shapely.centroid([item.geometry for item in elsewhere.vehicles])
        for item in there.vehicles:
            if item.confidence < there.vehicle_threshold:
                continue
            apart = shapely.distance(places, item.geometry.centroid)
            near = np.flatnonzero(apart < _SAME_PLACE_M + 2 * _length_m(item))
            if any(_same_place(item, elsewhere.vehicles[number]) for number in near):
                continue
            around, near_by = _patch(item.geometry.buffer(_CUT_OFF_M), there.grid)
            core = scale(item.geometry, _BOX_CORE, _BOX_CORE)
            part, pixels = _patch(core, there.grid)
            if pixels.any() and valid[around][near_by].all():
                found.append(Change("vehicles", direction, core, item.confidence, _colour(there.lab[part], pixels)))
    return found


def _same_place(one: Located, other: Located) -> bool:
    near = max(_SAME_PLACE_M, _SAME_PLACE_LENGTHS * min(_length_m(one), _length_m(other)))
    if one.geometry.centroid.distance(other.geometry.centroid) < near:
        return True
    shared = one.geometry.intersection(other.geometry).area
    return bool(shared > _SAME_BOX_IOU * (one.geometry.area + other.geometry.area - shared))


def _length_m(item: Located) -> float:
    west, south, east, north = item.geometry.bounds
    return float(item.length_m or max(east - west, north - south))


def _of_class(
    kind: str, before: View, after: View, classes: tuple[Grey, Grey], differ: Mask, maps: ChangeMaps
) -> list[Change]:
    """Regions of a class on one date where it was nowhere near on the other."""
    grid = before.grid
    reach = _disc(_NEAR_M / grid.gsd_m)
    found: list[Change] = []
    for (there, was), view, direction in (
        ((classes[1], classes[0]), after, APPEARED), ((classes[0], classes[1]), before, VANISHED)
    ):
        near = np.asarray(cv2.dilate(was, reach))
        mask = (there >= _SURE) & (near < _NOT) & maps.valid
        # Where goods stood close by, the strip next to them is left out by `near`; it is given back from inside.
        grown = cv2.dilate(mask.astype(np.uint8), reach) > 0
        mask = _opened(grown & (there >= _SURE) & (was < _NOT), 0.5 / grid.gsd_m)
        if kind == "stock":
            mask &= ~_covered(view) & (np.maximum(before.roof, after.roof) < _SURE)  # what lies on a roof is no stock
        found += _regions(kind, direction, mask, np.clip(there - was, 0, 1), view, differ, maps)
    return found


def _covered(view: View) -> Mask:
    """Pixels under vehicles."""
    sure = [item.geometry for item in view.vehicles if item.confidence >= view.vehicle_threshold]
    return _marked([scale(geometry, _BOX_CORE, _BOX_CORE) for geometry in sure], view.grid)


def _marked(geometries: Sequence[BaseGeometry], grid: GridSpec) -> Mask:
    """Pixels of any of them. (Beside an empty geometry a whole collection would be left out.)"""
    return mask_inside(GeometryCollection([one for one in geometries if not one.is_empty]), grid)


def _is_light_or_plants(maps: ChangeMaps, part: tuple[slice, slice], pixels: Mask) -> bool:
    """Whether a region is a shadow that came or went, or plants in another season."""
    shade, green = (float(layer[part][pixels].mean()) for layer in (maps.shade, maps.green))
    return max(shade, green) > _MOSTLY and float(maps.chroma[part][pixels].mean()) < _CHROMA_REGION


def _regions(
    kind: str, direction: str, mask: Mask, weight: Grey, view: View, differ: Mask, maps: ChangeMaps, light_too: bool = False
) -> list[Change]:
    """Connected parts of a mask in which the pictures differ; with `light_too` also what may be light or plants."""
    found = []
    for region in locate_mask(mask, weight.astype(np.float32), view.grid, kind, _LEAST_M2[kind]):
        part, pixels = _patch(region.geometry, view.grid)
        support = float(differ[part][pixels].mean()) if pixels.any() else 0.0
        # A roof that is surely there on one date only is no shadow, though a pale one on grey ground looks like light.
        light = region.confidence < _SURE_HALL if kind == "construction" else _is_light_or_plants(maps, part, pixels)
        if support >= _SUPPORT and (light_too or not light):
            sure = min(1.0, region.confidence * (0.5 + 0.5 * min(support / 0.7, 1.0)))
            found.append(Change(kind, direction, region.geometry, sure, _colour(view.lab[part], pixels)))
    return found


def _halls(
    before: View, after: View, maps: ChangeMaps, differ: Mask, roofs: Sequence[Change]
) -> list[Change]:
    """Halls built or taken down, and works on roofs. A part of a roof that no longer looks like one is the roof's.

    `roofs` holds all that differs on roofs, also what looks like a shadow there; that counts where the network doubts the
    roof as well.
    """
    on_both = np.minimum(before.roof, after.roof) >= _SURE
    found, works = [], [item for item in roofs if not _is_light_or_plants(maps, *_patch(item.geometry, after.grid))]
    for item in _of_class("construction", before, after, (before.roof, after.roof), differ, maps):
        if not _compact(item.geometry):
            continue
        # Of a roof torn open in part the network is sure in places only: the ring goes around all that changed there.
        beside = [work for work in dict.fromkeys([*works, *roofs]) if work.geometry.distance(item.geometry) < _NEAR_M]
        whole = shapely.union_all([item.geometry, *(work.geometry for work in beside)])
        rim = whole.buffer(_NEAR_M)
        part, pixels = _patch(rim.buffer(_AROUND_M).difference(rim), before.grid)
        if not pixels.any() or on_both[part][pixels].mean() < _AMID:
            found.append(item)
            continue
        works += [work for work in beside if work not in works]
        if sum(work.area_m2 for work in beside) < item.area_m2:
            works.append(replace(item, kind="roof", direction=ALTERED))
    return [*found, *works]


def _covered_m2(item: Change, others: Sequence[Change]) -> float:
    """Of a change's area what others cover, square metres."""
    return float(item.geometry.intersection(shapely.union_all([other.geometry for other in others])).area)


def _roofs(before: View, after: View, maps: ChangeMaps, differ: Mask) -> list[Change]:
    """What differs on a roof that was there before: covered anew, opened, something put on it, or in the shade."""
    gsd_m = before.grid.gsd_m
    core = np.asarray(cv2.erode((before.roof >= _SURE).astype(np.uint8), _disc(0.9 / gsd_m)) > 0, np.bool_) & maps.valid
    chroma, lightness = _beyond_light(maps, core)
    # Slopes of a roof grow lighter and darker with the sun: only a strong change of lightness tells.
    mask = core & ((chroma > _CHROMA) | (lightness > _ROOF_LIGHTNESS))
    mask &= ~before.known if before.known is not None else True
    mask = _opened(_closed(mask, 0.6 / gsd_m), 1.2 / gsd_m)
    weight = np.clip(np.maximum(chroma / 20, lightness / 30), 0.3, 1).astype(np.float32)
    return _regions("roof", ALTERED, mask, weight, after, differ, maps, light_too=True)


def _beyond_light(maps: ChangeMaps, roofs: Mask) -> tuple[Grey, Grey]:
    """Differences of colour and of lightness (both unsigned) that neither the picture's light nor the roof's own explains.

    A roof lies aslant: as a whole it may shift in tone where level ground does not. Its own shift is the median of the half
    of its pixels that differ least, so that a part covered anew does not count towards it.
    """
    chroma, lightness = maps.chroma.copy(), np.abs(maps.lightness)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(roofs.astype(np.uint8))
    for number in range(1, count):
        left, top, width, height = (int(value) for value in boxes[number][:4])
        part = slice(top, top + height), slice(left, left + width)
        pixels = labels[part] == number
        hue, light = maps.hue[part][pixels], maps.lightness[part][pixels]
        apart = np.hypot(np.hypot(hue[:, 0], hue[:, 1]), light)
        quiet = apart <= np.median(apart)
        own_hue, own_light = np.median(hue[quiet], axis=0), float(np.median(light[quiet]))
        if float(np.hypot(*own_hue)) < _ROOF_LIGHT_CHROMA:
            chroma[part][pixels] = np.minimum(chroma[part][pixels], np.hypot(*(hue - own_hue).T))
        if abs(own_light) < _ROOF_LIGHT:
            lightness[part][pixels] = np.minimum(lightness[part][pixels], np.abs(light - own_light))
    return chroma, lightness


def _blocks(before: View, after: View, maps: ChangeMaps, known: Sequence[Change]) -> list[Change]:
    """Building work of which a part looks like goods: one compact block, of one colour, most of which is none.

    Not where goods were seen before: what is left when they are gone is ground of one colour too.
    """
    goods, gone = after.goods >= _SURE, before.goods >= _SURE
    found = []
    for item in _rest(before, after, maps, known, goods_apart=False):
        part, pixels = _patch(item.geometry, before.grid)
        if item.kind != "construction" or (pixels & gone[part]).any():
            continue
        said, other = pixels & goods[part], pixels & ~goods[part]
        if said.any() and said.sum() < _GOODS_IN_BLOCK * pixels.sum():
            lab = after.lab[part]
            apart = float(np.linalg.norm(np.subtract(_colour(lab, said), _colour(lab, other))))
            if max(apart, float(np.hypot(*lab[pixels][:, 1:].std(axis=0)))) < _MOVED_COLOUR:
                found.append(item)
    return found


def _rest(
    before: View, after: View, maps: ChangeMaps, known: Sequence[Change], goods_apart: bool = True
) -> list[Change]:
    """What differs and belongs to no class: building work when large, else `other`."""
    grid = before.grid
    open_to = maps.valid & ~_taken(before, after, known, goods_apart)
    light = (np.abs(maps.lightness) > _LIGHTNESS) & ~maps.shade
    colour = maps.chroma > np.where(maps.shade, _CHROMA_SHADE, _CHROMA)
    found = []
    for ground, differs in ((~maps.green, light | colour), (maps.bared, colour)):
        mask = _opened(_closed(open_to & ground & differs, 0.6 / grid.gsd_m), 0.9 / grid.gsd_m)
        weight = np.clip(np.maximum(maps.chroma / 20, np.abs(maps.lightness) / 30), 0.3, 0.9).astype(np.float32)
        for item in _regions("other", ALTERED, mask, weight, after, mask, maps):
            large = item.area_m2 >= _LEAST_M2["construction"] and _compact(item.geometry)
            if ground is maps.bared and not (large and _amid_green(item, maps, grid)):
                continue
            if large or item.confidence >= _SURE_OTHER:
                found.append(replace(item, kind="construction") if large else item)
    return found


def _amid_green(item: Change, maps: ChangeMaps, grid: GridSpec) -> bool:
    """Whether plants stand around a region as before: the season changes a meadow as a whole, not one block of it."""
    rim = item.geometry.buffer(_NEAR_M)
    part, pixels = _patch(rim.buffer(_AROUND_M).difference(rim), grid)
    return bool(pixels.any() and (maps.green & ~maps.bared & (maps.chroma < _CHROMA))[part][pixels].mean() > _AMID)


def _taken(before: View, after: View, known: Sequence[Change], goods_apart: bool) -> Mask:
    """Pixels that belong to a class, to a change known or to a vehicle, and what lies near them."""
    grid = before.grid
    taken = np.maximum(before.roof, after.roof) >= _NOT
    if goods_apart:
        taken |= np.maximum(before.goods, after.goods) >= _NOT
    vehicles = [vehicle.geometry for view in (before, after) for vehicle in view.vehicles]
    taken |= _marked([*(item.geometry for item in known), *vehicles], grid)
    for view in (before, after):
        taken |= view.known if view.known is not None else False
    return np.asarray(cv2.dilate(taken.astype(np.uint8), _disc(1.2 / grid.gsd_m)) > 0, np.bool_)


def _compact(geometry: BaseGeometry) -> bool:
    """At least half as large as its smallest turned rectangle, which is no strip."""
    frame = geometry.minimum_rotated_rectangle
    return bool(geometry.area > 0.45 * frame.area and 16 * frame.area > 0.5 * frame.length**2)


def _with_moves(changes: Sequence[Change]) -> list[Change]:
    """Joins what vanished with what appeared and looks the same: it moved."""
    gone = [item for item in changes if item.direction == VANISHED]
    kept = [item for item in changes if item.direction not in (VANISHED, APPEARED)]
    for item in (item for item in changes if item.direction == APPEARED):
        same = [other for other in gone if _alike(item, other)]
        if not same:
            kept.append(item)
            continue
        nearest = min(same, key=lambda other: float(np.linalg.norm(np.subtract(other.colour, item.colour))))
        gone.remove(nearest)
        confidence = min(item.confidence, nearest.confidence)
        kept.append(replace(item, direction=MOVED, moved_from=nearest.geometry, confidence=confidence))
    return kept + gone


def _alike(one: Change, other: Change) -> bool:
    if one.kind != other.kind or abs(one.area_m2 - other.area_m2) > _MOVED_AREA * max(one.area_m2, other.area_m2):
        return False
    return float(np.linalg.norm(np.subtract(one.colour, other.colour))) < _MOVED_COLOUR


def _colour(lab: NDArray[np.float32], pixels: Mask) -> tuple[float, float, float]:
    mean = lab[pixels].mean(axis=0) if pixels.any() else np.zeros(3)
    return float(mean[0]), float(mean[1]), float(mean[2])


def _patch(geometry: BaseGeometry, grid: GridSpec) -> tuple[tuple[slice, slice], Mask]:
    """The rows and columns around a geometry, and its pixels there."""
    west, south, east, north = geometry.bounds
    corners = grid.to_pixels(np.array([[west, north], [east, south]]))
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (grid.size.width, grid.size.height))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (grid.size.width, grid.size.height))
    size = PixelSize(int(high[0] - low[0]), int(high[1] - low[1]))
    part = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    if size.width < 1 or size.height < 1:
        return part, np.zeros((max(size.height, 0), max(size.width, 0)), np.bool_)
    a, b, _, d, e, _ = grid.affine[:6]
    origin = grid.to_map(np.array([[float(low[0]), float(low[1])]]))[0]
    return part, mask_inside(geometry, GridSpec(grid.epsg, Affine(a, b, origin[0], d, e, origin[1]), size))


def _disc(radius_px: float) -> NDArray[np.uint8]:
    edge = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge)), np.uint8)


def _opened(mask: Mask, radius_px: float) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, _disc(radius_px)) > 0, np.bool_)


def _closed(mask: Mask, radius_px: float) -> Mask:
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(radius_px)) > 0, np.bool_)
