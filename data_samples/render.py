"""Renders georeferenced scenes of industrial sites together with the exact truth about them.

The static ground of a site is painted once per pixel size and kept; a scene adds panels, goods and vehicles, light
and cast shadows, cloud, haze, lens and sensor, and is written as a cloud-optimised GeoTIFF.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from shapely.affinity import translate
from shapely.geometry import Polygon
from shapely.ops import unary_union

from collateral.errors import InvalidInputError
from data_samples.layout import to_lonlat
from data_samples.render_canvas import ByteArray, Canvas, FloatArray, Grid
from data_samples.render_ground import paint_site
from data_samples.render_light import (
    Light,
    add_cloud,
    cloud_alpha,
    expose,
    illuminate,
    sun_position,
    surface_tilt,
)
from data_samples.render_panels import paint_array, plan_tables, present_polygons
from data_samples.render_place import (
    draw_slots,
    draw_stock,
    draw_vehicles,
    moved,
    place_vehicles,
    vehicle_truths,
    view_of,
)
from data_samples.render_works import carried, draw_works
from data_samples.render_write import write_scene
from data_samples.scene_model import (
    ArrayState,
    GoodsTruth,
    PanelTruth,
    SceneState,
    SceneTruth,
    SiteLayout,
    SlotTruth,
    StockTruth,
    SunPosition,
    VehicleTruth,
    WorkTruth,
)

__all__ = ["Rendered", "render_image", "render_scene"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A picture (rows, columns, 3) uint8 and what is true of it."""

    image: ByteArray
    truth: SceneTruth
    grid: Grid


def render_scene(
    layouts: Sequence[SiteLayout], states: Sequence[SceneState], path: Path, margin_m: float = 20.0
) -> SceneTruth:
    """Render sites into one scene file `path` (.tif) with `PATH.truth.json` beside it; returns the truth.

    One state per layout; time, pixel size, sun, air and shift of the first state hold for the whole scene.
    Raises InvalidInputError when lists do not match, sites lie in different UTM zones or a time has no zone.
    """
    rendered = render_image(layouts, states, path.stem, margin_m)
    write_scene(path, rendered.image, rendered.truth, states[0].source, states[0].available_at or states[0].acquired_at)
    return rendered.truth


def render_image(
    layouts: Sequence[SiteLayout], states: Sequence[SceneState], name: str, margin_m: float = 20.0
) -> Rendered:
    """The same without writing: picture, truth and true grid (without the shift)."""
    _check(layouts, states)
    first = states[0]
    grid = _grid_of(tuple(layouts), first.gsd_m, margin_m)
    sun = first.sun or _sun_of(layouts[0], first)
    light = Light.of(sun, overcast=first.overcast)
    arrays = tuple(
        (array.array_id, states[i].arrays.get(array.array_id, ArrayState()))
        for i, layout in enumerate(layouts) for array in layout.arrays
    )
    ground = _ground(tuple(layouts), grid, arrays)
    canvas = ground.canvas.copy()
    air = first.seed if first.air_seed is None else first.air_seed
    rng = np.random.default_rng([air, 1, *layouts[0].site_id.encode()])
    contents = [_populate(canvas, layout, state, sun, light) for layout, state in zip(layouts, states, strict=True)]
    rgb = illuminate(canvas.rgb, canvas.height, ground.tilt, grid.gsd_m, sun, light)
    cloud = cloud_alpha(canvas.height.shape, first.cloud_cover, grid.gsd_m, rng)
    image = expose(add_cloud(rgb, cloud, grid.gsd_m, sun), first.haze, grid.gsd_m, rng)
    truth = SceneTruth(
        name, layouts[0].utm_epsg, _transform(grid, first), grid.width_px, grid.height_px, grid.gsd_m,
        first.acquired_at, sun, first.shift, first.haze, float((cloud > 0.5).mean()),
        tuple(_clear(v, cloud, grid, first) for content in contents for v in content.vehicles),
        _panel_truths(layouts, states), tuple(
            moved(slot, first.shift, _visible(slot.polygon, cloud, grid))
            for content in contents for slot in content.slots
        ),
        tuple(stock for content in contents for stock in content.stock),
        tuple(layout.site_id for layout in layouts),
        tuple(item for content in contents for item in content.goods),
        tuple(work for content in contents for work in content.works),
    )
    return Rendered(image, truth, grid)


@dataclass(frozen=True, slots=True)
class _Content:
    vehicles: list[VehicleTruth]
    slots: list[SlotTruth]
    stock: list[StockTruth]
    goods: list[GoodsTruth]
    works: list[WorkTruth]


@dataclass(frozen=True, slots=True)
class _Ground:
    canvas: Canvas
    tilt: tuple[FloatArray, FloatArray]


def _check(layouts: Sequence[SiteLayout], states: Sequence[SceneState]) -> None:
    if not layouts or len(layouts) != len(states):
        raise InvalidInputError(f"{len(layouts)} layouts and {len(states)} states: give one state for each layout")
    zones = {layout.utm_epsg for layout in layouts}
    if len(zones) > 1:
        raise InvalidInputError(f"sites in UTM zones {sorted(zones)} in one scene: render one scene per zone")
    for layout, state in zip(layouts, states, strict=True):
        known = {slot.slot_id for slot in layout.slots} | {array.array_id for array in layout.arrays}
        known |= {yard.yard_id for yard in layout.yards}
        strange = sorted({*state.occupied, *state.stock_cover, *state.arrays} - known)
        if strange:
            raise InvalidInputError(f"{layout.site_id} has no {', '.join(strange[:3])}: take ids from its layout")
        if state.acquired_at.tzinfo is None:
            raise InvalidInputError(f"acquisition time {state.acquired_at} has no time zone: give it in UTC")
        if not 0.05 <= state.gsd_m <= 2.0:
            raise InvalidInputError(f"pixel size {state.gsd_m} m is outside 0.05 to 2 m: choose 0.15 or 0.3")


def _grid_of(layouts: tuple[SiteLayout, ...], gsd_m: float, margin_m: float) -> Grid:
    west, south, east, north = unary_union([layout.boundary for layout in layouts]).bounds
    step = 0.6
    west, north = math.floor((west - margin_m) / step) * step, math.ceil((north + margin_m) / step) * step
    width = math.ceil((east + margin_m - west) / step) * step
    height = math.ceil((north - (south - margin_m)) / step) * step
    return Grid(west, north, gsd_m, round(width / gsd_m), round(height / gsd_m))


def _transform(grid: Grid, state: SceneState) -> tuple[float, float, float, float, float, float]:
    west, north = grid.west_m + state.shift.east_m, grid.north_m + state.shift.north_m
    return (grid.gsd_m, 0.0, west, 0.0, -grid.gsd_m, north)


def _sun_of(layout: SiteLayout, state: SceneState) -> SunPosition:
    centre = to_lonlat(layout.boundary, layout.utm_epsg).centroid
    sun = sun_position(centre.x, centre.y, state.acquired_at)
    return SunPosition(max(sun.elevation_deg, 12.0), sun.azimuth_deg)


def _ground(
    layouts: tuple[SiteLayout, ...], grid: Grid, arrays: tuple[tuple[str, ArrayState], ...]
) -> _Ground:
    """Static ground with the PV arrays on it; painted for one pixel size, tilt without the panels."""
    return _ground_cached(_Key(layouts, grid, arrays))


@dataclass(frozen=True, slots=True, eq=False)
class _Key:
    """Hashes by names instead of by whole layouts, which would cost more than it saves."""

    layouts: tuple[SiteLayout, ...]
    grid: Grid
    arrays: tuple[tuple[str, ArrayState], ...] = ()

    def _names(self) -> tuple[object, ...]:
        return (tuple((x.site_id, x.seed, x.centre) for x in self.layouts), self.grid, self.arrays)

    def __hash__(self) -> int:
        return hash(self._names())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._names() == other._names()


@lru_cache(maxsize=3)
def _ground_cached(key: _Key) -> _Ground:
    bare = _bare_ground(_Key(key.layouts, key.grid))
    if not key.arrays:
        return bare
    canvas = bare.canvas.copy()
    states = dict(key.arrays)
    for layout in key.layouts:
        for array in layout.arrays:
            hosts = [b.height_m for b in layout.buildings if b.polygon.contains(array.polygon.centroid)]
            plans = plan_tables(array, states[array.array_id], layout.seed)
            paint_array(canvas, array, plans, layout.seed, hosts[0] + 1.0 if hosts else 0.0)
    return _Ground(canvas, bare.tilt)


@lru_cache(maxsize=3)
def _bare_ground(key: _Key) -> _Ground:
    canvas = paint_site(key.grid, key.layouts)
    return _Ground(canvas, surface_tilt(canvas.height, key.grid.gsd_m))


def _populate(canvas: Canvas, layout: SiteLayout, state: SceneState, sun: SunPosition, light: Light) -> _Content:
    grid = canvas.grid
    view = view_of(
        grid.west_m, grid.north_m - grid.height_px * grid.gsd_m, grid.west_m + grid.width_px * grid.gsd_m, grid.north_m
    )
    works = draw_works(canvas, layout, state)
    placed = place_vehicles(layout, state, view)
    stock, in_yards = draw_stock(canvas, layout, state, sun, light.contrast)
    slots, in_slots = draw_slots(canvas, layout, state, placed, sun, light.contrast)
    draw_vehicles(canvas, placed, sun, light.contrast)
    stood = [carried(item, state.shift) for item in (*in_yards, *in_slots)]
    return _Content(
        vehicle_truths(placed, state.shift, view), slots, stock, stood, [carried(work, state.shift) for work in works]
    )


def _visible(polygon: Polygon, cloud: FloatArray, grid: Grid) -> float:
    """Share of a polygon's bounding box (true coordinates) inside the picture and not under cloud."""
    ring = grid.ring(polygon)
    col0, row0 = np.floor(ring.min(axis=0)).astype(int)
    col1, row1 = np.ceil(ring.max(axis=0)).astype(int) + 1
    total = (col1 - col0) * (row1 - row0)
    part = cloud[max(row0, 0):max(row1, 0), max(col0, 0):max(col1, 0)]
    return float((part < 0.5).sum() / total) if total else 0.0


def _clear(vehicle: VehicleTruth, cloud: FloatArray, grid: Grid, state: SceneState) -> VehicleTruth:
    true = translate(vehicle.polygon, -state.shift.east_m, -state.shift.north_m)
    return replace(vehicle, visible_fraction=min(vehicle.visible_fraction, _visible(true, cloud, grid)))


def _panel_truths(layouts: Sequence[SiteLayout], states: Sequence[SceneState]) -> tuple[PanelTruth, ...]:
    truths: list[PanelTruth] = []
    shift = states[0].shift
    for layout, state in zip(layouts, states, strict=True):
        for array in layout.arrays:
            look = state.arrays.get(array.array_id, ArrayState())
            polygons = present_polygons(array, plan_tables(array, look, layout.seed))
            moved_ones = tuple(translate(polygon, shift.east_m, shift.north_m) for polygon in polygons)
            truths.append(PanelTruth(
                array.array_id, layout.site_id, moved_ones, sum(p.area for p in polygons),
                look.missing_fraction, look.soiled_fraction,
            ))
    return tuple(truths)

