"""Rendered scenes: what the truth says is where the picture shows it, and files describe themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
import rasterio
from numpy.typing import NDArray
from shapely.geometry import Polygon

from collateral.errors import InvalidInputError
from data_samples.layout import make_layout
from data_samples.render import Rendered, render_image, render_scene
from data_samples.render_canvas import Canvas, Grid
from data_samples.render_vehicles import vehicle
from data_samples.scene_model import ArrayState, MapPoint, MapShift, SceneState, SunPosition, VehicleKind

NOON = datetime(2025, 5, 12, 3, 30, tzinfo=UTC)
QUIET = SceneState(NOON, 0.3, passing=0, haze=0.05, seed=3)
FACTORY = make_layout("F1", "factory", 120.6, 31.3, 7)
WAREHOUSE = make_layout("W1", "warehouse", 121.3, 30.3, 7)
SOLAR = make_layout("P1", "solar", 118.8, 32.3, 7)


def difference(first: Rendered, second: Rendered) -> NDArray[np.float32]:
    gap = np.abs(first.image.astype(np.float32) - second.image.astype(np.float32)).mean(axis=2)
    return np.asarray(gap, np.float32)


def inside(rendered: Rendered, polygon: Polygon) -> NDArray[np.bool_]:
    mask = np.zeros(rendered.image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.round(rendered.grid.ring(polygon)).astype(np.int32)], 1)
    return mask > 0


def test_same_state_same_picture() -> None:
    state = replace(QUIET, cars=12, heavy=3)
    first = render_image([FACTORY], [state], "a")
    assert np.array_equal(first.image, render_image([FACTORY], [state], "a").image)
    assert not np.array_equal(first.image, render_image([FACTORY], [replace(state, seed=4)], "a").image)


def test_vehicles_are_where_the_truth_says_and_nowhere_else() -> None:
    empty = render_image([FACTORY], [QUIET], "a")
    full = render_image([FACTORY], [replace(QUIET, cars=20, heavy=4)], "a")
    assert [v.label for v in full.truth.vehicles].count("car") == 20
    assert [v.label for v in full.truth.vehicles].count("heavy") == 4
    gap = difference(full, empty)
    around = np.zeros(gap.shape, bool)
    for each in full.truth.vehicles:
        assert each.site_id == "F1"
        assert gap[inside(full, each.polygon)].mean() > 8.0
        assert each.polygon.area == pytest.approx(each.length_m * each.width_m, rel=0.01)
        around |= inside(full, each.polygon.buffer(6.0))
    assert gap[~around].mean() < 0.5


@pytest.mark.parametrize("kind", ["car", "van", "lorry", "articulated", "bus"])
@pytest.mark.parametrize("heading", [0.0, 90.0, 217.0])
def test_a_sprite_covers_its_outline(kind: VehicleKind, heading: float) -> None:
    grid = Grid(0.0, 24.0, 0.15, 160, 160)
    canvas = Canvas.blank(grid, (110.0, 110.0, 110.0))
    painted = vehicle(kind, 3)
    canvas.stamp(painted.sprite, MapPoint(12.0, 12.0), heading, SunPosition(50.0, 150.0), contact=0.0)
    covered = (np.abs(canvas.rgb - 110.0).max(axis=2) > 1.0) | (canvas.height > 0.3)
    rows, cols = np.nonzero(covered)
    points = np.stack([cols, rows], axis=1).astype(np.float32)
    _, sides, _ = cv2.minAreaRect(points)
    assert max(sides) * 0.15 == pytest.approx(painted.length_m, abs=0.6)
    assert min(sides) * 0.15 == pytest.approx(painted.width_m, abs=0.75)
    assert np.array([cols.mean(), rows.mean()]) == pytest.approx([79.5, 79.5], abs=2.5)


def test_goods_change_only_their_slot_and_its_surroundings() -> None:
    slot = WAREHOUSE.slots_of("yard_bay")[5]
    empty = render_image([WAREHOUSE], [QUIET], "a")
    full = render_image([WAREHOUSE], [replace(QUIET, occupied={slot.slot_id: "container"})], "a")
    gap = difference(full, empty)
    assert gap[inside(full, slot.polygon)].mean() > 8.0
    assert gap[~inside(full, slot.polygon.buffer(6.0))].mean() < 0.2
    truth = {s.slot_id: s for s in full.truth.slots}
    assert truth[slot.slot_id].occupied and truth[slot.slot_id].goods == "container"
    assert sum(s.occupied for s in full.truth.slots) == 1


def test_a_parked_car_occupies_its_bay() -> None:
    full = render_image([FACTORY], [replace(QUIET, cars=16)], "a")
    taken = [slot for slot in full.truth.slots if slot.occupied]
    assert len(taken) >= 12
    for slot in taken:
        assert any(slot.polygon.contains(v.polygon.centroid) for v in full.truth.vehicles)


def test_stock_cover_follows_the_wish_in_steps_of_one_place() -> None:
    yard = FACTORY.stock_yards[0]
    covers = []
    for wished in (0.0, 0.2, 0.4):
        state = replace(QUIET, stock_cover={yard.yard_id: wished})
        truth = {s.yard_id: s for s in render_image([FACTORY], [state], "a").truth.stock}
        covers.append(truth[yard.yard_id].cover)
        least = 0.6 * yard.places[0].area / yard.polygon.area + 0.2 * wished  # goods leave a rim of their place free
        assert covers[-1] == pytest.approx(wished, abs=least)
    assert covers == sorted(covers)


def test_missing_modules_leave_the_truth_and_the_picture() -> None:
    array = SOLAR.arrays[0]
    whole = render_image([SOLAR], [QUIET], "a")
    part = render_image([SOLAR], [replace(QUIET, arrays={array.array_id: ArrayState(missing_fraction=0.5)})], "a")
    before, after = whole.truth.panels[0], part.truth.panels[0]
    assert before.area_m2 == pytest.approx(sum(t.area for t in array.tables), rel=1e-3)
    assert after.area_m2 == pytest.approx(0.5 * before.area_m2, rel=0.02)
    gap = difference(part, whole)
    assert gap[inside(whole, array.polygon)].mean() > 6.0
    assert gap[inside(whole, SOLAR.arrays[1].polygon)].mean() < 1.0


def test_soiled_modules_look_paler_and_keep_their_area() -> None:
    array = SOLAR.arrays[2]
    clean = render_image([SOLAR], [QUIET], "a")
    dirty = render_image([SOLAR], [replace(QUIET, arrays={array.array_id: ArrayState(soiled_fraction=1.0)})], "a")
    where = inside(clean, array.tables[0])
    assert dirty.image[where].mean() > clean.image[where].mean() + 10
    assert dirty.truth.panels[2].area_m2 == clean.truth.panels[2].area_m2


def test_shift_moves_georeferencing_and_truth_but_no_pixel() -> None:
    state = replace(QUIET, cars=5)
    straight = render_image([FACTORY], [state], "a")
    shifted = render_image([FACTORY], [replace(state, shift=MapShift(1.2, -0.9))], "a")
    assert np.array_equal(straight.image, shifted.image)
    assert shifted.truth.transform[2] - straight.truth.transform[2] == pytest.approx(1.2)
    assert shifted.truth.transform[5] - straight.truth.transform[5] == pytest.approx(-0.9)
    for one, two in zip(straight.truth.vehicles, shifted.truth.vehicles, strict=True):
        assert two.polygon.centroid.x - one.polygon.centroid.x == pytest.approx(1.2, abs=1e-6)


def test_ground_stays_the_same_while_light_and_objects_change() -> None:
    early = render_image([FACTORY], [replace(QUIET, seed=1, cars=9)], "a")
    later = render_image([FACTORY], [replace(QUIET, seed=2, cars=14, acquired_at=NOON.replace(month=8))], "b")
    grey = [np.asarray(rendered.image, np.float32).mean(axis=2) for rendered in (early, later)]
    detail = [each - cv2.GaussianBlur(each, (0, 0), 4) for each in grey]
    meadow = ~inside(early, FACTORY.boundary.buffer(8.0))
    assert np.corrcoef(detail[0][meadow], detail[1][meadow])[0, 1] > 0.6


def test_cloud_hides_what_lies_below_it() -> None:
    clouded = render_image([FACTORY], [replace(QUIET, cars=30, cloud_cover=0.5)], "a").truth
    assert clouded.cloud_fraction == pytest.approx(0.5, abs=0.05)
    shares = [v.visible_fraction for v in clouded.vehicles]
    assert min(shares) < 0.3 < max(shares)


def test_the_file_is_a_small_cog_that_describes_itself(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    state = replace(QUIET, cars=6, shift=MapShift(0.5, 0.5), available_at=NOON.replace(hour=9))
    truth = render_scene([FACTORY], [state], path)
    assert path.stat().st_size < 400_000
    with rasterio.open(path) as scene:
        assert scene.crs.to_epsg() == FACTORY.utm_epsg
        assert scene.transform.a == 0.3 and scene.transform.c == truth.transform[2]
        assert scene.profile["compress"].lower() == "jpeg"
        assert scene.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        tags = scene.tags()
        assert tags["ACQUIRED_AT"] == "2025-05-12T03:30:00Z" and tags["AVAILABLE_AT"] == "2025-05-12T09:30:00Z"
        assert tags["TIFFTAG_DATETIME"] == "2025:05:12 03:30:00" and tags["SOURCE"] == "rendered"
        decoded = scene.read().transpose(1, 2, 0).astype(np.float32)
    rendered = render_image([FACTORY], [state], "scene").image
    assert np.abs(decoded - rendered).mean() < 6.0
    document = orjson.loads((tmp_path / "scene.truth.json").read_bytes())
    assert document["transform"] == list(truth.transform)
    assert len(document["vehicles"]) == 6 and document["site_ids"] == ["F1"]
    assert set(document["slots"]) == {slot.slot_id for slot in FACTORY.slots}


@pytest.mark.parametrize(("state", "message"), [
    (replace(QUIET, gsd_m=5.0), "pixel size"),
    (replace(QUIET, occupied={"F1-B99": "container"}), "F1 has no F1-B99"),
    (replace(QUIET, acquired_at=datetime(2025, 1, 1)), "time zone"),
])
def test_impossible_states_are_refused(state: SceneState, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        render_image([FACTORY], [state], "a")


def test_sites_of_two_zones_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="UTM zones"):
        render_image([FACTORY, SOLAR], [QUIET, QUIET], "a")
