"""`collateral scan SCENE --everything`: the vehicles of a whole scene, whatever stands where, as GeoJSON.

For areas without a portfolio, for control pictures, and what `collateral bench scan` measures. No database is needed and no
observation is written: what belongs to a site comes from the scan of its window, which judges and aligns the picture first.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rasterio.windows import Window

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.infer import Box, VehicleDetector
from detection.locate import boxes_lonlat
from detection.tiling import Tile, Tiling, fill, tiles
from imagery.grid import GridSpec, PixelSize
from imagery.raster import RasterRejectedError
from imagery.reader import ReadCost
from imagery.scan_summary import ScanSummary
from imagery.scenes import footprint_of
from imagery.whole import WholeScene, inspect_whole

log = logging.getLogger(__name__)

WHOLE_TILING = Tiling(edge=3456, overlap=128)
"""Of a whole scene: 7.5 % is computed twice at 20,000 px (30 % with tiles of 1024); the network then needs about 800 MB."""
_DARK = 2
"""Brightest value of a tile that shows nothing."""
_BAND = 8
"""Columns of tiles in a band."""


@dataclass(frozen=True)
class Everything:
    """What was found in a scene."""

    boxes: tuple[Box, ...]
    """In pixels of `grid`."""
    grid: GridSpec
    tiles: int
    seconds: float
    cost: ReadCost = field(default_factory=ReadCost)

    def as_dict(self) -> dict[str, object]:
        """Figures for people and programs."""
        heavy = sum(box.label == "heavy" for box in self.boxes)
        scanned = self.grid.size.megapixels
        return {
            "vehicles": len(self.boxes), "heavy": heavy, "megapixels": round(scanned, 3), "seconds": round(self.seconds, 3),
            "megapixels_per_s": round(scanned / max(self.seconds, 1e-9), 2), "tiles": self.tiles, "gsd_m": self.grid.gsd_m,
        }  # fmt: skip


def scan_everything(path: Path, detector: VehicleDetector, tiling: Tiling = WHOLE_TILING) -> Everything:
    """Finds the vehicles of a whole raster (GeoTIFF, or a .vrt mosaic of its folder) of any size.

    Clouds are not looked for; pixels without data show nothing.

    Raises:
        RasterRejectedError: the file cannot be read as a scene.
        WindowUnreadableError: a part of it is damaged.
    """
    facts = inspect_whole(path)
    scene = WholeScene.of(facts, footprint_of(facts), detector.gsd_m)
    size = scene.grid.size
    cuts = _in_bands(tiles(size.height, size.width, tiling))
    windows = [_window(tile, size) for tile in cuts]
    started = time.monotonic()
    with scene.open(windows, torch.get_num_threads()) as reader:

        def read(tile: Tile) -> NDArray[np.uint8] | None:
            part = reader.read(_window(tile, size))
            shows = part[::16, ::16].max() > _DARK or part.max() > _DARK  # the first nearly always tells, for nothing
            return fill(part, tile) if shows else None

        boxes = detector.detect_tiles((size.height, size.width), cuts, read, gsd_m=facts.gsd_m)
        return Everything(tuple(boxes), scene.grid, len(cuts), time.monotonic() - started, reader.cost)


def _in_bands(cuts: Sequence[Tile]) -> list[Tile]:
    """Row by row inside bands of a few columns: what must be kept for the row below does not grow with the raster."""
    columns = {start: number for number, start in enumerate(sorted({tile.columns.start for tile in cuts}))}
    return sorted(cuts, key=lambda t: (columns[t.columns.start] // _BAND, t.rows.start, t.columns.start))


def _window(tile: Tile, size: PixelSize) -> Window:
    """The part of a tile that lies inside the picture."""
    rows, columns = tile.rows, tile.columns
    height, width = min(rows.stop, size.height) - rows.start, min(columns.stop, size.width) - columns.start
    return Window(columns.start, rows.start, width, height)


def scan_all(
    paths: Sequence[Path], detector: VehicleDetector, out: Path
) -> tuple[ScanSummary, list[dict[str, object]]]:
    """Scans whole scenes one after the other; OUT/NAME.vehicles.geojson each, or `out` itself where it is one .geojson.

    What fails for one scene is counted, logged and told in its row; the others go on.
    """
    summary, rows = ScanSummary(scenes=len(paths)), []
    for path in progress(paths, "scenes", len(paths), "scene"):
        target = out if out.suffix == ".geojson" else out / f"{path.stem}.vehicles.geojson"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = scan_everything(path, detector)
        except RasterRejectedError as error:
            summary += ScanSummary(windows=1, rejected={error.reason.value: 1}, scenes_rejected=1)
            said = str(error)
        except InvalidInputError as error:
            summary += ScanSummary(windows=1, failed=1)
            said = str(error)
        else:
            write_geojson(target, found, detector)
            summary += ScanSummary(windows=1, done=1, seconds=found.seconds, cost=found.cost)
            rows.append({"scene": str(path), "geojson": str(target), **found.as_dict()})
            continue
        log.warning("%s", said)
        rows.append({"scene": str(path), "problem": said})
    return summary, rows


def write_geojson(path: Path, found: Everything, detector: VehicleDetector) -> None:
    """One polygon for every vehicle, in longitude and latitude; whole or not at all."""
    rings = boxes_lonlat(found.boxes, found.grid)
    head = {"type": "FeatureCollection", "method": f"{detector.name}@{detector.model_sha256[:12]}", **found.as_dict()}
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1] + ', "features": [\n')
        for number, (box, ring) in enumerate(zip(found.boxes, rings.round(8).tolist(), strict=True)):
            properties = {
                "label": box.label, "confidence": round(box.confidence, 4),
                "length_m": round(box.length_px * detector.gsd_m, 2),
            }  # fmt: skip
            feature = {"type": "Feature", "properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}
            file.write((",\n" if number else "") + json.dumps(feature))
        file.write("\n]}\n")
    partial.replace(path)
