"""Puts what a scene state names onto the ground: vehicles, goods in slots, stock in yards."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from shapely.affinity import translate
from shapely.geometry import Point, Polygon, box

from data_samples.render_canvas import Canvas
from data_samples.render_goods import GOODS_VARIANTS, goods
from data_samples.render_vehicles import VehicleSprite, draw_vehicle
from data_samples.scene_model import (
    GoodsKind,
    GoodsTruth,
    MapPoint,
    MapShift,
    RoadShape,
    SceneState,
    SiteLayout,
    SlotTruth,
    StandShape,
    StockTruth,
    SunPosition,
    VehicleLabel,
    VehicleTruth,
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A vehicle and where it stands (true coordinates)."""

    vehicle: VehicleSprite
    centre: MapPoint
    heading_deg: float
    site_id: str | None
    slot_id: str | None = None

    def outline(self) -> Polygon:
        """Outer rectangle of length by width."""
        return rectangle(self.centre, self.heading_deg, self.vehicle.length_m, self.vehicle.width_m)


def rectangle(centre: MapPoint, heading_deg: float, length_m: float, width_m: float) -> Polygon:
    """A turned rectangle, its length along a compass heading."""
    angle = math.radians(heading_deg)
    fe, fn = math.sin(angle) * length_m / 2, math.cos(angle) * length_m / 2
    se, sn = math.cos(angle) * width_m / 2, -math.sin(angle) * width_m / 2
    e, n = centre.east_m, centre.north_m
    return Polygon([(e + fe + se, n + fn + sn), (e + fe - se, n + fn - sn), (e - fe - se, n - fn - sn),
                    (e - fe + se, n - fn + sn)])


def _slot_axis(polygon: Polygon) -> tuple[MapPoint, float, float, float]:
    """Centre, compass heading from back to front, length and width of a slot or place."""
    corners = np.asarray(polygon.exterior.coords)[:4, :2]
    front, back = corners[:2].mean(axis=0), corners[2:4].mean(axis=0)
    middle, along = (front + back) / 2, front - back
    heading = math.degrees(math.atan2(along[0], along[1])) % 360.0
    return (MapPoint(float(middle[0]), float(middle[1])), heading, float(np.linalg.norm(along)),
            float(np.linalg.norm(corners[1] - corners[0])))


def _nudged(point: MapPoint, rng: np.random.Generator, spread_m: float) -> MapPoint:
    east, north = rng.normal(0, spread_m, size=2)
    return MapPoint(point.east_m + float(np.clip(east, -2, 2)), point.north_m + float(np.clip(north, -2, 2)))


class _Crowd:
    """Vehicles placed so far; refuses what would touch another one."""

    def __init__(self) -> None:
        self.placed: list[Placed] = []
        self._outlines: list[Polygon] = []

    def add(self, item: Placed, clearance_m: float = 0.15) -> bool:
        outline = item.outline()
        grown = outline.buffer(clearance_m)
        if any(grown.intersects(other) for other in self._outlines):
            return False
        self.placed.append(item)
        self._outlines.append(outline)
        return True


def place_vehicles(layout: SiteLayout, state: SceneState, view: Polygon) -> list[Placed]:
    """Vehicles of one site: on yard bays that hold one, heavy ones on stands, light ones in parking bays and on
    stands, passing traffic on the public road.

    Fewer than asked are placed when there is no room; the truth counts what was placed.
    """
    rng = np.random.default_rng([state.seed, 11, *layout.site_id.encode()])
    crowd = _Crowd()
    for slot in layout.slots_of("yard_bay"):
        if state.occupied.get(slot.slot_id) == "vehicle":
            centre, heading, length, _ = _slot_axis(slot.polygon)
            vehicle = draw_vehicle("car", rng, longest_m=length - 0.5)
            crowd.add(Placed(vehicle, centre, heading, layout.site_id, slot.slot_id), 0.0)
    _on_stands(crowd, layout, state.heavy, "heavy", rng)
    bays = [slot for slot in layout.slots_of("parking_bay") if view.contains(slot.polygon)]
    parked = min(state.cars - min(state.cars // 8, 4), len(bays))
    for index in rng.permutation(len(bays))[:parked]:
        bay = bays[int(index)]
        centre, heading, _, _ = _slot_axis(bay.polygon)
        turned = heading + (180.0 if rng.random() < 0.7 else 0.0) + float(rng.normal(0, 1.5))
        vehicle = draw_vehicle("car", rng, longest_m=5.0)
        crowd.add(Placed(vehicle, _nudged(centre, rng, 0.12), turned % 360.0, layout.site_id, bay.slot_id), 0.0)
    _on_stands(crowd, layout, state.cars - parked, "car", rng)
    for road in layout.roads:
        if road.public:
            _traffic(crowd, road, state.passing, layout, view, rng)
    return crowd.placed


def _on_stands(
    crowd: _Crowd, layout: SiteLayout, count: int, label: VehicleLabel, rng: np.random.Generator
) -> None:
    stands = [stand for stand in layout.stands if stand.use == label]
    left = count
    for index in rng.permutation(len(stands)):
        if left <= 0:
            return
        stand: StandShape = stands[int(index)]
        vehicle = draw_vehicle(label, rng, longest_m=stand.length_m)
        heading = (stand.heading_deg + float(rng.normal(0, 2.5))) % 360.0
        left -= crowd.add(Placed(vehicle, _nudged(stand.centre, rng, 0.3), heading, layout.site_id), 0.3)


def _traffic(
    crowd: _Crowd, road: RoadShape, count: int, layout: SiteLayout, view: Polygon, rng: np.random.Generator
) -> None:
    de, dn = road.end.east_m - road.start.east_m, road.end.north_m - road.start.north_m
    length = math.hypot(de, dn)
    heading = math.degrees(math.atan2(de, dn))
    for _ in range(count * 6):
        if sum(item.site_id is None for item in crowd.placed) >= count:
            return
        along, side = float(rng.uniform(0, length)), float(rng.choice([-1.0, 1.0]))
        across = -side * road.width_m / 4
        east = road.start.east_m + de / length * along - dn / length * across
        north = road.start.north_m + dn / length * along + de / length * across
        label: VehicleLabel = "car" if rng.random() < 0.8 else "heavy"
        if view.buffer(-4.0).contains(Point(east, north)):
            vehicle = draw_vehicle(label, rng)
            turned = (heading + (0.0 if side > 0 else 180.0)) % 360.0
            crowd.add(Placed(vehicle, MapPoint(east, north), turned, None), 1.0)


def draw_vehicles(canvas: Canvas, placed: list[Placed], sun: SunPosition, direct: float) -> None:
    """Stamp vehicles, low ones first."""
    for item in sorted(placed, key=lambda each: each.vehicle.length_m):
        canvas.stamp(item.vehicle.sprite, item.centre, item.heading_deg, sun, direct=direct, contact=0.55)


def draw_slots(
    canvas: Canvas, layout: SiteLayout, state: SceneState, parked: list[Placed], sun: SunPosition, direct: float
) -> tuple[list[SlotTruth], list[GoodsTruth]]:
    """Put goods on the occupied yard bays; truth of all slots of the site and of the goods (true coordinates).

    A parking bay is occupied when a vehicle was placed in it.
    """
    rng = np.random.default_rng([state.seed, 12, *layout.site_id.encode()])
    in_bays = {item.slot_id: item.vehicle.kind for item in parked if item.slot_id}
    truths: list[SlotTruth] = []
    stood: list[GoodsTruth] = []
    for slot in layout.slots:
        content: str | None = in_bays.get(slot.slot_id)
        if slot.kind == "yard_bay":
            kind = state.occupied.get(slot.slot_id)
            content = kind
            variant = int(rng.integers(GOODS_VARIANTS)) + 100 * (sum(slot.slot_id.encode()) % 5)
            fill, spin = float(rng.uniform(0.55, 0.92)), float(rng.normal(0, 1.5))
            if kind is not None and kind != "vehicle":
                outline = _draw_on_place(canvas, slot.polygon, kind, variant, fill, spin, sun, direct, rng)
                stood.append(GoodsTruth(slot.slot_id, layout.site_id, kind, outline))
        truths.append(SlotTruth(
            slot.slot_id, layout.site_id, slot.kind, content is not None, content, 1.0, slot.polygon
        ))
    return truths, stood


def _draw_on_place(
    canvas: Canvas, place: Polygon, kind: GoodsKind, variant: int, fill: float, spin_deg: float, sun: SunPosition,
    direct: float, rng: np.random.Generator,
) -> Polygon:
    """Stamps goods on a place; their outer rectangle."""
    centre, heading, length, width = _slot_axis(place)
    size = (round((length - 0.6) * fill**0.5 * 2) * 5, round((width - 0.5) * fill**0.5 * 2) * 5)
    if kind == "container":
        abreast = max(int((width - 0.1) / 2.6), 1)
        size = (round(min(length - 0.2, 6.1) * 10), round(min(width - 0.2, 2.6 * abreast) * 10))
    slack = max((length - size[0] / 10) / 2 - 0.2, 0.0)
    along = float(rng.uniform(-slack, slack))
    angle = math.radians(heading)
    spot = MapPoint(centre.east_m + math.sin(angle) * along, centre.north_m + math.cos(angle) * along)
    canvas.stamp(goods(kind, size[0], size[1], variant), spot, heading + spin_deg, sun, direct=direct, contact=0.45)
    return rectangle(spot, heading + spin_deg, size[0] / 10, size[1] / 10)


def draw_stock(
    canvas: Canvas, layout: SiteLayout, state: SceneState, sun: SunPosition, direct: float
) -> tuple[list[StockTruth], list[GoodsTruth]]:
    """Fill stock yards up to the wished cover, places in their own order; truth of all stock yards (file coordinates)
    and of the goods (true coordinates)."""
    truths: list[StockTruth] = []
    stood: list[GoodsTruth] = []
    for yard in layout.stock_yards:
        wished = state.stock_cover.get(yard.yard_id, 0.0) * yard.polygon.area
        covered = outer = 0.0
        for number, place in enumerate(yard.places):
            if covered + 0.5 * place.area > wished:
                break
            rng = np.random.default_rng([layout.seed, number, *yard.yard_id.encode()])
            variant = int(rng.integers(GOODS_VARIANTS))
            spin = float(rng.normal(0, 0.8))
            block = _draw_on_place(canvas, place, yard.goods, variant, 1.12, spin, sun, direct, rng)
            stood.append(GoodsTruth(f"{yard.yard_id}/{number}", layout.site_id, yard.goods, block))
            covered, outer = covered + place.area, outer + block.area
        outline = translate(yard.polygon, state.shift.east_m, state.shift.north_m)
        truths.append(StockTruth(
            yard.yard_id, layout.site_id, outer / yard.polygon.area, outer, outline
        ))
    return truths, stood


def vehicle_truths(placed: list[Placed], shift: MapShift, view: Polygon) -> list[VehicleTruth]:
    """Truth of the placed vehicles in file coordinates; those less than a fifth inside the view are left out."""
    truths: list[VehicleTruth] = []
    for item in placed:
        outline = item.outline()
        share = outline.intersection(view).area / outline.area
        if share >= 0.2:
            truths.append(VehicleTruth(
                item.vehicle.kind, item.vehicle.label, round(item.vehicle.length_m, 2),
                round(item.vehicle.width_m, 2), round(item.heading_deg, 1),
                translate(outline, shift.east_m, shift.north_m), item.site_id, share,
            ))
    return truths


def moved(slot: SlotTruth, shift: MapShift, visible: float) -> SlotTruth:
    """A slot's truth in file coordinates."""
    return replace(slot, polygon=translate(slot.polygon, shift.east_m, shift.north_m), visible_fraction=visible)


def view_of(west: float, south: float, east: float, north: float) -> Polygon:
    """The ground a picture shows."""
    return box(west, south, east, north)
