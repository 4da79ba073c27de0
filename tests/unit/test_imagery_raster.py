"""Bad files of every kind are told apart, good ones become scenes with the right place and time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from collateral.errors import UsageError
from imagery.catalogue import find_scenes
from imagery.grid import GridSpec, PixelSize
from imagery.raster import RasterRejectedError, inspect
from imagery.reader import read_pixels
from imagery.scenes import open_scene
from tests.bad_rasters import BAD, ORIGIN, UTM, in_colours, write_tif


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("fault", list(BAD))
def test_a_bad_file_is_rejected_with_its_reason(tmp_path: Path, fault: str) -> None:
    reason, make = BAD[fault]
    with pytest.raises(RasterRejectedError) as caught:
        open_scene(make(tmp_path / "bad.tif"))
    assert caught.value.reason is reason, str(caught.value)
    assert "bad.tif" in str(caught.value) and len(caught.value.detail) > 20


def test_absurdly_large_header_is_rejected_without_reading(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "width": 300_000, "height": 300_000, "count": 3, "dtype": "uint8", "crs": f"EPSG:{UTM}",
               "transform": ORIGIN, "SPARSE_OK": "TRUE", "tiled": True, "BIGTIFF": "YES"}
    with rasterio.open(path, "w", **profile):
        pass
    with pytest.raises(RasterRejectedError, match="300000 x 300000"):
        inspect(path)


def test_a_good_file_becomes_a_scene(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "good.tif", tags={"ACQUIRED_AT": "2026-05-04T10:30:00+08:00", "SOURCE": "drone",
                                                  "AVAILABLE_AT": "2026-05-04T08:30:00Z"})
    scene = open_scene(path)
    assert scene.record.acquired_at == datetime(2026, 5, 4, 2, 30, tzinfo=UTC)
    assert scene.available_at == datetime(2026, 5, 4, 8, 30, tzinfo=UTC)
    assert (scene.record.epsg, scene.record.source, scene.record.bytes) == (UTM, "drone", path.stat().st_size)
    assert scene.record.gsd_m == pytest.approx(0.3, rel=2e-3)  # UTM scale differs from 1 by up to 0.1 %
    centre = Transformer.from_crs(f"EPSG:{UTM}", "EPSG:4326", always_xy=True).transform(350_045, 3_449_970)
    assert scene.record.footprint.centroid.coords[0] == pytest.approx(centre, abs=1e-6)
    assert scene.record.scene_id == scene.record.sha256[:16]


def test_tiff_datetime_is_taken_when_there_is_nothing_better(tmp_path: Path) -> None:
    scene = open_scene(write_tif(tmp_path / "a.tif", tags={"TIFFTAG_DATETIME": "2026:05:04 02:30:00"}))
    assert scene.record.acquired_at == scene.available_at == datetime(2026, 5, 4, 2, 30, tzinfo=UTC)


def test_catalogue_finds_files_folders_and_patterns(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    names = [tmp_path / "b.tif", tmp_path / "sub" / "a.TIFF"]
    for path in [*names, tmp_path / ".hidden.tif", tmp_path / "note.txt"]:
        path.touch()
    assert find_scenes(str(tmp_path)) == sorted(names)
    assert find_scenes(str(tmp_path / "*.tif")) == [names[0]]
    assert find_scenes(str(names[1])) == [names[1]]
    with pytest.raises(UsageError, match=r"nowhere"):
        find_scenes(str(tmp_path / "nowhere"))


def test_unusual_ways_to_say_where_are_read_right(tmp_path: Path) -> None:
    """South up, feet, degrees and a system without a code: the same ground each time."""
    usual = open_scene(write_tif(tmp_path / "usual.tif")).record
    south_up = write_tif(tmp_path / "south.tif", transform=Affine(0.3, 0, 350_000, 0, 0.3, 3_449_940))
    feet = write_tif(tmp_path / "feet.tif", crs="EPSG:2263", transform=Affine(1, 0, 980_000, 0, -1, 200_000))
    degrees = write_tif(tmp_path / "degrees.tif", crs="EPSG:4326", transform=Affine(3e-6, 0, 121, 0, -3e-6, 31))
    no_code = write_tif(tmp_path / "no_code.tif", crs="+proj=tmerc +lon_0=121.5 +x_0=350000 +datum=WGS84 +units=m")
    assert open_scene(south_up).record.footprint.symmetric_difference(usual.footprint).area < 1e-12
    assert open_scene(feet).record.gsd_m == pytest.approx(0.3048, rel=1e-3)
    assert 0.28 < open_scene(degrees).record.gsd_m < 0.34
    assert open_scene(no_code).record.epsg == 0 and open_scene(no_code).record.gsd_m == pytest.approx(0.3, rel=2e-3)


@pytest.mark.parametrize(
    ("kinds", "names", "bands"),
    [
        ("bgr-", (), (3, 2, 1)),
        ("----", ("Blue", "Green", "Red", "NIR"), (3, 2, 1)),
        ("---", ("band 1 (blue)", "green_band", "RED"), (3, 2, 1)),
        ("---", ("Pan-sharpened blue", "Pan-sharpened green", "Pan-sharpened red"), (3, 2, 1)),
        ("----", ("Red Edge", "red", "green", "blue"), (2, 3, 4)),
        ("rgb", ("Layer_1", "Layer_2", "Layer_3"), (1, 2, 3)),
        ("---", (), (1, 2, 3)),
    ],
)
def test_colours_are_told_by_name_or_interpretation(
    tmp_path: Path, kinds: str, names: tuple[str, ...], bands: tuple[int, int, int]
) -> None:
    assert open_scene(in_colours(tmp_path / "a.tif", kinds, names)).facts.bands == bands


def test_transparency_and_internal_masks_are_no_infrared(tmp_path: Path) -> None:
    """A feathered edge is transparency all the same."""
    pixels = np.full((4, 64, 64), 120, np.uint8)
    pixels[3, :20], pixels[3, 20:30], pixels[3, 30:] = 0, np.linspace(1, 254, 10)[:, None], 255
    facts = open_scene(in_colours(tmp_path / "a.tif", "rgba", pixels=pixels)).facts
    assert facts.bands == (1, 2, 3) and facts.has_mask


def test_infrared_said_to_be_transparency_masks_nothing(tmp_path: Path) -> None:
    """So aerial surveys of red, green, blue and infrared are written; water is dark in infrared."""
    pixels = np.full((4, 64, 64), 120, np.uint8)
    pixels[3, :20] = 0
    scene = open_scene(in_colours(tmp_path / "a.tif", "rgba", pixels=pixels))
    assert scene.facts.bands == (1, 2, 3) and not scene.facts.has_mask
    grid = GridSpec(scene.record.epsg, scene.facts.affine, PixelSize(64, 64))
    assert read_pixels(scene.facts, grid).valid.all()


def test_a_lean_that_moves_no_pixel_is_no_rotation(tmp_path: Path) -> None:
    leaning = write_tif(tmp_path / "a.tif", transform=Affine(0.3, 1e-8, 350_000, 1e-8, -0.3, 3_450_000))
    assert open_scene(leaning).record.gsd_m == pytest.approx(0.3, rel=1e-3)


def test_what_is_refused_is_named(tmp_path: Path) -> None:
    """The value itself and the way out, not only the kind of fault."""
    turned = write_tif(tmp_path / "turned.tif", transform=Affine(0.2954, -0.0521, 350_000, 0.0521, -0.2954, 3_450_000))
    dated = write_tif(tmp_path / "dated.tif", tags={"ACQUIRED_AT": "04.05.2026 10:30"})
    sound = {"ACQUIRED_AT": "2026-05-04T02:30:00Z"}
    later = write_tif(tmp_path / "later.tif", tags=sound | {"AVAILABLE_AT": "next week"})
    zero = write_tif(tmp_path / "zero.tif", tags={"TIFFTAG_DATETIME": "0000:00:00 00:00:00"})
    for path, said in (
        (turned, r"10 degrees.*gdalwarp"), (dated, r"ACQUIRED_AT is '04\.05\.2026 10:30'.*ISO 8601"),
        (later, "AVAILABLE_AT is 'next week'"), (zero, "0000:00:00.*ACQUIRED_AT"),
    ):  # fmt: skip
        with pytest.raises(RasterRejectedError, match=said):
            open_scene(path)
