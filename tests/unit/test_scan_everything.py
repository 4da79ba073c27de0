"""A whole scene, tile by tile: the same objects wherever the seams run, whatever the file is made of, in bounded memory."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.shutil import copy as raster_copy
from rasterio.windows import Window
from torch import Tensor

from data_samples.boxes_folder import random_scenes
from detection.arrays import Floats, floats
from detection.everything import WHOLE_TILING, Everything, scan_everything, write_geojson
from detection.infer import Box, VehicleDetector
from detection.merge import merged
from detection.metrics import iou, suppress
from detection.runtime import Runtime
from detection.tiling import Tiling
from imagery.blocks import BlockReader
from imagery.raster import RasterRejectedError, inspect
from imagery.reader import WindowUnreadableError

GSD_M = 0.15
SIZE = 1200


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    _, rendered = next(random_scenes(4, (GSD_M,)))
    return np.ascontiguousarray(rendered.image[:SIZE, :SIZE])


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> VehicleDetector:
    return VehicleDetector.load(cache=tmp_path_factory.mktemp("models"))


def write(path: Path, image: NDArray[np.uint8], gsd_m: float = GSD_M, **options: object) -> Path:
    height, width = image.shape[:2]
    profile = {
        "driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8", "crs": "EPSG:32651",
        "transform": Affine(gsd_m, 0.0, 300_000, 0.0, -gsd_m, 3_460_000), "photometric": "RGB",
    }  # fmt: skip
    plain = path.with_name(f"plain_{path.name}")
    with rasterio.open(plain, "w", **profile) as dataset:
        dataset.write(image.transpose(2, 0, 1))
        dataset.update_tags(ACQUIRED_AT=datetime(2026, 3, 1, tzinfo=UTC).isoformat())
    if not options:
        return plain.rename(path)
    raster_copy(str(plain), str(path), driver="GTiff", **options)
    plain.unlink()
    return path


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, picture: NDArray[np.uint8]) -> Path:
    return write(tmp_path_factory.mktemp("scene") / "s.tif", picture, tiled=True, blockxsize=256, blockysize=256)


@pytest.fixture(scope="module")
def undivided(scene: Path, detector: VehicleDetector) -> Everything:
    found = scan_everything(scene, detector)
    assert found.tiles == 1 and len(found.boxes) > 15
    return found


def array(boxes: tuple[Box, ...]) -> Floats:
    return floats([[b.x0, b.y0, b.x1, b.y1, b.confidence] for b in boxes]).reshape(-1, 5)


def assert_same_objects(one: Everything, other: Everything, threshold: float, tolerance: float) -> None:
    """Whatever is surer than the threshold by the tolerance is in both, at the same place, and once."""
    a, b = array(one.boxes), array(other.boxes)
    overlap = iou(a[:, :4], b[:, :4])
    for sure, found in ((a[:, 4] > threshold + tolerance, overlap), (b[:, 4] > threshold + tolerance, overlap.T)):
        assert (found[sure].max(axis=1, initial=0) > 0.7).all()
        assert ((found[sure] > 0.45).sum(axis=1) == 1).all(), "an object is reported twice"
    unsure = (np.abs(a[:, 4] - threshold) <= tolerance).sum() + (np.abs(b[:, 4] - threshold) <= tolerance).sum()
    assert abs(len(a) - len(b)) <= unsure


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2000), st.integers(0, 2000), st.sampled_from([352, 512, 640]))
def test_the_same_objects_wherever_the_seams_run(
    scene: Path, detector: VehicleDetector, undivided: Everything, right: int, down: int, edge: int
) -> None:
    found = scan_everything(scene, detector, Tiling(edge, WHOLE_TILING.overlap, (right, down)))
    assert found.tiles >= 4
    assert_same_objects(undivided, found, detector.threshold, 0.15)


@pytest.mark.parametrize(
    "options",
    [
        {"compress": "JPEG", "quality": 90, "photometric": "YCBCR", "interleave": "pixel", "tiled": True},
        {"compress": "DEFLATE", "interleave": "band", "tiled": True, "blockxsize": 128, "blockysize": 128},
        {"compress": "LZW"},
    ],
    ids=["jpeg", "bands", "strips"],
)
def test_windows_are_what_gdal_reads(tmp_path: Path, picture: NDArray[np.uint8], options: dict[str, object]) -> None:
    path = write(tmp_path / "s.tif", picture, **options)
    windows = [Window(x, y, min(500, SIZE - x), min(500, SIZE - y)) for y in (0, 400, 800) for x in (0, 420, 840)]
    with BlockReader(inspect(path), windows, "GTiff") as reader, rasterio.open(path) as dataset:
        for window in windows:
            wanted = dataset.read([1, 2, 3], window=window).transpose(1, 2, 0)
            gap = np.abs(reader.read(window).astype(int) - wanted)
            assert gap.max() <= (30 if options["compress"] == "JPEG" else 0) and gap.mean() < 0.5


def test_a_scene_of_other_pixels_is_warped_to_the_same_places(
    tmp_path: Path, picture: NDArray[np.uint8], detector: VehicleDetector, undivided: Everything
) -> None:
    half = picture.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    found = scan_everything(write(tmp_path / "s.tif", half, 2 * GSD_M), detector, Tiling(640, 128))
    a, b = array(undivided.boxes), array(found.boxes)
    strong = a[a[:, 4] > 0.95, :4]
    assert abs(found.grid.size.width - SIZE) <= 2
    assert (iou(strong, b[:, :4]).max(axis=1) > 0.4).mean() > 0.6


def test_empty_parts_are_skipped_and_nothing_is_found_there(
    tmp_path: Path, detector: VehicleDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.zeros((700, 700, 3), np.uint8)
    image[:16, :16] = 90
    seen: list[tuple[int, ...]] = []
    run = type(detector.runtime).__call__

    def counted(runtime: Runtime, batch: NDArray[np.uint8]) -> tuple[Tensor, ...]:
        seen.append(batch.shape)
        return run(runtime, batch)

    monkeypatch.setattr(type(detector.runtime), "__call__", counted)
    found = scan_everything(write(tmp_path / "s.tif", image), detector, Tiling(320, 64))
    assert found.tiles == 9 and len(seen) == 1 and found.boxes == ()


def test_a_mosaic_joins_files_beside_it_and_nothing_else(
    tmp_path: Path, picture: NDArray[np.uint8], detector: VehicleDetector, undivided: Everything
) -> None:
    write(tmp_path / "s.tif", picture)
    text = (
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><SRS>EPSG:32651</SRS>'
        f"<GeoTransform>300000, {GSD_M}, 0, 3460000, 0, -{GSD_M}</GeoTransform>"
    )
    for band in (1, 2, 3):
        text += (
            f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">s.tif'
            f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        )
    mosaic = tmp_path / "m.vrt"
    mosaic.write_text(text + "</VRTDataset>")
    assert_same_objects(undivided, scan_everything(mosaic, detector, Tiling(640, 128)), detector.threshold, 0.15)
    for bad in ("/etc/s.tif", "../s.tif", "http://127.0.0.1/s.tif", "vsicurl:s.tif"):
        mosaic.write_text((text + "</VRTDataset>").replace(">s.tif", f">{bad}"))
        with pytest.raises(RasterRejectedError, match="own folder"):
            scan_everything(mosaic, detector)


def test_a_damaged_block_is_named(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    path = write(tmp_path / "s.tif", picture, compress="DEFLATE", tiled=True)
    facts = inspect(path)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] + bytes(half // 2) + content[half + half // 2 :])
    everything = Window(0, 0, SIZE, SIZE)
    with (
        BlockReader(facts, [everything], "GTiff") as reader,
        pytest.raises(WindowUnreadableError, match="copy the file again"),
    ):
        reader.read(everything)


def test_geojson_lies_where_the_scene_lies(tmp_path: Path, undivided: Everything, detector: VehicleDetector) -> None:
    write_geojson(tmp_path / "v.geojson", undivided, detector)
    document = json.loads((tmp_path / "v.geojson").read_text())
    assert len(document["features"]) == document["vehicles"] == len(undivided.boxes)
    rings = np.array([feature["geometry"]["coordinates"][0] for feature in document["features"]])
    assert rings.shape[1:] == (5, 2) and (rings[:, 0] == rings[:, 4]).all()
    assert (np.abs(rings - [120.9, 31.25]) < 0.02).all()
    assert all(2 < feature["properties"]["length_m"] < 25 for feature in document["features"])


@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 5))
def test_merging_is_greedy_suppression_in_any_order_of_tiles(seed: int, count: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 60, (count, 2))
    rows = floats(np.concatenate([corner, corner + rng.uniform(5, 25, (count, 2)), rng.permutation(count)[:, None] / 60,
                                  np.ones((count, 1))], axis=1))
    kept = merged(np.array_split(rows, parts))
    wanted = rows[suppress(rows[:, :4], rows[:, 4], 0.45)]
    assert np.array_equal(kept, wanted)
    assert np.array_equal(merged(np.array_split(rows[::-1], parts)), kept)
