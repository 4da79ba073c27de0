"""Stock cover and changes on drawn pictures: what counts, what does not, and what is kept between dates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine
from shapely.geometry import Polygon, box

from detection.change import APPEARED, MOVED, VANISHED, View, _marked, find_changes
from detection.change_maps import change_maps
from detection.change_truth import ChangeTally, Outline, TrueChanges, true_changes
from detection.change_views import KEPT, DatedView, ViewStore
from detection.locate import Located
from detection.stock import HIDDEN, ROOF, cover_of
from imagery.grid import GridSpec, PixelSize

SIDE = 160
GRID = GridSpec(32651, Affine(0.3, 0, 350_000, 0, -0.3, 3_450_048), PixelSize(SIDE, SIDE))
TAKEN = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)


def ground(seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(rng.normal(0, 30, (SIDE, SIDE)).astype(np.float32), (0, 0), 1.5)
    return np.clip(120 + rough[..., None] + np.zeros(3), 0, 255).astype(np.uint8)


def view(rgb: np.ndarray, goods: np.ndarray | None = None, roof: np.ndarray | None = None, **more: object) -> View:
    none = np.zeros((SIDE, SIDE), np.float32)
    seen = np.ones((SIDE, SIDE), np.bool_)
    made = View(GRID, rgb, seen, none if goods is None else goods, none if roof is None else roof, ())
    return replace(made, **more)  # type: ignore[arg-type]


def block(
    rgb: np.ndarray, row: int, col: int, colour: tuple[int, int, int], size: int = 20
) -> tuple[np.ndarray, np.ndarray]:
    picture, mask = rgb.copy(), np.zeros((SIDE, SIDE), np.float32)
    picture[row:row + size, col:col + size] = colour
    mask[row:row + size, col:col + size] = 1.0
    return picture, mask


def test_an_empty_outline_hides_none_of_the_others() -> None:
    there = box(350_018, 3_450_030, 350_024, 3_450_036)
    assert _marked([there], GRID).sum() == _marked([there, Polygon()], GRID).sum() == 400


def test_goods_that_come_and_go_are_changes_with_their_area() -> None:
    bare = ground()
    stocked, goods = block(bare, 40, 60, (170, 90, 40))
    (found,) = find_changes(view(bare), view(stocked, goods))
    assert (found.kind, found.direction) == ("stock", APPEARED)
    assert found.area_m2 == pytest.approx(36.0, rel=0.1)
    assert found.geometry.centroid.distance(box(350_018, 3_450_030, 350_024, 3_450_036).centroid) < 0.5
    (gone,) = find_changes(view(stocked, goods), view(bare))
    assert (gone.kind, gone.direction) == ("stock", VANISHED)


def test_the_same_goods_elsewhere_have_moved() -> None:
    here, there = block(ground(), 20, 20, (170, 90, 40)), block(ground(), 100, 100, (170, 90, 40))
    (found,) = find_changes(view(*here), view(*there))
    assert found.direction == MOVED
    assert found.moved_from is not None and found.moved_from.distance(found.geometry) > 15


@pytest.mark.parametrize(("gain", "veil"), [(0.7, 0), (1.2, -10), (0.6, 70)])
def test_other_light_and_haze_are_no_change(gain: float, veil: int) -> None:
    stocked, goods = block(ground(), 40, 60, (170, 90, 40))
    later = np.clip(stocked.astype(np.float32) * gain + veil, 0, 255).astype(np.uint8)
    assert find_changes(view(stocked, goods), view(later, goods)) == []


def test_a_shadow_and_a_small_displacement_are_no_change() -> None:
    before = ground()
    after = np.roll(before, (1, -1), axis=(0, 1)).astype(np.float32)
    after[30:70, 30:60] *= np.array([0.38, 0.42, 0.50], np.float32)
    assert find_changes(view(before), view(after.astype(np.uint8))) == []


def test_a_class_that_only_the_network_sees_is_no_change() -> None:
    _, goods = block(ground(), 40, 60, (0, 0, 0))
    assert find_changes(view(ground()), view(ground(), goods)) == []


def test_a_new_hall_is_construction_and_a_heap_without_class_is_other() -> None:
    built, roof = block(ground(), 30, 30, (70, 100, 160), 40)
    (hall,) = find_changes(view(ground()), view(built, None, roof))
    assert (hall.kind, hall.direction) == ("construction", APPEARED) and hall.area_m2 == pytest.approx(144, rel=0.1)
    heaped, _ = block(ground(), 100, 40, (190, 150, 60), 14)
    (heap,) = find_changes(view(ground()), view(heaped))
    assert heap.kind == "other"


def test_a_roof_covered_anew_is_a_roof_change() -> None:
    rgb, roof = block(ground(), 20, 20, (180, 182, 184), 90)
    again = rgb.copy()
    again[40:80, 40:90] = (70, 100, 160)
    (found,) = find_changes(view(rgb, None, roof), view(again, None, roof))
    assert found.kind == "roof" and found.area_m2 == pytest.approx(40 * 50 * 0.09, rel=0.15)


def test_a_pale_hall_on_grey_ground_is_no_light() -> None:
    bare = ground()
    built, roof = block(bare, 30, 30, (175, 178, 182), 40)
    maps = change_maps(bare, built, np.ones((SIDE, SIDE), np.bool_), 0.3)
    assert maps.shade[35:65, 35:65].mean() > 0.75, "it looks as if a shadow had gone"
    (hall,) = find_changes(view(bare), view(built, None, roof))
    assert (hall.kind, hall.direction) == ("construction", APPEARED)
    assert find_changes(view(bare), view(built, None, 0.45 * roof)) == [], "unsure of the roof: it may be light"


def test_a_strip_of_a_roof_that_looks_like_none_is_the_roofs() -> None:
    rgb, roof = block(ground(), 20, 20, (120, 118, 122), 100)
    opened, torn = rgb.copy(), roof.copy()
    opened[60:85, 25:115] = (86, 83, 82)
    torn[60:85, 25:115] = 0.0
    (found,) = find_changes(view(rgb, None, roof), view(opened, None, torn))
    assert (found.kind, found.direction) == ("roof", "altered")
    assert found.area_m2 == pytest.approx(25 * 90 * 0.09, rel=0.15)


def soft(mask: np.ndarray) -> np.ndarray:
    """Probabilities as the network gives them at a torn edge: between sure and sure not lie some metres."""
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 5.0), np.float32)


def test_a_strip_torn_open_from_eaves_to_eaves_is_the_roofs() -> None:
    rgb, roof = block(ground(), 20, 20, (170, 172, 176), 100)
    opened, torn = rgb.copy(), roof.copy()
    opened[23:117, 44:96] = (72, 70, 68)
    torn[20:120, 44:96] = 0.0
    (found,) = find_changes(view(rgb, None, soft(roof)), view(opened, None, soft(torn)))
    assert (found.kind, found.direction) == ("roof", "altered")


def test_a_hall_taken_down_beside_one_that_stands_is_no_roof_work() -> None:
    rgb, roof = block(ground(), 20, 20, (170, 172, 176), 100)
    razed, left = rgb.copy(), roof.copy()
    razed[20:120, 70:120] = ground()[20:120, 70:120]
    left[20:120, 70:120] = 0.0
    (found,) = find_changes(view(rgb, None, soft(roof)), view(razed, None, soft(left)))
    assert (found.kind, found.direction) == ("construction", VANISHED)


def test_the_neighbour_of_a_gone_car_that_stands_obliquely_is_not_that_car() -> None:
    here = Located(box(350_010, 3_450_010, 350_014.4, 3_450_014.4), 32651, 0.9, "car", 4.5)
    beside = replace(here, geometry=box(350_011.8, 3_450_011.8, 350_016.2, 3_450_016.2))
    assert here.geometry.intersection(beside.geometry).area > 0.3 * here.geometry.area
    (gone,) = find_changes(view(ground(), vehicles=(here, beside)), view(ground(), vehicles=(beside,)))
    assert (gone.kind, gone.direction) == ("vehicles", VANISHED) and gone.geometry.within(here.geometry)
    lorry = Located(box(350_010, 3_450_010, 350_013, 3_450_022), 32651, 0.9, "heavy", 12.0)
    again = replace(lorry, geometry=box(350_010, 3_450_011.9, 350_013, 3_450_023.9))
    assert find_changes(view(ground(), vehicles=(lorry,)), view(ground(), vehicles=(again,))) == []


def test_grass_seen_through_haze_is_grass() -> None:
    rgb = np.clip(ground().astype(np.float32) * (0.55, 0.75, 0.35), 0, 255)
    shaded = rgb.copy()
    shaded[40:80, 50:90] *= 0.35
    hazy = 0.3 * rgb + 130
    assert find_changes(view(hazy.astype(np.uint8)), view(shaded.astype(np.uint8))) == []


def test_vehicles_are_compared_by_place_and_half_seen_ones_are_not_gone() -> None:
    car = Located(box(350_010, 3_450_010, 350_014, 3_450_012), 32651, 0.9, "car", 4.2)
    faint = replace(car, confidence=0.3)
    assert find_changes(view(ground(), vehicles=(car,)), view(ground(), vehicles=(faint,))) == []
    (found,) = find_changes(view(ground()), view(ground(), vehicles=(car,)))
    assert (found.kind, found.direction) == ("vehicles", APPEARED)


def test_what_a_cloud_hides_is_not_compared() -> None:
    stocked, goods = block(ground(), 40, 60, (170, 90, 40))
    hidden = np.ones((SIDE, SIDE), np.bool_)
    hidden[20:90, 40:100] = False
    assert find_changes(view(ground()), view(stocked, goods, valid=hidden)) == []


def test_maps_are_quiet_on_one_picture_twice() -> None:
    maps = change_maps(ground(), ground(), np.ones((SIDE, SIDE), np.bool_), 0.3)
    assert maps.structure.max() < 0.05 and maps.chroma.max() < 0.5 and np.abs(maps.lightness).max() < 0.5


def test_cover_counts_what_is_seen_and_refuses_what_is_not() -> None:
    inside = np.zeros((SIDE, SIDE), np.bool_)
    inside[:100, :100] = True
    seen, none = np.ones_like(inside), np.zeros((SIDE, SIDE), np.float32)
    goods = none.copy()
    goods[:100, :30] = 1.0
    cover = cover_of(inside, seen, goods, none, 0.05)
    assert cover.value == pytest.approx(0.3) and cover.lower == pytest.approx(0.25) and cover.upper == pytest.approx(0.35)
    roof = none.copy()
    roof[:70, :] = 1.0
    under = cover_of(inside, seen, none, roof, 0.05)
    assert under.value is None and under.reason == ROOF and (under.lower, under.upper) == (0.0, 1.0)
    clouded = seen.copy()
    clouded[:80] = False
    assert cover_of(inside, clouded, goods, none).reason == HIDDEN
    part = seen.copy()
    part[:40] = False
    wider = cover_of(inside, part, goods, none, 0.05)
    assert wider.value == pytest.approx(0.3) and wider.upper - wider.lower > 0.4


def test_views_come_back_and_old_ones_go(tmp_path: Path) -> None:
    rgb, goods = block(ground(), 40, 60, (170, 90, 40))
    car = Located(box(350_010, 3_450_010, 350_014, 3_450_012), 32651, 0.9, "car", 4.2)
    store = ViewStore(tmp_path, "m1")
    for day in range(KEPT + 2):
        store.put("S1", DatedView(f"scene{day}", TAKEN + timedelta(days=day), view(rgb, goods, vehicles=(car,))))
    assert len(list((tmp_path / "S1").glob("*.json"))) == KEPT
    found = store.before("S1", TAKEN + timedelta(days=4), GRID)
    assert found is not None and found.scene_id == "scene3"
    assert np.abs(found.view.rgb.astype(int) - rgb).mean() < 4 and np.allclose(found.view.goods, goods, atol=0.01)
    assert found.view.vehicles[0].geometry.equals(car.geometry) and found.view.valid.all()
    assert find_changes(found.view, view(rgb, goods, vehicles=(car,))) == []
    assert store.before("S1", TAKEN, GRID) is None
    assert ViewStore(tmp_path, "m2").before("S1", TAKEN + timedelta(days=4), GRID) is None, "other weights, other views"
    newest = sorted((tmp_path / "S1").glob("*.png"))[-1]
    newest.write_bytes(b"damaged")
    again = store.before("S1", TAKEN + timedelta(days=90), GRID)
    assert again is not None and again.scene_id == f"scene{KEPT}"


def test_truth_of_changes_and_their_score() -> None:
    def square(east: float, size: float = 4.0) -> dict[str, object]:
        corners = [[east, 0], [east + size, 0], [east + size, size], [east, size], [east, 0]]
        return {"type": "Polygon", "coordinates": [corners]}

    def truth(shift: float, goods: list[float], works: list[float]) -> dict[str, object]:
        return {
            "shift_m": {"east": shift, "north": 0.0}, "vehicles": [],
            "goods": [{"polygon": square(east + shift)} for east in goods],
            "works": [{"work_id": f"W{e}", "kind": "roof", "polygon": square(e + shift, 9.0)} for e in works],
        }

    told = true_changes(truth(0.0, [0, 10], []), truth(1.5, [10, 20], [40]))
    assert told is not None
    assert sorted((item.kind, round(item.geometry.bounds[0])) for item in told.changed) == [
        ("roof", 40), ("stock", 0), ("stock", 20)
    ]
    tally = ChangeTally()
    found = [("stock", box(0, 0, 4, 3)), ("stock", box(60, 0, 64, 4)), ("other", box(41, 1, 44, 4))]
    tally.add(told, [Outline(kind, outline) for kind, outline in found])
    figures = tally.figures()
    assert (figures["stock"]["precision"], figures["stock"]["recall"]) == (0.5, 0.5)
    assert figures["roof"]["recall"] == 0.0 and figures["other"]["precision"] == 1.0
    assert true_changes({"shift_m": {"east": 0, "north": 0}, "vehicles": []}, truth(0.0, [], [])) is None
    assert TrueChanges((), box(0, 0, 1, 1)).changed == ()
