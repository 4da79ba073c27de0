"""Bad files of every kind are told apart, good ones become scenes with the right place and time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from collateral.errors import UsageError
from imagery.catalogue import find_scenes
from imagery.raster import RasterRejectedError, Reason, inspect
from imagery.scenes import open_scene

UTM = 32651
ORIGIN = Affine(0.3, 0, 350_000, 0, -0.3, 3_450_000)


def write_tif(path: Path, pixels: np.ndarray | None = None, tags: dict[str, str] | None = None, **profile: object) -> Path:
    if pixels is None:
        pixels = np.random.default_rng(1).integers(40, 200, (3, 200, 300), dtype=np.uint8)
    given = {"crs": f"EPSG:{UTM}", "transform": ORIGIN, "compress": "deflate", "tiled": True, "blockxsize": 128}
    given |= {"blockysize": 128} | profile
    with rasterio.open(path, "w", driver="GTiff", count=pixels.shape[0], height=pixels.shape[1], width=pixels.shape[2],
                       dtype=pixels.dtype, **{key: value for key, value in given.items() if value is not None}) as dataset:
        dataset.write(pixels)
        dataset.update_tags(**({"ACQUIRED_AT": "2026-05-04T02:30:00Z"} if tags is None else tags))
    return path


def _cut(path: Path) -> Path:
    whole = write_tif(path).read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _text(path: Path) -> Path:
    path.write_text("not a picture")
    return path


def _pixels(bands: int, kind: str = "uint8", fill: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(2)
    return (np.full((bands, 64, 64), fill) if fill is not None else rng.integers(1, 200, (bands, 64, 64))).astype(kind)


BAD: dict[Reason, Callable[[Path], Path]] = {
    Reason.EMPTY_FILE: _empty,
    Reason.UNREADABLE: _text,
    Reason.TRUNCATED: _cut,
    Reason.WRONG_BANDS: lambda path: write_tif(path, _pixels(1)),
    Reason.WRONG_TYPE: lambda path: write_tif(path, _pixels(3, "float32")),
    Reason.NO_CRS: lambda path: write_tif(path, crs=None),
    Reason.ROTATED: lambda path: write_tif(path, transform=Affine(0.3, 0.1, 350_000, 0.1, -0.3, 3_450_000)),
    Reason.NO_TIME: lambda path: write_tif(path, tags={"OTHER": "x"}),
    Reason.ABSURD_GSD: lambda path: write_tif(path, transform=Affine(300, 0, 350_000, 0, -300, 3_450_000)),
    Reason.ABSURD_SIZE: lambda path: write_tif(path, np.full((3, 4, 4), 9, np.uint8)),
    Reason.ALL_NODATA: lambda path: write_tif(path, _pixels(3, fill=0), nodata=0),
}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("reason", list(BAD))
def test_a_bad_file_is_rejected_with_its_reason(tmp_path: Path, reason: Reason) -> None:
    with pytest.raises(RasterRejectedError) as caught:
        open_scene(BAD[reason](tmp_path / "bad.tif"))
    assert caught.value.reason is reason
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
