"""Windows at the edge of what is sensible: missing pixels, sites of a few metres, dates that show different parts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry import box
from shapely.geometry.base import BaseGeometry

from collateral.domain import Site, SiteKind
from collateral.errors import InvalidInputError
from data_samples.layout import make_layout, to_lonlat
from data_samples.render import render_image, render_scene
from data_samples.scene_model import MapShift, SceneState
from detection.change import Change, View, find_changes
from detection.ground_consumer import _unseen_m2, changed_area
from detection.locate import Located
from imagery.grid import GridSpec, PixelSize
from imagery.quality import Overview, Verdict, assess, clouds
from imagery.reference import overview_grid, overview_of
from imagery.register import align
from imagery.scenes import open_scene
from imagery.target import SiteTarget, mask_inside, site_targets

WHEN = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)
LAYOUT = make_layout("F1", "factory", 120.6, 31.3, 11)
SHIFT = MapShift(2.4, -1.8)
"""By which the second delivery lies off."""


@pytest.fixture(scope="module")
def overview() -> Overview:
    rendered = render_image([LAYOUT], [SceneState(WHEN, gsd_m=0.6, cars=8, heavy=2, seed=4)], "q")
    height, width = rendered.image.shape[:2]
    grid = GridSpec(LAYOUT.utm_epsg, Affine(*rendered.truth.transform), PixelSize(width, height))
    return Overview(grid, rendered.image, np.ones((height, width), np.bool_), mask_inside(LAYOUT.boundary, grid))


def without(view: Overview, share: float) -> Overview:
    """A strip from north to south, that share of the site, holds no data."""
    columns = np.nonzero(view.inside)[1]
    west, east = np.quantile(columns, (0.5, 0.5 + share)).astype(int)
    valid, rgb = view.valid.copy(), view.rgb.copy()
    valid[:, west:east], rgb[:, west:east] = False, 0
    return replace(view, valid=valid, rgb=rgb)


def judged(view: Overview, reference: NDArray[np.uint8]) -> Verdict:
    return assess(view, clouds(view), reference=reference)


def test_the_edge_of_missing_pixels_is_neither_detail_nor_blur(overview: Overview) -> None:
    whole = judged(overview, overview.luminance).figures
    part = judged(without(overview, 0.09), overview.luminance)
    assert part.accepted and 0.08 < part.figures.nodata_share < 0.1
    assert part.figures.sharpness == pytest.approx(whole.sharpness, rel=0.03)
    assert part.figures.sharpness_kept == pytest.approx(1.0, abs=0.02)
    soft = replace(overview, rgb=np.asarray(cv2.GaussianBlur(overview.rgb, (0, 0), 2.2), np.uint8))
    blurred = judged(soft, overview.luminance).figures
    shown = judged(without(soft, 0.09), overview.luminance).figures
    assert shown.sharpness == pytest.approx(blurred.sharpness, rel=0.05)


def site(polygon: BaseGeometry) -> SiteTarget:
    kind, epsg = SiteKind.FACTORY, LAYOUT.utm_epsg
    place = Site("F1", "B1", "厂", "Plant", kind, "Asia/Shanghai", epsg, to_lonlat(polygon, epsg), False, None, None, None)
    return site_targets([place], [])[0]


@pytest.fixture(scope="module")
def deliveries(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("deliveries")
    for name, days, shift in (("a", 0, MapShift()), ("b", 20, SHIFT)):
        state = SceneState(WHEN + timedelta(days=days), gsd_m=0.5, cars=6, heavy=2, shift=shift, seed=days)
        render_scene([LAYOUT], [state], folder / f"{name}.tif")
    return folder / "a.tif", folder / "b.tif"


@pytest.mark.parametrize("size", [(5, 20), (20, 5), (10, 10), (60, 60)])
def test_a_small_site_is_aligned_by_what_lies_around_it(deliveries: tuple[Path, Path], size: tuple[int, int]) -> None:
    middle = LAYOUT.boundary.centroid
    small = site(box(middle.x, middle.y, middle.x + size[0], middle.y + size[1]))
    first, second = (overview_of(open_scene(path), small)[0] for path in deliveries)
    found = align(second.luminance, first.luminance, overview_grid(small))
    assert found.aligned
    assert (found.shift.east_m, found.shift.north_m) == pytest.approx((SHIFT.east_m, SHIFT.north_m), abs=0.5)
    assert first.inside.sum() * 0.36 == pytest.approx(size[0] * size[1], rel=0.15)


def test_a_picture_of_a_few_pixels_is_refused(overview: Overview) -> None:
    few = np.ascontiguousarray(overview.luminance[100:128, 100:160])
    grid = GridSpec(LAYOUT.utm_epsg, Affine(0.6, 0, 350_000, 0, -0.6, 3_450_000), PixelSize(60, 28))
    assert not align(few, few, grid).aligned


GRID = GridSpec(32651, Affine(0.3, 0, 350_000, 0, -0.3, 3_450_048), PixelSize(160, 160))
HERE = box(350_000, 3_450_000, 350_048, 3_450_048)


def view(grid: GridSpec, valid: NDArray[np.bool_]) -> View:
    none = np.zeros(valid.shape, np.float32)
    return View(grid, np.full((*valid.shape, 3), 120, np.uint8), valid, none, none, ())


def test_what_either_date_did_not_show_may_have_changed() -> None:
    every = np.ones((160, 160), np.bool_)
    east, south = every.copy(), every.copy()
    east[:, 130:], south[90:] = False, False
    shown = view(GRID, every)
    assert _unseen_m2(shown, shown, HERE) == 0.0
    assert _unseen_m2(view(GRID, east), shown, HERE) == _unseen_m2(shown, view(GRID, east), HERE)
    unseen_m2 = _unseen_m2(view(GRID, east), view(GRID, south), HERE)
    assert unseen_m2 == pytest.approx(48 * 48 * (1 - 0.75 * 0.5))  # 3 m beside a hole are not compared
    nothing = changed_area([], unseen_m2)
    assert (nothing.value, nothing.lower, nothing.upper) == (0.0, 0.0, unseen_m2)
    heap = Change("other", "altered", box(350_010, 3_450_010, 350_020, 3_450_020), 0.8, (50.0, 0.0, 0.0))
    estimate = changed_area([heap, replace(heap, kind="vehicles")], unseen_m2)
    assert (estimate.value, estimate.lower) == pytest.approx((100.0, 80.0))
    assert estimate.upper == pytest.approx(115.0 + unseen_m2)


def test_what_a_hole_cuts_off_has_not_changed() -> None:
    every = np.ones((160, 160), np.bool_)
    hole = every.copy()
    hole[:, 100:] = False
    whole = Located(box(350_020, 3_450_020, 350_032, 3_450_023), 32651, 0.9, "heavy", 12.0)
    rest = Located(box(350_020, 3_450_020, 350_030, 3_450_023), 32651, 0.9, "heavy", 10.0)
    dark = np.full((160, 160, 3), 120, np.uint8)
    dark[:, 100:] = 0
    said = np.zeros((160, 160), np.float32)
    said[20:60, 92:100] = 0.9
    before = replace(view(GRID, every), vehicles=(whole,))
    after = replace(view(GRID, hole), rgb=dark, goods=said, vehicles=(rest,))
    assert find_changes(before, after) == find_changes(after, before) == []
    stump = replace(after, vehicles=(replace(rest, geometry=box(350_025.5, 3_450_020, 350_030, 3_450_023), length_m=4.5),))
    assert find_changes(before, stump) == find_changes(stump, before) == []
    assert find_changes(before, view(GRID, every))[0].direction == "vanished"


def test_views_on_different_grids_are_not_compared() -> None:
    every = np.ones((160, 160), np.bool_)
    moved = GridSpec(GRID.epsg, Affine(0.3, 0, 350_030, 0, -0.3, 3_450_048), GRID.size)
    with pytest.raises(InvalidInputError, match="one grid"):
        find_changes(view(GRID, every), view(moved, every))
