"""A whole scene on a detector's grid, read tile by tile: never more of it in memory than a row of blocks.

Where the scene's own pixels have the size that is wanted (within 1 %) they are handed on as they are; else every tile is
warped onto a north-up grid in the scene's UTM zone, as a site's window is.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from imagery.blocks import BlockReader
from imagery.gdal_env import DRIVER
from imagery.grid import GridSpec, PixelSize, grid_over
from imagery.raster import RasterFacts, RasterRejectedError, Reason, inspect
from imagery.reader import ReadCost, read_pixels
from imagery.target import to_utm

MOSAIC_DRIVER = "VRT"
_SAME_PIXEL = 0.01


class WindowReader(Protocol):
    """Gives windows of a grid."""

    cost: ReadCost

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Rows x columns x 3 uint8 RGB, black where there is nothing."""
        ...


def inspect_whole(path: Path) -> RasterFacts:
    """As `imagery.raster.inspect`; a .vrt that joins GeoTIFFs of its own folder is taken too.

    Raises:
        RasterRejectedError: the file cannot be read, or a mosaic reaches outside its folder or computes anything.
    """
    if not _is_mosaic(path):
        return inspect(path)
    _require_plain_mosaic(path)
    return inspect(path, MOSAIC_DRIVER)


def _require_plain_mosaic(path: Path) -> None:
    """Refuses what a VRT can do beyond joining files that lie beside it: URLs, other formats, raw files, code."""
    try:
        root = ElementTree.fromstring(path.read_bytes())  # noqa: S314 - entities are refused on the next line
    except (ElementTree.ParseError, OSError) as error:
        raise RasterRejectedError(path, Reason.UNREADABLE, f"it is no VRT mosaic ({error}).") from error
    sources = list(root.iter("SourceFilename"))
    plain = root.tag == "VRTDataset" and "subClass" not in root.attrib and b"<!" not in path.read_bytes()
    plain &= all("subClass" not in band.attrib for band in root.iter("VRTRasterBand"))
    plain &= all(source.get("relativeToVRT") == "1" and _beside(source.text or "") for source in sources)
    if not sources or not plain:
        detail = "a mosaic may only join .tif files of its own folder (gdalbuildvrt with relative names)."
        raise RasterRejectedError(path, Reason.UNREADABLE, detail)


def _beside(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return len(parts) == 1 and ":" not in name and name.lower().endswith((".tif", ".tiff"))


@dataclass(frozen=True)
class WholeScene:
    """A scene and the grid on which all of it is read."""

    facts: RasterFacts
    grid: GridSpec
    outline: BaseGeometry
    """Of the scene, in metres of the grid's system."""

    @classmethod
    def of(cls, facts: RasterFacts, footprint: BaseGeometry, gsd_m: float) -> WholeScene:
        """On pixels of `gsd_m`: the scene's own where they have that size. `footprint` in longitude and latitude.

        Raises `RasterRejectedError` for a mosaic of another pixel size.
        """
        own = GridSpec(facts.epsg, facts.affine, facts.size)
        edges = (facts.gsd_m, facts.affine.a, -facts.affine.e)
        if facts.epsg and all(abs(edge / gsd_m - 1) <= _SAME_PIXEL for edge in edges):
            return cls(facts, own, own.footprint)
        if _is_mosaic(facts.path):
            detail = f"a mosaic is read pixel by pixel: its pixels must be {gsd_m} m in UTM (gdalbuildvrt -tr, gdalwarp)."
            raise RasterRejectedError(facts.path, Reason.ABSURD_GSD, detail, facts.sha256)
        centre = footprint.centroid
        zone = min(max(math.floor((centre.x + 180) / 6) + 1, 1), 60)
        epsg = (32600 if centre.y >= 0 else 32700) + zone
        outline = to_utm(footprint, epsg)
        return cls(facts, grid_over(outline, epsg, gsd_m), outline)

    @contextmanager
    def open(self, windows: Sequence[Window], threads: int = 1) -> Iterator[WindowReader]:
        """A reader of windows of the grid, to be read in this order, each once and by one thread at a time.

        It may take `threads` of its own to decode with.
        """
        if self.grid.affine == self.facts.affine:
            driver = MOSAIC_DRIVER if _is_mosaic(self.facts.path) else DRIVER
            with BlockReader(self.facts, windows, driver, threads) as reader:
                yield reader
        else:
            yield _WarpReader(self)


def _is_mosaic(path: Path) -> bool:
    return path.suffix.lower() == ".vrt"


class _WarpReader:
    """Each window warped for itself."""

    def __init__(self, scene: WholeScene) -> None:
        self._scene = scene
        self._inner = scene.outline.buffer(-2 * scene.grid.gsd_m)
        self.cost = ReadCost()

    def read(self, window: Window) -> NDArray[np.uint8]:
        """As `WindowReader`."""
        whole = self._scene.grid
        west, north = whole.to_map(np.array([[window.col_off, window.row_off]], np.float64))[0]
        affine = Affine(whole.affine.a, 0.0, west, 0.0, whole.affine.e, north)
        grid = replace(whole, affine=affine, size=PixelSize(window.width, window.height))
        if not self._inner.intersects(grid.footprint):
            return np.zeros((window.height, window.width, 3), np.uint8)
        pixels = read_pixels(self._scene.facts, grid)
        self.cost += pixels.cost
        return pixels.rgb
