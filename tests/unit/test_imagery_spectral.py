"""Satellite scenes of named bands: which they are, what their numbers mean, how they are read, what no detector gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import box

from data_samples import evaluate_sky
from data_samples.spectral_scene import BANDS, GSD_M, Weather, paint_scene, write_scene
from imagery import coarse
from imagery.grid import GridSpec, PixelSize, grid_over
from imagery.raster import RasterRejectedError, Reason, inspect, inspect_scene
from imagery.reader import ReadCost, Reflectances, WindowUnreadableError, read_pixels, read_reflectances
from imagery.seen import SeenFiles
from imagery.sentinel2 import CLEAR, CLOUD, SHADOW
from imagery.spectral import Spectral, spectral_of
from imagery.whole import inspect_whole
from tests.bad_rasters import write_tif

EPSG, WEST, NORTH = 32651, 350_000.0, 3_450_000.0
TEN_M = Affine(10, 0, WEST, 0, -10, NORTH)
SENTINEL2 = ("B02", "B03", "B04", "B08", "B11", "B12")


def bands_file(path: Path, names: tuple[str, ...], values: np.ndarray | None = None, /, **tags: str) -> Path:
    """A GeoTIFF of these bands, band k filled with 1000 k."""
    if values is None:
        values = np.repeat(np.arange(1, len(names) + 1, dtype=np.uint16) * 1000, 64 * 64).reshape(-1, 64, 64)
    write_tif(path, values, {"ACQUIRED_AT": "2026-05-04T02:30:00Z", **tags}, transform=TEN_M)
    with rasterio.open(path, "r+") as dataset:
        dataset.descriptions = names
    return path


def told(path: Path) -> Spectral | None:
    with rasterio.open(path) as dataset:
        return spectral_of(dataset)


@pytest.mark.parametrize(
    ("names", "tags", "wanted"),
    [
        (SENTINEL2, {}, (1, 2, 3, 4, 5, 6)),
        ((*(f"B{n}" for n in range(1, 9)), "B8A", "B9", "B10", "B11", "B12"), {}, (2, 3, 4, 8, 12, 13)),
        (("B4, central wavelength 665 nm", "B3, x", "B2, x", "B8, x"), {}, (3, 2, 1, 4)),
        (("B02_20m", "B03_20m", "B04_20m", "B8A_20m", "B11_20m"), {}, (1, 2, 3, 4)),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), {}, (2, 3, 4, 5, 6, 7)),
        (("B2", "B3", "B4", "B5", "B6", "B7"), {"PLATFORM": "landsat-9"}, (1, 2, 3, 4, 5, 6)),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), {"PLATFORM": "LANDSAT_8"}, (1, 2, 3, 4)),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5"), {}, None),
        (("nir", "Red", "green", "blue"), {}, (4, 3, 2, 1)),
        (("", "", "", "", "", ""), {"BANDS": ",".join(SENTINEL2)}, (1, 2, 3, 4, 5, 6)),
        (("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B7"), {"SPACECRAFT_ID": "LANDSAT_7"}, None),
        (("B2", "B3", "B4", "B5", "B6", "B7"), {}, None),
        (("", "", "", ""), {}, None),
        (("B02", "B03", "B04"), {}, None),
    ],
)
def test_bands_are_told_by_their_names(
    tmp_path: Path, names: tuple[str, ...], tags: dict[str, str], wanted: tuple[int, ...] | None
) -> None:
    found = told(bands_file(tmp_path / "s.tif", names, **tags))
    assert (None if found is None else tuple(found.bands[name] for name in BANDS[: len(wanted or ())])) == wanted
    assert found is None or len(found.bands) == len(wanted or ())


@pytest.mark.parametrize(
    ("names", "tags", "scaling"),
    [
        (SENTINEL2, {}, (1e-4, 0.0, False)),
        (SENTINEL2, {"PROCESSING_BASELINE": "05.09"}, (1e-4, -0.1, True)),
        (SENTINEL2, {"PROCESSING_BASELINE": "03.01"}, (1e-4, 0.0, True)),
        (SENTINEL2, {"PROCESSING_BASELINE": "N0301"}, (1e-4, 0.0, True)),
        (SENTINEL2, {"PROCESSING_BASELINE": "0509"}, (1e-4, -0.1, True)),
        (SENTINEL2, {"REFLECTANCE_OFFSET": "-0.1"}, (1e-4, -0.1, True)),
        (BANDS, {"PLATFORM": "landsat-8"}, (2.75e-5, -0.2, False)),
        (("B2", "B3", "B4", "B5", "B6", "B7"), {"PLATFORM": "LANDSAT_8", "PROCESSING_LEVEL": "L1TP"}, (2e-5, -0.1, False)),
        (("SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"), {}, (2.75e-5, -0.2, True)),
    ],
)
def test_numbers_become_reflectances(
    tmp_path: Path, names: tuple[str, ...], tags: dict[str, str], scaling: tuple[float, float, bool]
) -> None:
    found = told(bands_file(tmp_path / "s.tif", names, **tags))
    assert found is not None and (found.scale, found.offset, found.scaling_stated) == scaling


def test_level_and_own_scale_are_read(tmp_path: Path) -> None:
    path = bands_file(tmp_path / "s.tif", SENTINEL2, PRODUCT_TYPE="S2MSI1C")
    found = told(path)
    assert found is not None and (found.level, found.level_stated) == ("l1c", True)
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (2e-4,) * 6, (-0.05,) * 6
    found = told(path)
    assert found is not None and (found.scale, found.offset) == (2e-4, -0.05)
    floats = bands_file(tmp_path / "f.tif", SENTINEL2, np.full((6, 64, 64), 0.2, np.float32))
    found = told(floats)
    assert found is not None and (found.scale, found.offset, found.level_stated) == (1.0, 0.0, False)


@pytest.mark.parametrize(
    ("product", "level"),
    [
        ("S2A_MSIL1C_20260504T025551_N0511_R032_T50RQV", "l1c"), ("S2C_MSIL2A_20260504T025551_N0511_R032_T50RQV", "l2a"),
        ("LC09_L1TP_123032_20260504", "l1c"), ("Level-2A", "l2a"), ("S2A_20260504", ""),
    ],
)  # fmt: skip
def test_the_satellites_name_says_no_level(tmp_path: Path, product: str, level: str) -> None:
    found = told(bands_file(tmp_path / "s.tif", SENTINEL2, PRODUCT_ID=product))
    assert found is not None and (found.level, found.level_stated) == (level or "l2a", bool(level))


@pytest.mark.parametrize("scale", ["0", "-1e-4", "nan", "many"])
def test_a_scale_that_cannot_be_one_is_refused(tmp_path: Path, scale: str) -> None:
    assert told(bands_file(tmp_path / "s.tif", SENTINEL2, REFLECTANCE_SCALE=scale)) is None


def test_only_the_scan_takes_them(tmp_path: Path) -> None:
    path = bands_file(tmp_path / "s.tif", SENTINEL2)
    facts = inspect_scene(path)
    assert facts.spectral is not None and facts.bands == (3, 2, 1)
    for colours in (inspect, inspect_whole):
        with pytest.raises(RasterRejectedError) as refused:
            colours(path)
        assert refused.value.reason is Reason.WRONG_BANDS
    with SeenFiles(tmp_path / "seen.sqlite") as seen:
        assert seen.inspect(path) == seen.inspect(path) == facts


@pytest.mark.parametrize(
    ("names", "pixel_m", "reason", "said"),
    [
        (("",) * 6, 10.0, Reason.WRONG_BANDS, "BANDS=B02"),
        (("",) * 4, 10.0, Reason.WRONG_TYPE, "BANDS=B02"),
        (SENTINEL2, 2.0, Reason.ABSURD_GSD, "5.0 to 62.0 m is read: .* finer picture is read as .* 8 bit"),
        (SENTINEL2, 300.0, Reason.ABSURD_GSD, "5.0 to 62.0 m"),
    ],
)
def test_what_is_refused_says_how_to_write_it(
    tmp_path: Path, names: tuple[str, ...], pixel_m: float, reason: Reason, said: str
) -> None:
    path = bands_file(tmp_path / "s.tif", names)
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine(pixel_m, 0, WEST, 0, -pixel_m, NORTH)
    with pytest.raises(RasterRejectedError, match=said) as refused:
        inspect_scene(path)
    assert refused.value.reason is reason


def test_landsats_pixel_of_a_little_more_than_30_m_is_taken(tmp_path: Path) -> None:
    path = bands_file(tmp_path / "s.tif", SENTINEL2)
    with rasterio.open(path, "r+") as dataset:
        dataset.transform = Affine(30, 0, 499_000, 0, -30, NORTH)
    assert inspect_scene(path).gsd_m > 30.0


def test_a_file_cut_behind_its_first_bands_is_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(1, 9000, (6, 64, 64), dtype=np.uint16)
    path = bands_file(tmp_path / "s.tif", SENTINEL2, values)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(RasterRejectedError) as refused:
        inspect_scene(path)
    assert refused.value.reason is Reason.TRUNCATED


class TestReading:
    def test_it_averages_what_is_valid_and_keeps_the_place(self, tmp_path: Path) -> None:
        scene = paint_scene(120, Weather(), 3)
        path = write_scene(tmp_path / "s.tif", scene, EPSG, WEST, NORTH, datetime(2026, 5, 4, tzinfo=UTC), outside=31)
        grid = GridSpec(EPSG, Affine(30, 0, WEST, 0, -30, NORTH), PixelSize(40, 40))
        read = read_reflectances(inspect_scene(path), grid)
        assert read.valid[:, :29].all() and not read.valid[:, 31:].any()
        truth = scene.bands["nir"].reshape(40, 3, 40, 3).mean(axis=(1, 3))
        assert np.abs(read.bands["nir"] - truth)[2:-2, 2:27].max() < 1e-3
        assert set(read.bands) == set(BANDS) and read.cost.bytes_read > 0

    def test_a_band_that_alone_holds_nothing_is_no_reflectance_below_zero(self, tmp_path: Path) -> None:
        values = np.full((6, 64, 64), 2000, np.uint16)
        values[4:, :, :32] = 0
        facts = inspect_scene(bands_file(tmp_path / "s.tif", SENTINEL2, values, PROCESSING_BASELINE="05.09"))
        read = read_reflectances(facts, GridSpec(EPSG, Affine(30, 0, WEST, 0, -30, NORTH), PixelSize(21, 21)))
        assert read.valid[1:20, 1:20].all()
        assert read.bands["nir"][5:15, 2:9] == pytest.approx(0.1) and (read.bands["swir16"][5:15, 2:9] == 0).all()
        assert read.bands["swir16"][5:15, 12:19] == pytest.approx(0.1)

    def test_colours_are_no_reflectances_and_the_other_way_round(self, tmp_path: Path) -> None:
        grid = grid_over(box(WEST, NORTH - 30, WEST + 30, NORTH), EPSG, 1.0)
        with pytest.raises(WindowUnreadableError, match="it holds colours"):
            read_reflectances(inspect(write_tif(tmp_path / "c.tif")), grid)
        with pytest.raises(WindowUnreadableError, match="it holds reflectances"):
            read_pixels(inspect_scene(bands_file(tmp_path / "s.tif", SENTINEL2)), grid)


def figures(weather: Weather, stated: bool = True) -> coarse.SkyFigures:
    """Haze of a painted scene where nothing is cloud."""
    scene = paint_scene(150, weather, 4)
    grid = GridSpec(EPSG, Affine(GSD_M, 0, WEST, 0, -GSD_M, NORTH), PixelSize(150, 150))
    pixels = Reflectances(grid, scene.bands, np.ones((150, 150), np.bool_), ReadCost())
    spectral = Spectral(dict.fromkeys(BANDS, 1), 1e-4, 0.0, stated, weather.level, True)
    haze = coarse.haze_of(pixels, np.zeros((150, 150), np.uint8), spectral)
    return coarse.SkyFigures(0.0, 0.0, 0.0, haze)


class TestVerdict:
    @pytest.mark.parametrize("level", ["l2a", "l1c"])
    def test_haze_refuses_and_clear_air_does_not(self, level: str) -> None:
        clear = figures(Weather(haze=0.1, level=level))
        hazy = figures(Weather(haze=2.0, level=level))
        assert coarse.reason_of(clear, False) == "too_coarse" and coarse.reason_of(hazy, False) == "haze"

    def test_haze_is_not_judged_where_the_offset_is_unknown(self) -> None:
        assert figures(Weather(haze=2.0), stated=False).haze is None

    def test_the_first_reason_that_holds_is_told(self) -> None:
        sound = coarse.SkyFigures(0.0, 0.0, 0.0, 0.0)
        told = {
            "nodata": replace(sound, nodata_share=0.2), "no_cloud_model": replace(sound, cloud_share=None),
            "cloud": replace(sound, cloud_share=0.4, shadow_share=0.4), "shadow": replace(sound, shadow_share=0.4),
            "haze": replace(sound, haze=0.1), "too_coarse": sound,
        }  # fmt: skip
        assert {key: coarse.reason_of(value, False) for key, value in told.items()} == {key: key for key in told}
        assert coarse.reason_of(sound, True) == "sun_low"


class TestFigures:
    """Of `collateral evaluate clouds --only satellite`."""

    def test_precision_and_recall_count_what_is_decided(self) -> None:
        depth = np.array([[0.0, 0.0, 0.0, 5.0, 5.0, 0.6]], np.float32)
        shade = np.array([[0.0, 0.0, 0.9, 0.0, 0.9, 0.0]], np.float32)
        classes = np.array([[CLEAR, CLOUD, SHADOW, CLOUD, SHADOW, CLOUD]], np.uint8)
        clear = "too_coarse"
        pairs = (("cloud", "cloud"), ("cloud", clear), (clear, "haze"), (clear, clear), ("", "cloud"))
        seen = [evaluate_sky.Seen("clear", classes, depth, shade, pairs)]
        by_class = evaluate_sky.pixel_figures(seen)
        assert by_class["cloud"] == {"n": 2, "precision": 0.5, "recall": 0.5}
        assert by_class["shadow"] == {"n": 1, "precision": 0.5, "recall": 1.0}
        assert evaluate_sky.depth_figures(seen) == {"0.5-1": 1.0, "3-8": 0.5}
        windows = evaluate_sky.window_figures(seen)
        assert windows["cloud"] == {"n": 2, "precision": 1.0, "recall": 0.5, "refused": 0.5}
        assert windows["false_alarms"] == {"n": 2, "rate": 0.5, "haze": 1}

    def test_without_the_extra_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(evaluate_sky, "model_for", lambda bands, level: None)
        assert "[sentinel2]" in str(evaluate_sky.evaluate_sky([1])["not_measured"])

    def test_clouds_hide_the_ground_and_shade_what_lies_away_from_the_sun(self) -> None:
        clear, cloudy = paint_scene(200, Weather(), 6), paint_scene(200, Weather(cover=0.3, size_m=600, height_m=500), 6)
        covered, shaded = cloudy.depth > 8, (cloudy.shade > 0.8) & (cloudy.depth < 0.1)
        assert covered.any() and shaded.any()
        brighter = (cloudy.bands["blue"] - clear.bands["blue"])[covered]
        assert np.quantile(brighter, 0.02) > 0.1, "but for white roofs in the shade"
        assert np.median((cloudy.bands["nir"] / clear.bands["nir"])[shaded]) < 0.75
        untouched = (cloudy.depth < 0.01) & (cloudy.shade < 0.01)
        assert np.abs(cloudy.bands["red"] - clear.bands["red"])[untouched].max() < 0.03
