"""Plans of industrial sites: where halls, roads, bays, storage slots, PV tables and trees are.

A plan is drawn in a local frame (u along the street, v away from it, metres, origin mid-site) and turned
into UTM. Sites measure 130-170 m a side, because every pixel of every scene costs time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pyproj
import shapely
from shapely.geometry import Polygon

from data_samples.scene_model import (
    GOODS_KINDS,
    ArrayShape,
    BuildingShape,
    GoodsKind,
    MapPoint,
    Mounting,
    RoadShape,
    RoofKind,
    SiteKind,
    SiteLayout,
    SlotKind,
    SlotShape,
    StandShape,
    Surface,
    TreeShape,
    VehicleLabel,
    YardShape,
)

BAY_WIDTH_M, BAY_LENGTH_M, AISLE_M = 2.7, 5.2, 6.5
SLOT_WIDTH_M, SLOT_LENGTH_M = 4.0, 7.5
BAY_SIZES_M = {"parking_bay": (BAY_WIDTH_M, BAY_LENGTH_M), "yard_bay": (SLOT_WIDTH_M, SLOT_LENGTH_M)}
MODULE_WIDTH_M, TABLE_DEPTH_M, TABLE_PITCH_M = 1.05, 3.9, 7.0
KWP_PER_M2 = 0.2
"""Nominal power of modern modules per square metre of their area."""


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the WGS 84 / UTM zone of a place (without the exceptions of Norway and Svalbard)."""
    return (32600 if lat >= 0 else 32700) + int((lon + 180.0) // 6.0) + 1


@lru_cache(maxsize=64)
def _projection(epsg: int, *, inverse: bool = False) -> pyproj.Transformer:
    ends = (f"EPSG:{epsg}", "EPSG:4326") if inverse else ("EPSG:4326", f"EPSG:{epsg}")
    return pyproj.Transformer.from_crs(*ends, always_xy=True)


def to_lonlat(polygon: Polygon, utm_epsg: int) -> Polygon:
    """A polygon of UTM metres as WGS 84 longitude and latitude."""
    project = _projection(utm_epsg, inverse=True).transform
    return shapely.transform(polygon, lambda xy: np.column_stack(project(xy[:, 0], xy[:, 1])))


@dataclass
class _Plan:
    """The layout while it grows; methods take local metres (u, v)."""

    site_id: str
    kind: SiteKind
    centre: MapPoint
    rotation_deg: float
    rng: np.random.Generator
    half_u: float
    half_v: float
    buildings: list[BuildingShape] = field(default_factory=list)
    roads: list[RoadShape] = field(default_factory=list)
    yards: list[YardShape] = field(default_factory=list)
    slots: list[SlotShape] = field(default_factory=list)
    arrays: list[ArrayShape] = field(default_factory=list)
    stands: list[StandShape] = field(default_factory=list)
    trees: list[TreeShape] = field(default_factory=list)

    def point(self, u: float, v: float) -> MapPoint:
        angle = math.radians(self.rotation_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        return MapPoint(self.centre.east_m + u * cos - v * sin, self.centre.north_m + u * sin + v * cos)

    def polygon(self, corners: Sequence[tuple[float, float]]) -> Polygon:
        points = [self.point(u, v) for u, v in corners]
        return Polygon([(round(p.east_m, 3), round(p.north_m, 3)) for p in points])

    def rect(self, u0: float, v0: float, u1: float, v1: float) -> Polygon:
        """Rectangle whose first edge runs along u at v0."""
        return self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])

    def heading(self, local_deg: float) -> float:
        """Compass heading of a direction given anticlockwise from the local u axis."""
        return (90.0 - (self.rotation_deg + local_deg)) % 360.0

    def hall(
        self, u0: float, v0: float, u1: float, v1: float, height: float, roof: RoofKind | None = None
    ) -> None:
        kinds: tuple[RoofKind, ...] = ("metal_gable", "metal_gable", "flat", "sawtooth")
        chosen = roof or kinds[int(self.rng.integers(len(kinds)))]
        self.buildings.append(BuildingShape(
            f"{self.site_id}-H{len(self.buildings) + 1}", self.rect(u0, v0, u1, v1), height, chosen,
            int(self.rng.integers(6)),
        ))

    def road(
        self, start: tuple[float, float], end: tuple[float, float], width: float,
        *, marked: bool = False, public: bool = False,
    ) -> None:
        road_id = f"{self.site_id}-R{len(self.roads) + 1}"
        self.roads.append(RoadShape(road_id, self.point(*start), self.point(*end), width, marked, public))

    def stand(self, u: float, v: float, local_deg: float, length: float, use: VehicleLabel) -> None:
        self.stands.append(StandShape(self.point(u, v), self.heading(local_deg), length, use))

    def yard(
        self, u0: float, v0: float, u1: float, v1: float, surface: Surface,
        places: Sequence[Polygon] = (), goods: GoodsKind = "pallets",
    ) -> str:
        yard_id = f"{self.site_id}-Y{len(self.yards) + 1}"
        self.yards.append(YardShape(yard_id, self.rect(u0, v0, u1, v1), surface, tuple(places), goods))
        return yard_id

    def add_slot(self, kind: SlotKind, polygon: Polygon, yard_id: str) -> None:
        letter = "P" if kind == "parking_bay" else "B"
        number = sum(slot.kind == kind for slot in self.slots) + 1
        self.slots.append(SlotShape(f"{self.site_id}-{letter}{number:02d}", kind, polygon, yard_id))

    def bay_row(
        self, kind: SlotKind, u0: float, v_front: float, count: int, yard_id: str, *, up: bool
    ) -> None:
        """A row of bays along u whose fronts lie on v_front and which extend up or down from it."""
        width, length = BAY_SIZES_M[kind]
        back = v_front + (length if up else -length)
        for number in range(count):
            left, right = u0 + number * width, u0 + (number + 1) * width
            self.add_slot(kind, self.rect(left, v_front, right, back), yard_id)

    def parking(self, u0: float, v0: float, columns: int, blocks: int) -> float:
        """Parking lot with `blocks` aisles, two rows of bays on each; returns the v of its upper edge."""
        depth = blocks * (2 * BAY_LENGTH_M + AISLE_M)
        yard_id = self.yard(u0 - 3, v0 - 1, u0 + columns * BAY_WIDTH_M + 3, v0 + depth + 1, "asphalt")
        for block in range(blocks):
            base = v0 + block * (2 * BAY_LENGTH_M + AISLE_M)
            self.bay_row("parking_bay", u0, base + BAY_LENGTH_M, columns, yard_id, up=False)
            self.bay_row("parking_bay", u0, base + BAY_LENGTH_M + AISLE_M, columns, yard_id, up=True)
        return v0 + depth + 1

    def stock_yard(self, u0: float, v0: float, u1: float, v1: float) -> None:
        """Stock yard: blocks of about 6 x 6 m in rows with lanes between, filled in a seeded order."""
        goods = GOODS_KINDS[int(self.rng.integers(len(GOODS_KINDS)))]
        places: list[Polygon] = []
        columns = max(int((u1 - u0 - 2.0) / 6.4), 1)
        v = v0 + 1.2
        row = 0
        while v + 6.0 <= v1 - 1.0:
            for column in range(columns):
                u = u0 + 1.2 + column * 6.4
                places.append(self.rect(u, v, u + 6.0, v + 6.0))
            v += 6.2 if row % 2 == 0 else 10.5
            row += 1
        block = 2
        groups = [places[i:i + block] for i in range(0, len(places), block)]
        order = self.rng.permutation(len(groups))
        filled = [place for index in order for place in groups[int(index)]]
        surfaces: tuple[Surface, ...] = ("concrete", "asphalt", "gravel")
        self.yard(u0, v0, u1, v1, surfaces[int(self.rng.integers(3))], filled, goods)

    def pv_block(self, u0: float, v0: float, width: float, rows: int, mounting: Mounting) -> None:
        """One array: `rows` tables of one width above each other."""
        pitch = TABLE_PITCH_M if mounting == "ground" else TABLE_DEPTH_M + 1.0
        columns = int(width / MODULE_WIDTH_M)
        tables = tuple(
            self.rect(u0, v0 + r * pitch, u0 + columns * MODULE_WIDTH_M, v0 + r * pitch + TABLE_DEPTH_M)
            for r in range(rows)
        )
        top = v0 + (rows - 1) * pitch + TABLE_DEPTH_M
        outline = self.rect(u0 - 0.6, v0 - 0.6, u0 + columns * MODULE_WIDTH_M + 0.6, top + 0.6)
        area = sum(table.area for table in tables)
        self.arrays.append(ArrayShape(
            f"{self.site_id}-A{len(self.arrays) + 1:02d}", outline, tables, round(area * KWP_PER_M2, 1),
            mounting,
        ))

    def street(self) -> None:
        """The public road before the site, the gate, and a tree belt."""
        v = -self.half_v - 9.0
        self.road((-300.0, v), (300.0, v), 9.0, marked=True, public=True)
        for u in np.arange(-self.half_u, self.half_u, 4.5):
            for edge in (-self.half_v - 1.5, self.half_v + 3.5):
                if self.rng.random() < (0.35 if edge < 0 else 0.75) and not (edge < 0 and abs(u - self.gate_u) < 10):
                    self.tree(float(u + self.rng.normal(0, 1.5)), edge + float(self.rng.normal(0, 0.8)))
        for v in np.arange(-self.half_v, self.half_v, 4.5):
            for edge in (-self.half_u - 4.0, self.half_u + 4.0):
                if self.rng.random() < 0.6:
                    self.tree(edge + float(self.rng.normal(0, 1.0)), float(v + self.rng.normal(0, 2.0)))

    @property
    def gate_u(self) -> float:
        return self.half_u - 14.0

    def tree(self, u: float, v: float) -> None:
        radius = float(self.rng.uniform(1.9, 4.2))
        self.trees.append(TreeShape(self.point(u, v), radius, radius * float(self.rng.uniform(1.4, 2.2))))

    def finish(self, epsg: int, seed: int) -> SiteLayout:
        boundary = self.rect(-self.half_u, -self.half_v, self.half_u, self.half_v)
        return SiteLayout(
            self.site_id, self.kind, epsg, self.centre, self.rotation_deg, seed, boundary,
            tuple(self.buildings), tuple(self.roads), tuple(self.yards), tuple(self.slots),
            tuple(self.arrays), tuple(self.stands), tuple(self.trees),
        )


def _site_road(plan: _Plan) -> None:
    """Gate, and the site's own road along the right side, with places where vehicles stop."""
    gate = plan.gate_u
    marked = bool(plan.rng.random() < 0.5)
    plan.road((gate, -plan.half_v - 9.0), (gate, plan.half_v - 5.0), 7.0, marked=marked)
    for v in np.arange(-plan.half_v + 8.0, plan.half_v - 14.0, 19.0):
        plan.stand(gate + 1.8, float(v), 90.0, 17.0, "heavy")
    for v in np.arange(-plan.half_v + 12.0, plan.half_v - 8.0, 6.5):
        plan.stand(gate - 1.8, float(v), 270.0, 5.5, "car")


def _factory(plan: _Plan) -> None:
    u, v, rng = plan.half_u, plan.half_v, plan.rng
    plan.yard(-u + 2, -v + 2, u - 2, v - 2, "asphalt" if rng.random() < 0.6 else "concrete")
    _site_road(plan)
    columns = int(rng.integers(14, 22))
    top = plan.parking(-u + 8, -v + 5, columns, int(rng.integers(1, 3)))
    office_u = -u + 8 + columns * BAY_WIDTH_M + 8
    if office_u + 18 < plan.gate_u - 8:
        plan.hall(office_u, -v + 8, min(office_u + 26, plan.gate_u - 8), -v + 20, 9.0, "flat")
    base = max(top, -v + 22) + 9
    hall_right = -u + 8 + float(rng.uniform(0.50, 0.60)) * 2 * u
    hall_top = base + float(rng.uniform(0.50, 0.62)) * (v - 6 - base)
    plan.hall(-u + 8, base, hall_right, hall_top, float(rng.uniform(8, 12)))
    plan.stock_yard(hall_right + 14, base, plan.gate_u - 6, min(base + 44, v - 8))
    if v - 6 - (hall_top + 12) > 12:
        plan.hall(-u + 8, hall_top + 12, -u + 8 + 0.30 * 2 * u, v - 6, float(rng.uniform(6, 9)))
        plan.stock_yard(-u + 8 + 0.30 * 2 * u + 8, hall_top + 12, hall_right + 2, v - 6)
    for offset in np.arange(base + 5, hall_top - 3, 5.0):
        plan.stand(hall_right + 7.5, float(offset), float(rng.choice([0.0, 180.0])), 10.0, "heavy")
    for offset in np.arange(-u + 12, hall_right - 6, 7.0):
        plan.stand(float(offset), base - 4.0, float(rng.choice([0.0, 180.0])), 5.5, "car")


def _warehouse(plan: _Plan) -> None:
    u, v, rng = plan.half_u, plan.half_v, plan.rng
    plan.yard(-u + 2, -v + 2, u - 2, v - 2, "asphalt" if rng.random() < 0.5 else "concrete")
    _site_road(plan)
    columns = int(rng.integers(10, 16))
    top = plan.parking(-u + 8, -v + 5, columns, 1)
    per_row = int(rng.integers(11, 16))
    yard_top = top + 3
    rows = 3 if rng.random() < 0.6 else 4
    start_u = -u + 9
    per_row = min(per_row, int((plan.gate_u - 8 - start_u) / SLOT_WIDTH_M))
    depth = SLOT_LENGTH_M * rows + 11.0 * math.ceil(rows / 2)
    right = start_u + per_row * SLOT_WIDTH_M + 3
    yard_id = plan.yard(start_u - 3, yard_top, right, yard_top + depth, "concrete")
    row_v = yard_top + 1.0
    for row in range(rows):
        plan.bay_row("yard_bay", start_u, row_v, per_row, yard_id, up=True)
        row_v += SLOT_LENGTH_M + (11.0 if row % 2 == 0 else 0.0)
    base = yard_top + depth + 22
    plan.hall(-u + 8, base, plan.gate_u - 8, v - 6, float(rng.uniform(10, 13)), "metal_gable")
    hall = plan.buildings[-1]
    for offset in np.arange(-u + 14, plan.gate_u - 12, 5.2):
        plan.stand(float(offset), base - 8.8, 90.0 + 180.0 * float(rng.random() < 0.85), 17.0, "heavy")
    for offset in np.arange(yard_top + 4, base - 22, 6.5):
        if start_u + per_row * SLOT_WIDTH_M + 8 < plan.gate_u - 8:
            plan.stand(start_u + per_row * SLOT_WIDTH_M + 6, float(offset), 90.0, 5.5, "car")
    if rng.random() < 0.4 and hall.polygon.area > 1500 and v - 6 - base > 26:
        plan.pv_block(-u + 16, base + 4, min(60.0, plan.gate_u + u - 40), 2, "roof")


def _solar(plan: _Plan) -> None:
    u, v, rng = plan.half_u, plan.half_v, plan.rng
    plan.road((plan.gate_u, -v - 9), (plan.gate_u, v - 6), 5.0)
    yard_id = plan.yard(plan.gate_u - 34, -v + 4, plan.gate_u + 10, -v + 22, "gravel")
    plan.hall(plan.gate_u - 32, -v + 12, plan.gate_u - 20, -v + 20, 4.5, "flat")
    plan.bay_row("parking_bay", plan.gate_u - 18, -v + 10, 5, yard_id, up=False)
    for offset in np.arange(-v + 30, v - 12, 7.0):
        plan.stand(plan.gate_u, float(offset), 90.0, 5.5, "car")
    plan.stand(plan.gate_u - 8, -v + 17, 0.0, 12.0, "heavy")
    plan.stand(plan.gate_u + 1, -v + 30, 90.0, 12.0, "heavy")
    rows = int(rng.integers(4, 6))
    depth = (rows - 1) * TABLE_PITCH_M + TABLE_DEPTH_M
    block_v = -v + 7.0
    while block_v + depth < v - 5:
        left = -u + 7.0
        right = plan.gate_u - 7.0 if block_v > -v + 24 else plan.gate_u - 40.0
        columns = 3 if right - left > 100 else 2
        width = (right - left - (columns - 1) * 5.0) / columns
        for column in range(columns):
            if len(plan.arrays) < 12 and width > 18:
                plan.pv_block(left + column * (width + 5.0), block_v, width, rows, "ground")
        block_v += depth + 8.0


_PLANNERS = {"factory": _factory, "warehouse": _warehouse, "solar": _solar}


def make_layout(site_id: str, kind: SiteKind, lon: float, lat: float, seed: int) -> SiteLayout:
    """The plan of one site around a WGS 84 place. The same arguments give the same plan.

    Seeded by `seed` and the site id, so that sites of one world differ. Identifiers: yard bays `ID-B01`,
    parking bays `ID-P01`, yards `ID-Y1`, arrays `ID-A01`.
    """
    rng = np.random.default_rng([seed, *site_id.encode()])
    epsg = utm_epsg(lon, lat)
    east, north = _projection(epsg).transform(lon, lat)
    rotation = float(rng.normal(0, 3)) if kind == "solar" else float(rng.uniform(-40, 40))
    half_u, half_v = float(rng.uniform(70, 85)), float(rng.uniform(66, 78))
    plan = _Plan(site_id, kind, MapPoint(east, north), rotation, rng, half_u, half_v)
    _PLANNERS[kind](plan)
    plan.street()
    return plan.finish(epsg, seed)
