"""The parts of `bench scan` that decide its figures: agreement, slices, speeds, the scene and the mosaic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scan_scene
from benchmarks.scan import _speeds, agreement, tile_of
from benchmarks.scan_sahi import slices_along
from detection.arrays import Floats, floats
from detection.everything import WHOLE_TILING
from imagery.whole import inspect_whole

BOXES = floats([[0, 0, 10, 10, 0.9], [50, 50, 60, 62, 0.8], [90, 0, 99, 9, 0.4]])


def moved(boxes: Floats, by: float) -> Floats:
    return floats(boxes + floats([by, by, by, by, 0.0]))


def test_agreement_looks_at_sure_boxes_of_both_sides_and_anything_of_the_other() -> None:
    assert agreement(BOXES, moved(BOXES, 1.0), 0.5) == 1.0
    assert agreement(BOXES, moved(BOXES, 6.0), 0.5) == 0.0
    assert agreement(BOXES, BOXES[:1], 0.5) == pytest.approx(2 / 3, abs=1e-4)
    weak = BOXES.copy()
    weak[1, 4] = 0.3
    assert agreement(BOXES, weak, 0.5) == 1.0, "less sure of the same object is no disagreement"
    assert agreement(BOXES[:0], BOXES[:0], 0.5) == 1.0


@given(st.integers(200, 70_000), st.sampled_from([512, 1024, 2976, 3072]))
def test_slices_cover_a_side_with_the_overlap_that_sahi_takes(length: int, edge: int) -> None:
    count = slices_along(length, edge)
    starts = [0]
    while starts[-1] + edge < length:  # as sahi.slicing.get_slice_bboxes steps
        starts.append(min(starts[-1] + edge - int(edge * 0.2), length - edge))
    assert count == len(starts)


def test_ratios_are_taken_inside_a_round() -> None:
    def found(speed: float) -> dict[str, object]:
        return {"megapixels": 100.0, "seconds": 100 / speed, "cpu_s": 10.0, "way": "autocast"}

    slow, fast = (
        {"scan": found(f), "forward": found(1.1 * f), "torch": found(f / 3), "mobilenet": found(f / 2)} for f in (5.0, 20.0)
    )
    figures = _speeds([slow, fast, fast], 2.0)
    assert figures["ratio_to_forward"] == pytest.approx(1 / 1.1, abs=1e-3)
    assert (figures["ratio_to_torch"], figures["ratio_to_mobilenet"]) == (3.0, 2.0)
    assert figures["megapixels_per_s"] == 20.0 and figures["ratio_to_sahi"] == 2.5


def test_tiles_of_the_bench_are_those_of_the_scan() -> None:
    assert [tile_of(edge) for edge in (20_000, 60_000)] == [3440, 3456] and WHOLE_TILING.edge == 3456


def test_the_scene_is_made_once_and_the_mosaic_joins_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_scene, "_SITES", 1)
    scene = scan_scene.bench_scene(tmp_path, 2000)
    made = scene.stat().st_mtime_ns
    assert scan_scene.bench_scene(tmp_path, 2000).stat().st_mtime_ns == made
    facts = inspect_whole(scan_scene.bench_mosaic(scene, 2000, 3))
    assert (facts.size.width, facts.size.height) == (6000, 6000)
    with rasterio.open(facts.path) as mosaic, rasterio.open(scene) as dataset:
        assert dataset.profile["compress"] == "jpeg" and dataset.block_shapes[0] == (512, 512)
        told = mosaic.read(1, window=rasterio.windows.Window(2000, 2000, 2000, 2000))
        assert np.array_equal(told, dataset.read(1)) and told.std() > 10
        assert not mosaic.read(1, window=rasterio.windows.Window(0, 2000, 2000, 2000)).any()
