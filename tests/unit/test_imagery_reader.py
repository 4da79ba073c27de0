"""Windows against GDAL's own warper, and what reading them costs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.vrt import WarpedVRT
from shapely.geometry import Polygon, box

from collateral.errors import InvalidInputError
from imagery.grid import GridSpec, MapShift, PixelSize, grid_over
from imagery.raster import inspect
from imagery.reader import WindowUnreadableError, read_pixels

EAST, NORTH = 350_000.0, 3_450_000.0


def _smooth(height: int, width: int, sigma: float = 3.0) -> np.ndarray:
    noise = np.random.default_rng(5).normal(size=(height, width, 3))
    blurred = np.stack([cv2.GaussianBlur(noise[..., b], (0, 0), sigma) for b in range(3)], axis=0)
    scaled: np.ndarray = ((blurred - blurred.min()) / np.ptp(blurred) * 200 + 30).astype(np.uint8)
    return scaled


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reader") / "scene.tif"
    with rasterio.open(path, "w", driver="GTiff", width=1200, height=1000, count=3, dtype="uint8", crs="EPSG:32651",
                       transform=Affine(0.3, 0, EAST, 0, -0.3, NORTH), tiled=True, blockxsize=128,
                       blockysize=128) as dataset:
        dataset.write(_smooth(1000, 1200))
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.average)
    return path


def _by_gdal(path: Path, grid: GridSpec) -> np.ndarray:
    with rasterio.open(path) as dataset, WarpedVRT(
        dataset, crs=f"EPSG:{grid.epsg}", transform=grid.affine, width=grid.size.width, height=grid.size.height,
        resampling=rasterio.enums.Resampling.bilinear,
    ) as warped:
        pixels: np.ndarray = warped.read().transpose(1, 2, 0)
        return pixels


@pytest.mark.parametrize("gsd_m", [0.15, 0.25, 0.3])
@pytest.mark.parametrize("epsg", [32651, 32650, 3857])
def test_window_agrees_with_gdal(scene: Path, gsd_m: float, epsg: int) -> None:
    to_target = Transformer.from_crs("EPSG:32651", f"EPSG:{epsg}", always_xy=True)
    x, y = to_target.transform(EAST + 150, NORTH - 140)
    grid = grid_over(box(x - 40, y - 30, x + 40, y + 30), epsg, gsd_m)
    mine, theirs = read_pixels(inspect(scene), grid), _by_gdal(scene, grid)
    assert mine.valid.all() and mine.rgb.shape == theirs.shape
    difference = np.abs(mine.rgb.astype(int) - theirs.astype(int))
    assert difference.mean() < 0.6 and np.percentile(difference, 99) <= 3
    moved = np.roll(theirs, 1, axis=1)  # the test can see one pixel
    assert np.abs(mine.rgb.astype(int) - moved.astype(int))[:, 2:].mean() > 1.5


@pytest.mark.parametrize("gsd_m", [0.45, 0.6, 0.9])
def test_coarser_grids_are_averaged_and_stay_in_place(scene: Path, gsd_m: float) -> None:
    facts = inspect(scene)
    area = box(EAST + 60, NORTH - 240, EAST + 240, NORTH - 60)
    coarse = grid_over(area, 32651, gsd_m)
    a, _, c, _, e, f = coarse.affine[:6]
    size = PixelSize(coarse.size.width * 4, coarse.size.height * 4)
    fine = read_pixels(facts, GridSpec(32651, Affine(a / 4, 0, c, 0, e / 4, f), size)).rgb
    wanted = cv2.resize(fine.astype(np.float32), (coarse.size.width, coarse.size.height), interpolation=cv2.INTER_AREA)
    found = read_pixels(facts, coarse).rgb.astype(np.float32)
    assert np.abs(found - wanted).mean() < 1.5
    assert np.abs(found - np.roll(wanted, 1, axis=0))[2:].mean() > 3.0  # the test can see one pixel


def test_pixels_longer_than_wide_are_averaged_edge_by_edge(tmp_path: Path) -> None:
    """Degrees at 65 degrees north: 0.11 x 0.25 m. Stripes of one column vanish on pixels of two columns."""
    path, step = tmp_path / "degrees.tif", 0.25 / 111_400
    stripes = np.where(np.arange(600) % 2, 200, 40).astype(np.uint8)
    with rasterio.open(path, "w", driver="GTiff", width=600, height=300, count=3, dtype="uint8", crs="EPSG:4326",
                       transform=Affine(step, 0, 27.0, 0, -step, 65.0)) as dataset:
        dataset.write(np.broadcast_to(stripes, (3, 300, 600)))
    facts = inspect(path)
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32635", always_xy=True).transform(27.0 + 300 * step, 65.0 - 150 * step)
    across_m = facts.gsd_m**2 / (step * 111_496)
    rgb = read_pixels(facts, grid_over(box(x - 20, y - 20, x + 20, y + 20), 32635, 2 * across_m)).rgb
    assert rgb.std() < 8 and 110 < rgb.mean() < 130


def test_outside_the_scene_is_not_valid(scene: Path) -> None:
    grid = grid_over(box(EAST - 30, NORTH - 60, EAST + 30, NORTH + 30), 32651, 0.3)
    pixels = read_pixels(inspect(scene), grid)
    inside = np.zeros_like(pixels.valid)
    inside[100:, 100:] = True
    assert (pixels.valid == inside).mean() > 0.99
    assert pixels.rgb[~pixels.valid].max() == 0
    with pytest.raises(WindowUnreadableError, match="outside"):
        read_pixels(inspect(scene), grid_over(box(EAST - 90, NORTH, EAST - 60, NORTH + 30), 32651, 0.3))


def test_reading_a_window_does_not_read_the_file(scene: Path) -> None:
    grid = grid_over(box(EAST + 100, NORTH - 130, EAST + 130, NORTH - 100), 32651, 0.3)
    cost = read_pixels(inspect(scene), grid).cost
    assert 0 < cost.bytes_needed <= cost.bytes_read < scene.stat().st_size / 5
    assert 2 <= cost.requests <= 12
    assert cost.megapixels == pytest.approx(grid.size.width * grid.size.height / 1e6)


def test_damaged_pixels_are_reported(scene: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    with rasterio.open(scene) as source:
        profile = source.profile | {"compress": "deflate"}
        with rasterio.open(path, "w", **profile) as target:
            target.write(source.read())
            target.update_tags(ACQUIRED_AT="2026-01-01T00:00:00Z")
    facts = inspect(path)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3 : len(raw) * 2 // 3] = b"\xff" * (len(raw) * 2 // 3 - len(raw) // 3)
    path.write_bytes(raw)
    with pytest.raises(WindowUnreadableError, match="copy the file again"):
        read_pixels(facts, grid_over(box(EAST, NORTH - 300, EAST + 360, NORTH), 32651, 0.3))


@given(
    st.floats(-5e5, 5e5), st.floats(1e6, 9e6), st.floats(0.05, 2.0), st.floats(5, 300), st.floats(5, 300), st.integers(1, 64)
)
@hypothesis_settings(deadline=None)
def test_grids_cover_and_invert(east: float, north: float, gsd_m: float, width: float, height: float, multiple: int) -> None:
    area = box(east, north, east + width, north + height)
    grid = grid_over(area, 32651, gsd_m, margin_m=1.0, multiple=multiple)
    assert grid.footprint.buffer(1e-6).contains(area)
    assert grid.size.width % multiple == 0 and grid.size.height % multiple == 0
    points = np.array([[0.0, 0.0], [3.5, 7.25], [grid.size.width, grid.size.height]])
    assert np.allclose(grid.to_pixels(grid.to_map(points)), points, atol=1e-4)
    moved = grid.shifted(MapShift(2.0, -1.0)).to_map(points) - grid.to_map(points)
    assert np.allclose(moved, (2.0, -1.0), atol=1e-6)
    assert grid.gsd_m == pytest.approx(gsd_m)


def test_an_empty_geometry_has_no_grid() -> None:
    with pytest.raises(InvalidInputError, match="empty"):
        grid_over(Polygon(), 32651, 0.3)
    assert PixelSize(1000, 500).megapixels == 0.5
