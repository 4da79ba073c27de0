"""Site plans: determinism, geometry, and the way to longitude and latitude."""

from __future__ import annotations

import pyproj
import pytest
from shapely.geometry import Polygon
from shapely.strtree import STRtree

from data_samples.layout import make_layout, to_lonlat, utm_epsg
from data_samples.scene_model import SiteKind, SiteLayout

KINDS: tuple[SiteKind, ...] = ("factory", "solar", "warehouse")


def layouts(kind: SiteKind) -> list[SiteLayout]:
    return [make_layout(f"S{n}", kind, 104.0 + 2.2 * n, 24.0 + 1.7 * n, 5) for n in range(8)]


def overlaps(polygons: list[Polygon]) -> float:
    tree = STRtree(polygons)
    pairs = tree.query(polygons, predicate="intersects").T
    return max((polygons[a].intersection(polygons[b]).area for a, b in pairs if a < b), default=0.0)


@pytest.mark.parametrize("kind", KINDS)
def test_same_arguments_same_plan_and_another_seed_another(kind: SiteKind) -> None:
    assert make_layout("A", kind, 120.0, 31.0, 3) == make_layout("A", kind, 120.0, 31.0, 3)
    assert make_layout("A", kind, 120.0, 31.0, 3) != make_layout("A", kind, 120.0, 31.0, 4)
    assert make_layout("A", kind, 120.0, 31.0, 3).boundary != make_layout("B", kind, 120.0, 31.0, 3).boundary


@pytest.mark.parametrize("kind", KINDS)
def test_everything_lies_inside_the_boundary(kind: SiteKind) -> None:
    for layout in layouts(kind):
        limit = layout.boundary.buffer(0.01)
        shapes = [*layout.slots, *layout.yards, *layout.arrays, *layout.buildings]
        outside = [shape for shape in shapes if not limit.contains(shape.polygon)]
        assert not outside, f"{layout.site_id}: {outside[:3]}"
        assert all(shape.polygon.is_valid for shape in shapes)


@pytest.mark.parametrize("kind", KINDS)
def test_slots_halls_and_tables_do_not_overlap(kind: SiteKind) -> None:
    for layout in layouts(kind):
        tables = [table for array in layout.arrays if array.mounting == "ground" for table in array.tables]
        solid = [slot.polygon for slot in layout.slots] + [hall.polygon for hall in layout.buildings] + tables
        assert overlaps(solid) < 0.05
        ids = [slot.slot_id for slot in layout.slots] + [array.array_id for array in layout.arrays]
        assert len(ids) == len(set(ids))


def test_each_kind_has_what_it_is_watched_by() -> None:
    for layout in layouts("warehouse"):
        assert 30 <= len(layout.slots_of("yard_bay")) <= 64
    for layout in layouts("factory"):
        assert 24 <= len(layout.slots_of("parking_bay")) <= 90
        assert layout.stock_yards
        assert all(len(yard.places) >= 4 for yard in layout.stock_yards)
    for layout in layouts("solar"):
        assert 6 <= len(layout.arrays) <= 12
        assert all(array.kwp == pytest.approx(0.2 * sum(t.area for t in array.tables), abs=0.1) for array in layout.arrays)


def test_longitude_and_latitude_round_trip() -> None:
    layout = make_layout("S", "factory", 117.3, 36.2, 1)
    assert layout.utm_epsg == 32650
    degrees = to_lonlat(layout.boundary, layout.utm_epsg)
    assert degrees.centroid.x == pytest.approx(117.3, abs=1e-4)
    assert degrees.centroid.y == pytest.approx(36.2, abs=1e-4)
    forth = pyproj.Transformer.from_crs(4326, layout.utm_epsg, always_xy=True)
    for (east, north), (lon, lat) in zip(layout.boundary.exterior.coords, degrees.exterior.coords, strict=True):
        assert forth.transform(lon, lat) == pytest.approx((east, north), abs=1e-3)


@pytest.mark.parametrize(("lon", "lat", "epsg"), [(120.1, 30.0, 32651), (-70.0, -33.0, 32719), (-179.9, 1.0, 32601)])
def test_utm_zone(lon: float, lat: float, epsg: int) -> None:
    assert utm_epsg(lon, lat) == epsg
