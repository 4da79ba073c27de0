"""PV modules in infrared: network, folders, rectification, what cannot be judged, the share and its interval."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from collateral.errors import InvalidInputError
from detection.arrays import Floats, floats
from detection.infrared import open_infrared
from detection.metrics import wilson
from detection.models.modules import CLASSES, COLUMNS, HEALTHY, ROWS, ModuleNet
from detection.module_data import ModuleCrops, read_modules_folder
from detection.module_outlines import read_outlines
from detection.module_recipe import ModuleTask, near_duplicates
from detection.module_site import ModuleReading, PlantReading, faulty_share, grey_scale, read_plant
from detection.modules import ModuleClassifier, class_shares
from detection.rectify import upright
from detection.weightfile import Card
from imagery.grid import apply_affine
from imagery.raster import RasterRejectedError, Reason
from tests.infrared_support import draw_plant

UTM = "EPSG:32650"
EAST, NORTH, GSD = 500_000.0, 3_400_000.0, 0.05
CARD = Card("modules", "modules", "", 0.0, 0.5, (1.0, 0.0),
            config={"held_out_sensitivity": 0.9, "held_out_specificity": 0.95})  # fmt: skip


def write_tif(path: Path, values: NDArray[np.generic], transform: Affine | None = None, **profile: object) -> Path:
    bands = values if values.ndim == 3 else values[None]
    place = transform or Affine(GSD, 0, EAST, 0, -GSD, NORTH)
    options = {"crs": UTM, "transform": place, "nodata": None, **profile}
    with rasterio.open(path, "w", driver="GTiff", width=bands.shape[2], height=bands.shape[1], count=len(bands),
                       dtype=str(bands.dtype), **options) as file:  # fmt: skip
        file.write(bands)
        file.update_tags(ACQUIRED_AT="2026-05-04T03:30:00Z")
    return path


def write_outlines(path: Path, polygons_px: list[list[tuple[float, float]]], transform: Affine | None = None) -> Path:
    place = transform or Affine(GSD, 0, EAST, 0, -GSD, NORTH)
    rings = [apply_affine(place, np.array([*polygon, polygon[0]])).tolist() for polygon in polygons_px]
    features = [{"type": "Feature", "properties": {"module_id": f"M{number}"},
                 "geometry": {"type": "Polygon", "coordinates": [ring]}} for number, ring in enumerate(rings)]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8")
    return path


def rectangle(middle: tuple[float, float], width: float, length: float, turn: float) -> list[tuple[float, float]]:
    c, s = math.cos(turn), math.sin(turn)
    return [(middle[0] + c * a * width / 2 - s * b * length / 2, middle[1] + s * a * width / 2 + c * b * length / 2)
            for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]  # fmt: skip


def test_network_has_twelve_answers_reads_one_channel_and_is_small() -> None:
    torch.manual_seed(0)
    net = ModuleNet().eval()
    x = torch.rand(3, 3, ROWS, COLUMNS) * 255
    with torch.inference_mode():
        first, again = net(x), net(torch.cat([x[:, :1], 255 - x[:, 1:]], dim=1))
    assert first.shape == (3, len(CLASSES))
    assert torch.equal(first, again)
    assert sum(p.numel() for p in net.parameters()) < 2_000_000


@pytest.mark.parametrize("turn", [0.0, 0.4, 1.3, 2.2, -0.8])
def test_module_of_any_orientation_comes_out_upright(tmp_path: Path, turn: float) -> None:
    """A module warm at one end and on one side, turned: its crop shows the same, up to mirroring by half turns."""
    y, x = np.mgrid[0:200, 0:200] + 0.5
    c, s = math.cos(turn), math.sin(turn)
    across, along = (x - 100) * c + (y - 90) * s, -(x - 100) * s + (y - 90) * c
    inside = (np.abs(across) <= 24) & (np.abs(along) <= 40)
    path = write_tif(tmp_path / "t.tif", np.where(inside, 30 + along / 8 + across / 24, 10).astype(np.float32))
    with open_infrared(path) as mosaic:
        place = upright(rectangle((100, 90), 48, 80, turn), "module")
        crop = mosaic.crop(place, COLUMNS, ROWS)
    rows, columns = np.mgrid[0:ROWS, 0:COLUMNS]
    wanted = 30 + (rows - 19.5) * 2 / 8 + (columns - 11.5) * 2 / 24
    best = min(float(np.abs(view - wanted)[2:-2, 2:-2].max()) for view in (crop.values, crop.values[::-1, ::-1]))
    assert (place.width, place.length) == (pytest.approx(48, abs=0.01), pytest.approx(80, abs=0.01))
    assert best < 0.05
    assert crop.seen == 1.0


def test_outlines_in_degrees_and_in_the_mosaics_system_give_the_same_crops(tmp_path: Path) -> None:
    plant = draw_plant(tmp_path, seed=3, rows=1, columns=3)
    with open_infrared(plant.mosaic) as mosaic:
        degrees = read_outlines(plant.outlines, mosaic.facts.crs)
        corners = np.array(degrees.modules[1].polygon.exterior.coords)[:-1]
        pixels = mosaic.pixels_of(corners, lonlat=True)
        own = write_outlines(tmp_path / "own.geojson", [[(float(a), float(b)) for a, b in pixels]], mosaic.facts.affine)
        metres = read_outlines(own, mosaic.facts.crs)
        again = mosaic.pixels_of(np.array(metres.modules[0].polygon.exterior.coords)[:-1], metres.lonlat)
    assert (degrees.lonlat, metres.lonlat) == (True, False)
    assert np.abs(again - pixels).max() < 0.01


def test_what_cannot_be_judged_is_unknown_with_its_reason(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(40, 1, (300, 300)).astype(np.float32)
    values[200:, :] = -9999
    path = write_tif(tmp_path / "t.tif", values, nodata=-9999)
    places = [
        rectangle((60, 60), 24, 40, 0.3), rectangle((290, 60), 24, 40, 0.0), rectangle((60, 205), 24, 40, 0.0),
        rectangle((150, 60), 7, 12, 0.0), rectangle((150, 120), 12, 60, 0.2),
    ]  # fmt: skip
    outlines = write_outlines(tmp_path / "o.geojson", places)
    with open_infrared(path) as mosaic:
        reading = read_plant(mosaic, read_outlines(outlines, mosaic.facts.crs), ModuleClassifier.load())
    assert [module.reason for module in reading.modules] == ["", "outside", "nodata", "coarse", "shape"]
    assert len(reading.judged) == 1
    assert reading.unknown == {"outside": 1, "nodata": 1, "coarse": 1, "shape": 1}
    assert all(module.fault is None and not module.faulty for module in reading.modules[1:])


def test_grey_levels_do_not_depend_on_the_unit_of_counts(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    crops = [floats(20_000 + 40 * rng.normal(0, 1, (ROWS, COLUMNS))) for _ in range(9)]
    other = [floats(crop / 4 - 300) for crop in crops]
    with open_infrared(write_tif(tmp_path / "t.tif", np.ones((20, 20), np.uint16))) as mosaic:
        (gain, level), (gain_other, level_other) = grey_scale(crops, mosaic), grey_scale(other, mosaic)
    assert np.allclose((crops[0] - level) * gain, (other[0] - level_other) * gain_other, atol=0.05)


def plant_of(faulty: int, sound: int) -> PlantReading:
    bad = [ModuleReading(f"F{i}", "Cell", 0.9, 0.9, True) for i in range(faulty)]
    good = [ModuleReading(f"S{i}", "No-Anomaly", 0.9, 0.1, False) for i in range(sound)]
    return PlantReading((*bad, *good), 1.0, 0.0)


def test_share_is_corrected_and_its_interval_holds_both_readings() -> None:
    share = faulty_share(plant_of(20, 180), CARD)
    low, high = wilson(20, 200)
    assert share.value == pytest.approx((0.1 + 0.95 - 1) / 0.85)
    assert share.lower <= min(low, share.value)
    assert share.upper >= high
    healthy = faulty_share(plant_of(3, 197), CARD)
    assert healthy.value == 0.0
    assert healthy.upper > 0.015
    wide = faulty_share(plant_of(2, 18), CARD)
    assert wide.upper - wide.lower > share.upper - share.lower


def test_fault_and_class_agree_and_confidences_are_probabilities() -> None:
    classifier = ModuleClassifier.load()
    crops = np.random.default_rng(4).integers(90, 220, (6, ROWS, COLUMNS)).astype(np.uint8)
    judged = classifier.judge(crops)
    assert ((judged.label != HEALTHY) == judged.faulty).all()
    assert ((judged.confidence > 0) & (judged.confidence <= 1)).all()
    mirrored = classifier.judge(np.ascontiguousarray(crops[:, ::-1, ::-1]))
    assert np.allclose(judged.fault, mirrored.fault, atol=0.02)
    with pytest.raises(InvalidInputError, match="N x 40 x 24"):
        classifier.judge(crops[:, :, :20])


def test_class_shares_follow_offset_and_temperature() -> None:
    logits = np.zeros((1, 12), np.float32)
    offset = np.log(np.arange(1, 13)).astype(np.float32)
    assert np.allclose(class_shares(logits, offset, 1.0)[0], np.arange(1, 13) / 78, atol=1e-6)
    assert class_shares(logits, offset, 4.0).max() < class_shares(logits, offset, 1.0).max()


def test_mirrored_pictures_of_one_module_are_one_group() -> None:
    rng = np.random.default_rng(6)
    base: Floats = floats(rng.uniform(60, 200, (8, ROWS, COLUMNS)))
    images = np.concatenate([base, base[:1, ::-1], base[1:2, :, ::-1] * 0.8 + 20]).astype(np.uint8)
    groups = near_duplicates(images)
    assert groups[8] == groups[0]
    assert groups[9] == groups[1]
    assert len(set(groups[:8].tolist())) == 8


def test_samples_are_shares_of_classes_and_repeat_with_the_seed() -> None:
    crops = ModuleCrops(np.random.default_rng(7).integers(0, 255, (24, ROWS, COLUMNS)).astype(np.uint8), np.arange(24) % 12)
    task = ModuleTask(crops, tuple([1 / 12] * 12), tuple(np.flatnonzero(crops.labels == c) for c in range(12)))
    for seed in range(20):
        picture, target = task.sample(np.random.default_rng(seed))
        again, _ = task.sample(np.random.default_rng(seed))
        assert picture.shape == (1, ROWS, COLUMNS)
        assert picture.dtype == torch.uint8
        assert float(target.sum()) == pytest.approx(1.0)
        assert torch.equal(picture, again)


def write_folder(root: Path, names: list[str], images: NDArray[np.generic], labels: NDArray[np.generic]) -> Path:
    np.savez(root / "val.npz", images=images, labels=labels)
    (root / "classes.json").write_text(json.dumps(names))
    return root


def test_modules_folder_is_read_in_its_own_order_of_classes(tmp_path: Path) -> None:
    names = list(reversed(CLASSES))
    root = write_folder(tmp_path, names, np.zeros((3, ROWS, COLUMNS), np.uint8), np.array([0, 4, 11]))
    crops = read_modules_folder(root, "val")
    assert [CLASSES[label] for label in crops.labels] == [names[0], names[4], names[11]]


@pytest.mark.parametrize(
    ("names", "images", "labels", "said"),
    [
        (["Cell", "Rust"], np.zeros((1, ROWS, COLUMNS), np.uint8), np.array([0]), "list of known classes"),
        (list(CLASSES), np.zeros((1, 24, 40), np.uint8), np.array([0]), "N x 40 x 24"),
        (list(CLASSES), np.zeros((1, ROWS, COLUMNS), np.float32), np.array([0]), "uint8"),
        (list(CLASSES), np.zeros((2, ROWS, COLUMNS), np.uint8), np.array([0, 12]), "0 to 11"),
    ],
)
def test_wrong_modules_folder_says_what_and_how(
    tmp_path: Path, names: list[str], images: NDArray[np.generic], labels: NDArray[np.generic], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        read_modules_folder(write_folder(tmp_path, names, images, labels), "val")
    with pytest.raises(InvalidInputError, match="val"):
        read_modules_folder(tmp_path, "test")


def test_colours_palettes_and_places_unknown_are_refused(tmp_path: Path) -> None:
    grey = np.full((40, 40), 30, np.float32)
    cases = {
        Reason.WRONG_BANDS: write_tif(tmp_path / "rgb.tif", np.zeros((3, 40, 40), np.uint8)),
        Reason.WRONG_TYPE: write_tif(tmp_path / "type.tif", grey.astype(np.int32)),
        Reason.NO_CRS: write_tif(tmp_path / "crs.tif", grey, crs=None),
        Reason.ABSURD_GSD: write_tif(tmp_path / "gsd.tif", grey, Affine(30, 0, EAST, 0, -30, NORTH)),
    }
    palette = write_tif(tmp_path / "palette.tif", np.zeros((40, 40), np.uint8), photometric="palette")
    with rasterio.open(palette, "r+") as file:
        file.write_colormap(1, {0: (0, 0, 0, 255), 1: (255, 0, 0, 255)})
        file.colorinterp = [ColorInterp.palette]
    for reason, path in [*cases.items(), (Reason.WRONG_BANDS, palette)]:
        with pytest.raises(RasterRejectedError) as caught, open_infrared(path):
            pass
        assert caught.value.reason is reason
    cut = tmp_path / "cut.tif"
    cut.write_bytes(write_tif(tmp_path / "whole.tif", np.zeros((400, 400), np.float32)).read_bytes()[:90])
    with pytest.raises(RasterRejectedError), open_infrared(cut):
        pass


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("no json", "no JSON"),
        ('{"type": "FeatureCollection", "features": []}', "no FeatureCollection"),
        ('{"type": "FeatureCollection", "features": [{"type": "Feature"}]}', "feature 1 has no geometry"),
        ('{"type": "FeatureCollection", "features": [{"geometry": {"type": "Point", "coordinates": [1, 2]}}]}', "Point"),
        ('{"type": "FeatureCollection", "features": [{"geometry": {"type": "Polygon", "coordinates": [[1]]}}]}',
         "cannot be read"),
        ('{"type": "FeatureCollection", "crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}, "features": '
         '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [900, 0], [900, 900], [0, 0]]]}}]}', "WGS 84"),
    ],
)  # fmt: skip
def test_wrong_outlines_say_where_and_what(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "o.geojson"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=said):
        read_outlines(path, UTM)


def test_two_modules_of_one_name_are_refused(tmp_path: Path) -> None:
    path = write_outlines(tmp_path / "o.geojson", [rectangle((20, 20), 8, 12, 0), rectangle((50, 20), 8, 12, 0)])
    path.write_text(path.read_text().replace("M1", "M0"), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="2 modules 'M0'"):
        read_outlines(path, UTM)


def test_error_rates_of_the_card_decide_the_correction() -> None:
    exact = replace(CARD, config={"held_out_sensitivity": 1.0, "held_out_specificity": 1.0})
    assert faulty_share(plant_of(20, 180), exact).value == pytest.approx(0.1)
