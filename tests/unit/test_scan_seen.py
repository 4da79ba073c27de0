"""What inspection found is remembered until the file changes; evidence of another outline is another file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from shapely.geometry import box

from collateral.domain import Quality, Site, SiteKind
from collateral.errors import ServiceError
from detection.evidence import write_evidence
from detection.locate import Located
from imagery.grid import GridSpec, PixelSize
from imagery.raster import RasterFacts, RasterRejectedError, inspect
from imagery.reader import Pixels, ReadCost
from imagery.scan import SiteWindow
from imagery.scenes import scene_of
from imagery.seen import SeenFiles
from imagery.target import site_targets, to_lonlat, to_utm

GRID = GridSpec(32651, Affine(0.5, 0.0, 300_000.0, 0.0, -0.5, 3_460_000.0), PixelSize(64, 48))


def write(path: Path, grey: int = 90, age_s: float = 60.0) -> Path:
    profile = {
        "driver": "GTiff", "width": 64, "height": 48, "count": 3, "dtype": "uint8", "crs": "EPSG:32651",
        "transform": GRID.affine,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(np.full((3, 48, 64), grey, np.uint8))
        dataset.update_tags(ACQUIRED_AT="2026-03-01T02:30:00Z")
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return path


class Counting:
    """The real inspection, counted."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def __call__(self, path: Path) -> RasterFacts:
        self.files.append(path.name)
        return inspect(path)


def test_an_unchanged_file_is_inspected_once(tmp_path: Path) -> None:
    path, counting = write(tmp_path / "s.tif"), Counting()
    with SeenFiles(tmp_path / "m" / "seen.sqlite", counting) as seen:
        first = seen.inspect(path)
    with SeenFiles(tmp_path / "m" / "seen.sqlite", counting) as seen:
        assert seen.inspect(path) == first == inspect(path)
        assert scene_of(seen.inspect(path)).record == scene_of(first).record
    assert counting.files == ["s.tif"]


def test_a_changed_file_is_inspected_again(tmp_path: Path) -> None:
    path, counting = write(tmp_path / "s.tif"), Counting()
    with SeenFiles(tmp_path / "seen.sqlite", counting) as seen:
        before = path.stat()
        first = seen.inspect(path)
        write(path, 120)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as some copying tools do
        assert seen.inspect(path).sha256 != first.sha256
        path.unlink()
        with pytest.raises(RasterRejectedError, match="not there"):
            seen.inspect(path)


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    path, counting = write(tmp_path / "s.tif", age_s=0.0), Counting()
    with SeenFiles(tmp_path / "seen.sqlite", counting) as seen:
        seen.inspect(path)
        seen.inspect(path)
    assert counting.files == ["s.tif", "s.tif"]


def test_refusals_are_remembered_and_a_damaged_memory_is_made_anew(tmp_path: Path) -> None:
    path, counting = write(tmp_path / "s.tif"), Counting()
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    os.utime(path, (1e9, 1e9))
    memory = tmp_path / "seen.sqlite"
    for _ in range(2):
        with SeenFiles(memory, counting) as seen, pytest.raises(RasterRejectedError) as refused:
            seen.inspect(path)
        assert refused.value.sha256 and refused.value.path == path
    assert counting.files == ["s.tif"]
    memory.write_bytes(b"not a database at all, but long enough to look like one" * 40)
    with SeenFiles(memory, counting) as seen, pytest.raises(RasterRejectedError):
        seen.inspect(path)


def test_another_outline_leaves_the_old_evidence_alone(tmp_path: Path) -> None:
    scene = scene_of(inspect(write(tmp_path / "s.tif")))
    outline = to_lonlat(box(300_004, 3_459_980, 300_026, 3_459_996), GRID.epsg)
    site = Site("F1", "B1", "厂", "Plant", SiteKind.FACTORY, "Asia/Shanghai", GRID.epsg, outline, False, None, None, None)
    pixels = Pixels(GRID, np.full((48, 64, 3), 90, np.uint8), np.ones((48, 64), np.bool_), ReadCost())
    found = [Located(to_utm(outline.centroid.buffer(1e-5), GRID.epsg), GRID.epsg, 0.9, "car", 4.5)]
    corrected = replace(site, geometry=shapely.affinity.scale(outline, 0.8, 0.8))
    first_target, second_target = site_targets([site], [])[0], site_targets([corrected], [])[0]
    window = SiteWindow(scene, first_target, pixels, 0.0, Quality.GOOD, datetime(2026, 3, 2, tzinfo=UTC), {})
    first = write_evidence(tmp_path, window, "vehicles@0123", found)
    kept = (tmp_path / first.picture).read_bytes()
    assert write_evidence(tmp_path, window, "vehicles@0123", found) == first
    second = write_evidence(tmp_path, replace(window, target=second_target), "vehicles@0123", found)
    assert second.picture != first.picture and second.geojson != first.geojson
    assert (tmp_path / first.picture).read_bytes() == kept
    assert len(list((tmp_path / "F1").iterdir())) == 4


def test_a_memory_that_cannot_be_opened_is_told_and_left_alone(tmp_path: Path) -> None:
    place = tmp_path / "seen.sqlite"
    place.mkdir()
    with pytest.raises(ServiceError, match=r"cannot be used .*make room on its disk"):
        SeenFiles(place)
    assert place.is_dir()


def test_what_cannot_be_remembered_is_read_all_the_same(tmp_path: Path) -> None:
    """As on a disk that filled up meanwhile."""
    path, place, counting = write(tmp_path / "s.tif"), tmp_path / "m" / "seen.sqlite", Counting()
    with SeenFiles(place, counting) as seen, closing(sqlite3.connect(place, isolation_level=None)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON seen BEGIN SELECT RAISE(ABORT, 'full'); END")
        assert seen.inspect(path) == seen.inspect(path) == inspect(path)
    assert counting.files == ["s.tif", "s.tif"]
