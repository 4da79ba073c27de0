"""Training pictures: labels stay on their objects through turning, scaling and pasting."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detection import vehicle_recipe
from detection.arrays import floats
from detection.augment import photometric
from detection.dataset import Chip, LabelledImage
from detection.orient import bounds, corners
from detection.slot_bays import without_margin
from detection.slot_recipe import SlotTask
from detection.vehicle_recipe import (
    CROP,
    HELD_OUT,
    LAND_USE_LABELS,
    Pool,
    VehicleTask,
    land_use_vehicles,
    view,
)


def _street(source: str = "drone") -> LabelledImage:
    """Grey ground with two white turned rectangles as vehicles."""
    image = np.full((300, 300, 3), 90, np.uint8)
    oriented = floats([[100, 100, 45, 18, 0.5], [200, 180, 80, 25, -1.0]])
    for points in corners(oriented):
        cv2.fillPoly(image, [np.round(points - 0.5).astype(np.int32)], (255, 255, 255))
    return LabelledImage("s", source, "g", 0.1, image, bounds(corners(oriented)), np.zeros((0, 4), np.float32), oriented)


@pytest.mark.parametrize("seed", range(8))
def test_labels_follow_the_vehicles(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vehicle_recipe, "_COVERED", 0.0)  # a roof may be as white as these vehicles
    patch, boxes, shape, ignore = view(_street(), 200, 200, np.random.default_rng(seed))
    white = (patch.min(axis=2) > 235).astype(np.uint8)
    for x0, y0, x1, y1 in np.concatenate([boxes, ignore]).astype(int):
        white[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = 0
    assert white.sum() == 0, "white pixels outside all labels"
    for (x0, y0, x1, y1), (length, _) in zip(boxes, shape, strict=True):
        inside = patch[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].min(axis=2) > 200
        assert inside.mean() > 0.25
        assert np.isnan(length) or length >= 0.95 * max(x1 - x0, y1 - y0) * 0.7


def test_what_the_frame_cuts_is_ground_where_labels_leave_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vehicle_recipe, "_COVERED", 0.0)
    labelled = {"drone": 0, "kit": 0}
    for seed in range(60):
        for source in labelled:
            patch, boxes, _, ignore = view(_street(source), 160, 160, np.random.default_rng(seed))
            touching = (boxes[:, :2] < 1).any(axis=1) | (boxes[:, 2:] > 159).any(axis=1)
            labelled[source] += int(touching.sum())
            if source == "kit":
                white = patch.min(axis=2) > 235
                for x0, y0, x1, y1 in np.concatenate([boxes, ignore]).astype(int):
                    white[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = False
                rows, columns = np.nonzero(white)
                assert len(rows) == 0 or min(rows.min(), columns.min(), 159 - rows.max(), 159 - columns.max()) <= 1
    assert labelled["drone"] > 3 * labelled["kit"]


def test_samples_have_the_documented_shapes_and_repeat_with_the_seed() -> None:
    task = VehicleTask((Pool(1.0, (_street(),)),))
    picture, target = task.sample(np.random.default_rng([1, 2]))
    again, _ = task.sample(np.random.default_rng([1, 2]))
    assert picture.shape == (3, CROP, CROP) and picture.dtype == torch.uint8
    assert target.shape == (10, CROP // 4, CROP // 4) and torch.equal(picture, again)


def test_margin_moves_labels_with_the_picture() -> None:
    before, after = _street(), without_margin(_street())
    assert after.image.shape[0] == before.image.shape[0] - 60
    x0, y0, x1, y1 = after.boxes[0].astype(int)
    assert after.image[(y0 + y1) // 2, (x0 + x1) // 2].min() == 255
    assert np.array_equal(after.oriented[:, :2] + 30, before.oriented[:, :2])


def test_photometric_keeps_shape_and_type() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    for seed in range(40):
        changed = photometric(picture, np.random.default_rng(seed))
        assert changed.shape == picture.shape and changed.dtype == np.uint8


def test_slot_samples_draw_both_classes() -> None:
    chips = tuple(Chip(str(i), 0.0, np.full((80, 40, 3), 40 + 60 * (i % 3), np.uint8), int(i == 0)) for i in range(6))
    labels = [float(SlotTask(chips).sample(np.random.default_rng(k))[1]) for k in range(60)]
    assert 0.3 < float(np.mean(labels)) < 0.7


def test_own_labels_are_read_as_turned_rectangles_and_held_out_by_place(tmp_path: Path) -> None:
    for name in ("parkinglot03", "parkinglot27"):
        (tmp_path / "parkinglot").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "parkinglot" / f"{name}.png"), np.full((64, 64, 3), 90, np.uint8))
    table = tmp_path / "labels.csv"
    table.write_text(
        "picture,use,cx,cy,length,width,heading\n"
        "parkinglot/parkinglot03,vehicle,20,30,16,6,0\n"
        "parkinglot/parkinglot03,ignore,50,50,8,8,0\n"
        "parkinglot/parkinglot27,none,,,,,\n"
    )
    busy, empty = land_use_vehicles(tmp_path, table)
    assert busy.boxes.tolist() == [[12, 27, 28, 33]] and busy.ignore.tolist() == [[46, 46, 54, 54]]
    assert len(empty.boxes) == 0 and empty.group in HELD_OUT and busy.group not in HELD_OUT


def test_shipped_own_labels_are_complete() -> None:
    rows = LAND_USE_LABELS.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "picture,use,cx,cy,length,width,heading"
    uses = [row.split(",")[1] for row in rows[1:]]
    assert set(uses) <= {"vehicle", "ignore", "none"} and uses.count("vehicle") > 500
