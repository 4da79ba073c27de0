"""Pictures for the map lie where the scene says and are clear where it holds nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer

from collateral.domain import BoundingBox
from collateral.errors import InvalidInputError
from imagery.tiles import tile_bounds, window_image, window_png

EAST, NORTH = 350_000.0, 3_450_000.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey, with one red square whose centre is known."""
    path = tmp_path_factory.mktemp("tiles") / "scene.tif"
    pixels = np.full((3, 400, 400), 120, np.uint8)
    pixels[:, 190:210, 290:310] = np.array([250, 20, 20], np.uint8)[:, None, None]
    with rasterio.open(path, "w", driver="GTiff", width=400, height=400, count=3, dtype="uint8", crs="EPSG:32651",
                       transform=Affine(0.5, 0, EAST, 0, -0.5, NORTH)) as dataset:
        dataset.write(pixels)
    return path


def lonlat(east: float, north: float) -> tuple[float, float]:
    lon, lat = Transformer.from_crs("EPSG:32651", "EPSG:4326", always_xy=True).transform(east, north)
    return float(lon), float(lat)


def bounds_around(scene_margin_m: float) -> BoundingBox:
    west, south = lonlat(EAST - scene_margin_m, NORTH - 200 - scene_margin_m)
    east, north = lonlat(EAST + 200 + scene_margin_m, NORTH + scene_margin_m)
    return BoundingBox(west, south, east, north)


def test_the_square_lies_where_it_should(scene: Path) -> None:
    bounds = bounds_around(20)
    image = cv2.imdecode(np.frombuffer(window_png(scene, bounds, 800), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape[2] == 4 and max(image.shape[:2]) == 800
    rows, columns = np.nonzero((image[..., 2] > 200) & (image[..., 0] < 80))
    lon, lat = lonlat(EAST + 150, NORTH - 100)
    column = (lon - bounds.lon_min) / (bounds.lon_max - bounds.lon_min) * image.shape[1]
    row = (bounds.lat_max - lat) / (bounds.lat_max - bounds.lat_min) * image.shape[0]
    assert columns.mean() + 0.5 == pytest.approx(column, abs=1.5)
    assert rows.mean() + 0.5 == pytest.approx(row, abs=1.5)
    assert image[2, 2, 3] == 0 and image[400, 400, 3] == 255


def test_jpeg_and_errors(scene: Path, tmp_path: Path) -> None:
    picture = window_image(scene, bounds_around(0), 256, transparent=False)
    assert picture.media_type == "image/jpeg" and picture.content[:2] == b"\xff\xd8"
    with pytest.raises(InvalidInputError, match="no area"):
        window_png(scene, BoundingBox(121, 31, 121, 32))
    with pytest.raises(InvalidInputError, match="px"):
        window_png(scene, bounds_around(0), 100_000)
    with pytest.raises(InvalidInputError, match="outside"):
        window_png(scene, BoundingBox(10, 10, 10.01, 10.01))
    with pytest.raises(InvalidInputError, match="not there"):
        window_png(tmp_path / "gone.tif", bounds_around(0))


def test_tiles_of_one_zoom_fit_together() -> None:
    whole, left, right = tile_bounds(3, 2, 3), tile_bounds(4, 4, 6), tile_bounds(4, 5, 7)
    assert (whole.lon_min, whole.lat_max) == (left.lon_min, left.lat_max)
    assert (whole.lon_max, whole.lat_min) == (right.lon_max, right.lat_min)
    assert left.lon_max == right.lon_min
    with pytest.raises(InvalidInputError, match="does not exist"):
        tile_bounds(2, 4, 0)
