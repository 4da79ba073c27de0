"""The scene of `bench scan`: rendered industrial sites side by side, turned and re-lit, as a tiled JPEG GeoTIFF (COG)."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy as raster_copy
from rasterio.windows import Window

from collateral.progress import progress
from data_samples.boxes_folder import random_scenes

GSD_M = 0.15
_SITES = 6
_CELL_PX = 1000
_QUALITY = 85
_VERSION = "1"
"""Counted up when the scene changes."""


def bench_scene(folder: Path, edge: int) -> Path:
    """A square scene of `edge` pixels a side (whole cells of 1000 px), made once and kept."""
    path = folder / f"scene-{_VERSION}-{edge}.tif"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        plain = folder / f"plain-{edge}.tif"
        _write_plain(plain, edge)
        partial = path.with_suffix(".partial")
        with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
            raster_copy(
                str(plain), str(partial), driver="COG", compress="JPEG", quality=_QUALITY, blocksize=512,
                overview_resampling="average",
            )  # fmt: skip
        plain.unlink()
        partial.replace(path)
    return path


def _write_plain(path: Path, edge: int) -> None:
    sites = [rendered.image for _, (_, rendered) in zip(range(_SITES), random_scenes(_SITES, (GSD_M,)), strict=False)]
    rng = np.random.default_rng(0)
    profile = {
        "driver": "GTiff", "width": edge, "height": edge, "count": 3, "dtype": "uint8", "crs": "EPSG:32651", "tiled": True,
        "transform": Affine(GSD_M, 0.0, 300_000.0, 0.0, -GSD_M, 3_460_000.0), "photometric": "RGB", "interleave": "pixel",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.update_tags(ACQUIRED_AT="2026-03-01T02:30:00Z")
        for row in progress(range(0, edge, _CELL_PX), "bench scene", edge // _CELL_PX, "row"):
            cells = [_cell(sites[int(rng.integers(len(sites)))], rng) for _ in range(0, edge, _CELL_PX)]
            strip = np.concatenate(cells, axis=1).transpose(2, 0, 1)
            dataset.write(strip, window=Window(0, row, edge, _CELL_PX))


def _cell(site: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    y, x = (int(rng.integers(0, size - _CELL_PX + 1)) for size in site.shape[:2])
    cell = np.rot90(site[y : y + _CELL_PX, x : x + _CELL_PX], int(rng.integers(4)))
    gain, shift = float(rng.uniform(0.85, 1.15)), float(rng.uniform(-8, 8))
    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(cell), alpha=gain, beta=shift), np.uint8)


def bench_mosaic(scene: Path, edge: int, times: int) -> Path:
    """A mosaic (VRT) of `times` x `times` scenes of which only those on the diagonal are there."""
    path = scene.with_name(f"{scene.stem}-x{times}.vrt")
    root = ElementTree.Element("VRTDataset", rasterXSize=str(edge * times), rasterYSize=str(edge * times))
    with rasterio.open(scene) as dataset:
        ElementTree.SubElement(root, "SRS").text = dataset.crs.to_wkt()
        ElementTree.SubElement(root, "GeoTransform").text = ", ".join(str(v) for v in dataset.transform.to_gdal())
    for number in (1, 2, 3):
        band = ElementTree.SubElement(root, "VRTRasterBand", dataType="Byte", band=str(number))
        for place in range(times):
            source = ElementTree.SubElement(band, "SimpleSource")
            ElementTree.SubElement(source, "SourceFilename", relativeToVRT="1").text = scene.name
            ElementTree.SubElement(source, "SourceBand").text = str(number)
            whole = {"xSize": str(edge), "ySize": str(edge)}
            ElementTree.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **whole})
            ElementTree.SubElement(source, "DstRect", {"xOff": str(place * edge), "yOff": str(place * edge), **whole})
    path.write_bytes(ElementTree.tostring(root))
    return path
