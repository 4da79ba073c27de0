"""Works on roofs and building sites told from the sun, from clouds and from goods, on drawn pictures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from detection.change import ALTERED, View, find_changes
from detection.change_maps import change_maps
from imagery.grid import GridSpec, PixelSize
from imagery.quality import Overview, clouds

SIDE = 200
GRID = GridSpec(32651, Affine(0.3, 0, 350_000, 0, -0.3, 3_450_060), PixelSize(SIDE, SIDE))
BLUE, PALE, GREY, DARK = (64, 93, 134), (158, 169, 169), (150, 154, 158), (62, 60, 58)
HALL, SHED = (slice(20, 120), slice(20, 180)), (slice(140, 180), slice(20, 80))
"""A large roof, and a small one beside it."""

Picture = NDArray[np.uint8]
Grey = NDArray[np.float32]


def site(hall: tuple[int, int, int], shed: tuple[int, int, int]) -> tuple[Picture, Grey]:
    """A yard of concrete and asphalt with two roofs, and where the roofs are."""
    rng = np.random.default_rng(5)
    rough = cv2.GaussianBlur(rng.normal(0, 24, (SIDE, SIDE)).astype(np.float32), (0, 0), 1.5)
    rgb = np.clip(112 + rough[..., None] + np.zeros(3), 0, 255)
    rgb[:, 185:] += 50
    roof = np.zeros((SIDE, SIDE), np.float32)
    for place, colour in ((HALL, hall), (SHED, shed)):
        rgb[place] = np.asarray(colour) + 0.2 * rough[place][..., None]
        roof[place] = 1.0
    return np.asarray(np.clip(rgb, 0, 255), np.uint8), roof


def view(rgb: Picture, roof: Grey, goods: Grey | None = None) -> View:
    none = np.zeros((SIDE, SIDE), np.float32)
    return View(GRID, rgb, np.ones((SIDE, SIDE), np.bool_), none if goods is None else goods, roof, ())


def lit(rgb: Picture, roof: Grey, gain: float) -> Picture:
    """The picture on a day on which the roofs, which lie aslant, get another share of the sun than the ground."""
    brighter = np.where(roof[..., None] > 0, rgb.astype(np.float32) * gain, rgb * 1.05)
    return np.asarray(np.clip(brighter, 0, 255), np.uint8)


@pytest.mark.parametrize("gain", [0.68, 1.42])
def test_roofs_that_shift_in_tone_as_a_whole_are_no_change(gain: float) -> None:
    rgb, roof = site(BLUE, PALE)
    assert find_changes(view(rgb, roof), view(lit(rgb, roof, gain), roof)) == []


def test_the_light_of_the_ground_is_measured_beside_the_roofs() -> None:
    rgb, roof = site(BLUE, PALE)
    maps = change_maps(rgb, lit(rgb, roof, 1.42), np.ones((SIDE, SIDE), np.bool_), 0.3, roof > 0)
    ground = cv2.dilate(roof, np.ones((15, 15), np.uint8)) == 0
    assert np.abs(maps.lightness[ground]).mean() < 1.0 and maps.chroma[ground].mean() < 1.0
    everywhere = np.ones((SIDE, SIDE), np.float32)
    roofed = change_maps(rgb, rgb, np.ones((SIDE, SIDE), np.bool_), 0.3, everywhere > 0)
    assert roofed.chroma.max() < 1.0, "a picture of roofs alone is measured on them"


def test_a_part_covered_anew_stands_out_from_a_roof_that_shifted() -> None:
    rgb, roof = site(BLUE, PALE)
    again = lit(rgb, roof, 1.42)
    again[40:90, 60:120] = (150, 98, 84)
    (found,) = find_changes(view(rgb, roof), view(again, roof))
    assert (found.kind, found.direction) == ("roof", ALTERED)
    assert found.area_m2 == pytest.approx(50 * 60 * 0.09, rel=0.1)


def test_a_roof_covered_anew_as_a_whole_is_a_change() -> None:
    rgb, roof = site(GREY, PALE)
    again = site(BLUE, PALE)[0]
    (found,) = find_changes(view(rgb, roof), view(again, roof))
    assert found.kind == "roof" and found.area_m2 > 0.8 * 100 * 160 * 0.09


def test_a_part_torn_open_is_one_work_up_to_the_eaves() -> None:
    """Of the dark inside the network is half sure: only by the eaves does it deny the roof."""
    rgb, roof = site((160, 96, 84), PALE)
    opened, torn = rgb.copy(), roof.copy()
    opened[20:110, 70:120] = DARK
    torn[20:110, 70:120] = 0.45
    torn[20:45, 70:120] = 0.0
    (found,) = find_changes(view(rgb, roof), view(opened, torn))
    assert (found.kind, found.direction) == ("roof", ALTERED)
    assert found.area_m2 == pytest.approx(90 * 50 * 0.09, rel=0.2)


def test_a_dark_part_of_a_roof_is_shade_unless_the_network_doubts_the_roof_there() -> None:
    rgb, roof = site((184, 186, 190), PALE)
    dim = rgb.copy()
    dim[30:110, 70:120] = (76, 78, 82)
    assert find_changes(view(rgb, roof), view(dim, roof)) == []
    doubted = roof.copy()
    doubted[30:110, 70:120] = 0.6
    doubted[78:112, 70:120] = 0.05
    (found,) = find_changes(view(rgb, roof), view(dim, doubted))
    assert (found.kind, found.direction) == ("roof", ALTERED)
    assert found.area_m2 == pytest.approx(80 * 50 * 0.09, rel=0.2)


def test_a_pit_of_which_a_part_looks_like_goods_is_one_building_site() -> None:
    rgb, roof = site(BLUE, PALE)
    dug, goods = rgb.copy(), np.zeros((SIDE, SIDE), np.float32)
    dug[130:180, 110:170] = (146, 118, 88)
    goods[135:155, 120:135] = goods[150:170, 150:160] = 1.0
    (found,) = find_changes(view(rgb, roof), view(dug, roof, goods))
    assert found.kind == "construction" and found.area_m2 == pytest.approx(50 * 60 * 0.09, rel=0.15)
    full = np.zeros((SIDE, SIDE), np.float32)
    full[130:180, 110:170] = 1.0
    (heap,) = find_changes(view(rgb, roof), view(dug, roof, full))
    assert heap.kind == "stock", "goods all over are goods"


def sky(rgb: Picture) -> Overview:
    grid = GridSpec(32651, Affine(0.6, 0, 350_000, 0, -0.6, 3_450_120), PixelSize(SIDE, SIDE))
    everywhere = np.ones((SIDE, SIDE), np.bool_)
    return Overview(grid, cv2.GaussianBlur(rgb, (0, 0), 0.5), everywhere, everywhere)


def test_a_pale_cover_of_a_part_of_a_roof_is_no_cloud() -> None:
    """Only its middle is as bright as a cloud: the edge of that is soft, the edge of the cover is not."""
    rgb, _ = site((110, 118, 122), PALE)
    reference = sky(rgb).luminance
    rows, columns = np.mgrid[35:105, 55:125]
    covered = rgb.copy()
    covered[35:105, 55:125] = (194 - 0.35 * np.hypot(rows - 70, columns - 90))[..., None]
    for told in (reference, None):
        assert not clouds(sky(covered), told).any()


def test_a_bright_area_without_a_hard_edge_is_cloud_over_a_roof_too() -> None:
    rgb, _ = site((140, 150, 154), PALE)
    shape = np.zeros((SIDE, SIDE), np.float32)
    cv2.circle(shape, (100, 75), 32, 1.0, -1)
    thick = cv2.GaussianBlur(shape, (0, 0), 9.0)[..., None]
    veiled = np.asarray(rgb * (1 - thick) + 232 * thick, np.uint8)
    for told in (sky(rgb).luminance, None):
        assert clouds(sky(veiled), told)[60:90, 85:115].mean() > 0.9


def test_a_hall_taken_down_beside_another_stays_building_work() -> None:
    rgb, roof = site((196, 120, 90), PALE)
    razed, left = rgb.copy(), roof.copy()
    razed[20:120, 100:180] = np.asarray(site(BLUE, PALE)[0][185:, 100:180].mean(axis=(0, 1)), np.uint8)
    left[20:120, 100:180] = 0.0
    kinds = {item.kind for item in find_changes(view(rgb, roof), view(razed, left))}
    assert "construction" in kinds


def test_what_lies_outside_the_picture_is_left_out_of_the_roofs_own_light() -> None:
    rgb, roof = site(BLUE, PALE)
    bright = lit(rgb, roof, 1.42)
    hidden = view(bright, roof)
    seen = hidden.valid.copy()
    seen[:, :60] = False
    bright[:, :60] = 255
    assert find_changes(view(rgb, roof), replace(hidden, valid=seen, rgb=bright)) == []


def meadow(rgb: Picture) -> Picture:
    """The yard's ground grown over, with lighter and darker grass."""
    return np.asarray(np.clip(rgb.astype(np.float32) * (0.72, 0.95, 0.55), 0, 255), np.uint8)


def test_a_pit_dug_in_a_meadow_is_building_work_and_a_meadow_that_dries_is_none() -> None:
    bare, _ = site(BLUE, PALE)
    bare[HALL] = bare[SHED] = bare[150, 150]
    grass, none = meadow(bare), np.zeros((SIDE, SIDE), np.float32)
    dug = grass.copy()
    dug[70:120, 60:120] = bare[70:120, 60:120] * (1.15, 0.95, 0.7)
    (found,) = find_changes(view(grass, none), view(dug, none))
    assert (found.kind, found.direction) == ("construction", ALTERED)
    assert found.area_m2 == pytest.approx(50 * 60 * 0.09, rel=0.15)
    dry = np.clip(bare.astype(np.float32) * (0.95, 0.88, 0.62), 0, 255).astype(np.uint8)
    assert find_changes(view(grass, none), view(dry, none)) == []
    partly = grass.copy()
    partly[:, :110] = dry[:, :110]
    assert find_changes(view(grass, none), view(partly, none)) == []


def test_a_ragged_cloud_is_cloud_beyond_its_smooth_middle() -> None:
    rgb, _ = site((110, 118, 122), PALE)
    rng = np.random.default_rng(2)
    ragged = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), 2.0)
    away = np.hypot(*np.mgrid[-90:110, -100:100].astype(np.float32))
    thick = np.clip(1.6 - away / 55 + np.where(away > 22, 1.6 * ragged, 0), 0, 1)[..., None]
    veiled = np.asarray(rgb * (1 - thick) + 236 * thick, np.uint8)
    found = clouds(sky(veiled), sky(rgb).luminance)
    rim = (away > 38) & (away < 50) & (thick[..., 0] > 0.9)
    assert found[rim].mean() > 0.85 and found[away > 110].mean() < 0.02


def test_goods_that_are_gone_stay_goods_where_the_ground_was_paved_anew() -> None:
    """What they leave is of one colour with the ground around them."""
    rgb, roof = site(BLUE, PALE)
    full, goods = rgb.copy(), np.zeros((SIDE, SIDE), np.float32)
    full[135:175, 120:150] = (40, 80, 160)
    goods[135:175, 120:150] = 0.95
    paved = rgb.copy()
    paved[130:190, 110:180] = (170, 120, 95)
    found = find_changes(view(full, roof, goods), view(paved, roof))
    (stock,) = [change for change in found if change.kind == "stock"]
    assert stock.direction == "vanished" and stock.area_m2 == pytest.approx(40 * 30 * 0.09, rel=0.2)
