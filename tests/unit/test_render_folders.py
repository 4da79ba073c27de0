"""Training folders of rendered scenes, and evaluation on scenes with truth."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from shapely.ops import unary_union

from collateral.errors import InvalidInputError
from data_samples.boxes_folder import random_scenes, write_boxes_folder, write_slots_folder
from data_samples.layout import make_layout
from data_samples.render import render_scene
from data_samples.render_masks import write_masks_folder
from data_samples.scene_model import SceneState
from data_samples.series import write_series
from detection.dataset import read_boxes_folder, read_masks_folder, read_slots_folder
from detection.evaluate_scenes import SceneDetectors, evaluate_scenes, read_truth, slot_changes
from detection.infer import SlotClassifier, VehicleDetector
from detection.stock import StockSegmenter
from detection.weightfile import default_path, read_card


def test_boxes_folder_can_be_read_and_is_seeded(tmp_path: Path) -> None:
    boxes = write_boxes_folder(tmp_path / "a", 8, 2, (0.3,))
    items = read_boxes_folder(tmp_path / "a", "train")
    assert len(items) == 8 and sum(len(item.boxes) for item in items) == boxes > 8
    for item in items:
        assert item.source == "rendered" and item.gsd_m == 0.3
        assert item.boxes.min(initial=0.0) >= -0.01 and item.boxes.max(initial=0.0) <= 512.01
        sizes = item.boxes[:, 2:] - item.boxes[:, :2]
        assert (sizes > 1).all()
        assert len(item.oriented) == len(item.boxes)
        if len(item.oriented):
            assert (item.oriented[:, 2] >= item.oriented[:, 3]).all()
    write_boxes_folder(tmp_path / "b", 8, 2, (0.3,))
    again = read_boxes_folder(tmp_path / "b", "train")
    assert all(np.array_equal(one.image, two.image) for one, two in zip(items, again, strict=True))


def test_slots_folder_is_balanced_and_splits_by_site(tmp_path: Path) -> None:
    assert write_slots_folder(tmp_path, 24, 4, (0.15,)) == (12, 12)
    chips = read_slots_folder(tmp_path, "train")
    assert {chip.label for chip in chips} == {0, 1}
    assert all(chip.image.shape == (64, 64, 3) for chip in chips)
    with (tmp_path / "index.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["name"].split("/")[1].split("_")[0], set()).add(row["split"])
    assert all(len(split) == 1 for split in splits.values())


def _scene(folder: Path, name: str, cars: int) -> None:
    """The parking lot and the storage bays beside it: a small picture, because a detector looks at it."""
    layout = make_layout("W9", "warehouse", 120.6, 31.3, 7)
    bays = unary_union([slot.polygon for slot in layout.slots_of("parking_bay")])
    layout = replace(layout, boundary=bays.convex_hull.buffer(12.0))
    state = SceneState(datetime(2025, 5, 12, 3, 30, tzinfo=UTC), 0.3, cars=cars, heavy=2, seed=5, haze=0.05)
    shut = {slot.slot_id: "container" for slot in layout.slots_of("yard_bay")[:10]}
    render_scene([layout], [replace(state, occupied=shut)], folder / name, margin_m=0.0)  # type: ignore[arg-type]


def test_scenes_are_measured_against_their_truth(tmp_path: Path) -> None:
    _scene(tmp_path, "one.tif", 18)
    tools = SceneDetectors(VehicleDetector.load(), slots=(slots := SlotClassifier.load()), real=SceneDetectors(slots=slots))
    figures = evaluate_scenes(tmp_path, tools)
    assert {"count_error", "heavy_f1", "length_error_m", "panel_area_error", "slot_accuracy"} <= set(figures)
    assert {"stock_cover_error", "change"} <= set(figures)
    good = figures["f1_iou30"]
    assert isinstance(good, float) and good > 0.4
    row = figures["without_rendered"]
    assert isinstance(row, dict) and (row["vehicles"], row["panels"]) == (None, None)
    assert {key: row["slots"][key] for key in ("slots", "slot_accuracy")} == {
        key: figures[key] for key in ("slots", "slot_accuracy")
    }
    assert row["slots"]["slots"] > 20
    assert row["note"].startswith("slots-real never saw a rendered picture; not here: vehicles-real, panels-real; goods")
    assert figures["model_sha256"]["slots-real"] == slots.model_sha256  # type: ignore[index]
    path = tmp_path / "one.truth.json"
    truth = orjson.loads(path.read_bytes())
    for vehicle in truth["vehicles"]:
        ring = vehicle["polygon"]["coordinates"][0]
        vehicle["polygon"]["coordinates"] = [[[x + 30.0, y + 30.0] for x, y in ring]]
    path.write_bytes(orjson.dumps(truth))
    wrong = evaluate_scenes(tmp_path, replace(tools, slots=None, real=None))
    assert isinstance(wrong["f1_iou30"], float) and wrong["f1_iou30"] < 0.5 * good
    assert wrong["slot_accuracy"] is None and wrong["f1_iou30_real_only"] is None


def test_weights_named_real_are_measured_when_they_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SceneDetectors.shipped_real().sha256()["vehicles"] == read_card(default_path("vehicles-real")).sha256
    for suffix in (".safetensors", ".json"):
        shutil.copy(default_path("panels").with_suffix(suffix), tmp_path / f"panels-real{suffix}")
    monkeypatch.setattr("detection.weightfile.FOLDER", tmp_path)
    assert set(SceneDetectors.shipped_real().sha256()) == {"panels"}


def test_missing_or_mismatched_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="truth"):
        evaluate_scenes(tmp_path)
    _scene(tmp_path, "one.tif", 2)
    path = tmp_path / "one.truth.json"
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"width": 7}))
    with pytest.raises(InvalidInputError, match="pixels"):
        read_truth(path)


def test_slot_changes_count_direction_and_false_ones() -> None:
    history = {
        "a": [("2025-01-01", False, False), ("2025-02-01", True, True)],
        "b": [("2025-02-01", False, True), ("2025-01-01", True, True)],
        "c": [("2025-01-01", True, True), ("2025-02-01", True, False)],
    }
    changes = slot_changes(history)
    assert (changes.objects, changes.predicted, changes.right) == (2, 2, 1)


def test_masks_lie_on_the_panels(tmp_path: Path) -> None:
    plants = random_scenes(3, (0.3,), ("solar",))
    assert write_masks_folder(tmp_path, plants, 5, 3) >= 4
    items = read_masks_folder(tmp_path, "train")
    assert len(items) == 5
    for item in items:
        if item.mask.mean() > 0.02:
            excess_blue = item.image[..., 2].astype(float) - item.image[..., 0]
            near = cv2.dilate(item.mask.astype(np.uint8), np.ones((13, 13))) > 0
            assert excess_blue[item.mask].mean() > excess_blue[near & ~item.mask].mean() + 8


def test_series_of_new_sites_are_measured_in_time(tmp_path: Path) -> None:
    report = write_series(tmp_path, 5, sites=1, dates=3)
    assert (report.scenes, len(list(tmp_path.glob("*.tif")))) == (3, 3)
    vehicles, stock = VehicleDetector.load(cache=tmp_path / "m"), StockSegmenter.load(cache=tmp_path / "m")
    figures = evaluate_scenes(tmp_path, SceneDetectors(vehicles, stock=stock))
    error, kinds = figures["stock_cover_error"], figures["change"]
    assert isinstance(error, float) and 0 <= error < 10
    assert isinstance(kinds, dict) and {"stock", "vehicles", "roof", "construction"} <= set(kinds)
    assert figures["change_pairs"] == 2 and figures["scenes_refused"] == {}
