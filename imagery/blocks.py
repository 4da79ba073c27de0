"""Decodes the blocks of a raster, each once however many windows need it.

JPEG blocks of TIFF files are handed to OpenCV as they lie in the file: half the processor time of the way through GDAL (5.5
against 11 ms per megapixel), which spreads bands and joins them again. Several are decoded at a time: a network that runs
beside waits for the slowest of its threads: taking a core from one of them costs twice what taking a little from all does.
Everything else is decoded by GDAL, one after the other.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from imagery.gdal_env import gdal_environment
from imagery.raster import RasterFacts, block_extent
from imagery.reader import ReadCost, WindowUnreadableError

_UNIT_PX = 512
"""Smaller blocks are decoded together up to about this edge."""
_LARGEST_UNIT_BYTES = 64 << 20
_JPEG_TOLERANCE = 2.0
"""Mean difference in grey levels up to which OpenCV's and GDAL's pixels are the same picture."""

_Unit = tuple[int, int]
"""Row and column of what is decoded together."""


class BlockReader:
    """Reads windows of one raster in an order that is known beforehand; a context manager.

    Decoded blocks are kept as long as a later window needs them and no longer, so memory depends on the order of the windows
    (row by row: one row of blocks), not on the size of the raster. Not for several threads at a time.
    """

    def __init__(self, facts: RasterFacts, windows: Sequence[Window], driver: str, threads: int = 1) -> None:
        """Every window must lie inside the raster and will be read once, in this order; `threads` decode JPEG blocks."""
        self._facts = facts
        self._driver = driver
        self._windows = windows
        self._threads = threads
        self._kept: dict[_Unit, NDArray[np.uint8]] = {}
        self._stack = ExitStack()
        self.cost = ReadCost()

    def __enter__(self) -> BlockReader:
        try:
            self._stack.enter_context(gdal_environment())
            self._dataset = self._stack.enter_context(rasterio.open(self._facts.path, driver=self._driver))
        except (RasterioError, RasterioIOError, OSError) as error:
            self._stack.close()
            raise WindowUnreadableError(f"{self._facts.path.name}: it cannot be opened ({error}).") from error
        jpeg = JpegBlocks.of(self._dataset, self._facts)
        if jpeg is not None:
            self._stack.callback(jpeg.close)
        self._unit = _unit_shape(self._dataset) if jpeg is None else jpeg.shape
        self._jpeg = jpeg if jpeg is not None and self._same(jpeg) else None
        self._pool = self._stack.enter_context(ThreadPoolExecutor(self._threads, "block"))
        self._uses = Counter(unit for window in self._windows for unit in self._units(window))
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._kept.clear()
        self._stack.close()

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Rows x columns x 3, red green blue; black where the raster says that it holds no data.

        Raises:
            WindowUnreadableError: a block is damaged.
        """
        out = np.empty((window.height, window.width, 3), np.uint8)
        units = list(self._units(window))
        decoded = self._decoded([unit for unit in units if unit not in self._kept])
        for unit in units:
            pixels = self._kept.pop(unit, None)
            if pixels is None:
                pixels = self._next(decoded)
                self.cost += self._cost(*unit)
            self._put(out, window, unit, pixels)
            self._uses[unit] -= 1
            if self._uses[unit] > 0:
                self._kept[unit] = pixels
        self.cost += ReadCost(megapixels=window.width * window.height / 1e6)
        return out

    def _units(self, window: Window) -> Iterator[_Unit]:
        height, width = self._unit
        for row in range(window.row_off // height, (window.row_off + window.height - 1) // height + 1):
            for column in range(window.col_off // width, (window.col_off + window.width - 1) // width + 1):
                yield row, column

    def _put(self, out: NDArray[np.uint8], window: Window, unit: _Unit, pixels: NDArray[np.uint8]) -> None:
        top, left = unit[0] * self._unit[0] - window.row_off, unit[1] * self._unit[1] - window.col_off
        r0, c0 = max(top, 0), max(left, 0)
        r1, c1 = min(top + pixels.shape[0], window.height), min(left + pixels.shape[1], window.width)
        out[r0:r1, c0:c1] = pixels[r0 - top : r1 - top, c0 - left : c1 - left]

    def _decoded(self, units: Sequence[_Unit]) -> Iterator[NDArray[np.uint8]]:
        """Their pixels, in order."""
        if self._jpeg is None:
            return (self._by_gdal(*unit) for unit in units)
        extents = [block_extent(self._dataset, column, row) for row, column in units]  # GDAL: not for several threads
        return self._pool.map(self._jpeg.decode, units, extents)

    def _next(self, decoded: Iterator[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        try:
            return next(decoded)
        except (RasterioError, RasterioIOError, OSError, cv2.error) as error:
            said = " ".join(str(error).split())[:160]
            message = f"{self._facts.path.name}: its pixels cannot be decoded ({said}); copy the file again."
            raise WindowUnreadableError(message) from error

    def _cost(self, row: int, column: int) -> ReadCost:
        """Bytes of the blocks of one unit, in one request."""
        size, block = (self._facts.size.height, self._facts.size.width), self._dataset.block_shapes[0]
        rows, columns = (
            range(at * unit // edge, -(-min((at + 1) * unit, length) // edge))
            for at, unit, edge, length in zip((row, column), self._unit, block, size, strict=True)
        )
        extents = [block_extent(self._dataset, c, r) for r in rows for c in columns]
        count = sum(extent[1] for extent in extents if extent is not None)
        return ReadCost(bytes_read=count, bytes_needed=count, requests=1)

    def _same(self, jpeg: JpegBlocks) -> bool:
        """Whether OpenCV gives what GDAL gives, looked at in the middle of the raster."""
        size = self._facts.size
        row, column = size.height // 2 // self._unit[0], size.width // 2 // self._unit[1]
        try:
            block = jpeg.decode((row, column), block_extent(self._dataset, column, row))
            gap = np.abs(block.astype(np.int16) - self._by_gdal(row, column)).mean()
        except (cv2.error, RasterioError, RasterioIOError, OSError):  # the window that needs the block will say so
            return False
        return bool(gap <= _JPEG_TOLERANCE)

    def _by_gdal(self, row: int, column: int) -> NDArray[np.uint8]:
        height, width = self._unit
        window = Window(
            column * width, row * height,
            min(width, self._facts.size.width - column * width), min(height, self._facts.size.height - row * height),
        )  # fmt: skip
        bands = self._dataset.read(list(self._facts.bands), window=window)
        pixels = np.asarray(cv2.merge(list(bands)), np.uint8)
        if self._facts.has_mask:
            pixels[self._dataset.dataset_mask(window=window) == 0] = 0
        return pixels


def _unit_shape(dataset: Any) -> tuple[int, int]:
    """Rows and columns decoded together: a block, or several where blocks are small; strips stay whole while they fit."""
    height, width = dataset.block_shapes[0]
    rows, columns = (edge * max(1, _UNIT_PX // edge) for edge in (height, width))
    if rows * columns * 3 > _LARGEST_UNIT_BYTES:
        return _UNIT_PX, _UNIT_PX
    return rows, columns


class JpegBlocks:
    """The JPEG blocks of one TIFF file."""

    def __init__(self, dataset: Any, facts: RasterFacts, tables: bytes) -> None:
        self._size = facts.size
        self._tables = tables
        self._file = os.open(facts.path, os.O_RDONLY)
        self.shape: tuple[int, int] = dataset.block_shapes[0]

    @classmethod
    def of(cls, dataset: Any, facts: RasterFacts) -> JpegBlocks | None:
        """None where blocks are not plain YCbCr JPEG of three interleaved bands without a mask."""
        described = dataset.tags(ns="IMAGE_STRUCTURE")
        plain = described.get("COMPRESSION") == "YCbCr JPEG" and described.get("INTERLEAVE") == "PIXEL"
        if not plain or dataset.driver != "GTiff" or dataset.count != 3 or facts.bands != (1, 2, 3) or facts.has_mask:
            return None
        tables = dataset.get_tag_item("JPEGTABLES", "TIFF", bidx=1)
        return cls(dataset, facts, bytes.fromhex(tables) if tables else b"")

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def decode(self, unit: _Unit, extent: tuple[int, int] | None) -> NDArray[np.uint8]:
        """One block, rows x columns x 3, cut off where the raster ends; black where the file leaves it out. Any thread.

        `extent`: its (offset, length) in the file. Raises `OSError` when bytes are missing or are no picture.
        """
        row, column = unit
        height = min(self.shape[0], self._size.height - row * self.shape[0])
        width = min(self.shape[1], self._size.width - column * self.shape[1])
        if extent is None or extent[1] == 0:
            return np.zeros((height, width, 3), np.uint8)
        content = os.pread(self._file, extent[1], extent[0])
        if self._tables:  # both are streams of their own: SOI tables EOI, SOI picture EOI
            content = self._tables[:-2] + content[2:]
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None or pixels.shape[0] < height or pixels.shape[1] < width:
            raise OSError(f"block {row}, {column} is no JPEG picture of {width} x {height} px")
        return np.asarray(pixels[:height, :width], np.uint8)
