"""After training: what finishing measures on pictures that were kept out, and what the card then gives back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_samples.boxes_folder import write_boxes_folder
from detection.arrays import floats
from detection.calibration import calibrator_of
from detection.counting import ANY, HEAVY, rows_of
from detection.dataset import Chip, LabelledImage, MaskedImage, read_boxes_folder
from detection.evaluate import interval_coverage, matched
from detection.finish import Provenance, area_spread, finish_panels, finish_slots, finish_vehicles
from detection.infer import Box, PanelSegmenter, VehicleDetector
from detection.weightfile import default_path, read_card, read_weights

ORIGIN = Provenance("trial", 1, {"steps": 1}, ({"source": "s", "licence": "l", "pictures": 1, "objects": 1},), "kept out")


def test_vehicles_are_finished_with_calibration_threshold_and_recall_by_distance(tmp_path: Path) -> None:
    write_boxes_folder(tmp_path / "v", 5, 31, (0.15,))
    items = read_boxes_folder(tmp_path / "v", "train")
    state, old = read_weights(default_path("vehicles"), "vehicles")
    out = tmp_path / "trial.safetensors"
    card = finish_vehicles(state, ORIGIN, out, old.gsd_m, items)
    assert read_card(out) == card and 0 < card.threshold < 1 and card.sha256 == old.sha256
    rows = rows_of(card)
    assert {row.label for row in rows} == {ANY} and [row.gsd_m for row in rows] == [0.15, 0.3]
    assert all(row.recall95[0] <= row.recall <= row.recall95[1] for row in rows)
    assert all(row.label in (ANY, HEAVY) for row in rows_of(card, HEAVY))
    detector = VehicleDetector.load(out)
    item = items[0]
    found = matched(item, detector.detect(item.image, 0.02, item.gsd_m), item.image, detector.gsd_m, None)
    raw = matched(item, VehicleDetector.load().detect(item.image, 0.02), item.image, detector.gsd_m, None)
    shared = min(len(found.confidence), len(raw.confidence), 3)
    assert calibrator_of(card) != calibrator_of(old) or found.confidence[:shared] == pytest.approx(raw.confidence[:shared])
    coverage = interval_coverage([found], card.threshold, card)["corrected_count"]
    assert isinstance(coverage, dict) and set(coverage) == {"picture", "group"}
    assert interval_coverage([found], 0.5, old) == {} or old.counting


def test_slots_and_panels_are_finished(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    chips = [Chip(str(i), 0.3, rng.integers(90, 150, (64, 64, 3), dtype=np.uint8), i % 2, f"g{i % 4}") for i in range(12)]
    state, old = read_weights(default_path("slots"), "slots")
    card = finish_slots(state, ORIGIN, tmp_path / "s.safetensors", old.gsd_m, chips)
    assert card.calibrator["groups"] == 4 and 0 < float(str(card.config["held_out_error"])) < 1
    other = {key: value + 0.5 if key == "head.3.bias" else value for key, value in state.items()}
    more = [replace(chip, group=f"h{i}") for i, chip in enumerate(chips)]
    with_fold = finish_slots(state, ORIGIN, tmp_path / "s.safetensors", old.gsd_m, chips, [(other, more)])
    assert with_fold.sha256 == card.sha256, "the weights are those taught with all"
    assert with_fold.calibrator["groups"] == 16 and with_fold.calibration != card.calibration
    state, old = read_weights(default_path("panels"), "panels")
    masks = [MaskedImage(str(i), 0.2, chip.image, np.ones((64, 64), np.bool_)) for i, chip in enumerate(chips[:5])]
    card = finish_panels(state, ORIGIN, tmp_path / "p.safetensors", old.gsd_m, chips, masks)
    assert 0 < float(str(card.config["presence_threshold"])) < 1 and card.config["presence_calibrator"]
    spread = float(str(card.config["area_spread"]))
    segmenter = PanelSegmenter.load(tmp_path / "p.safetensors")
    found = [segmenter.segment(item.image) for item in masks]
    assert spread == pytest.approx(area_spread(found, masks, card.threshold))
    assert 0 < spread <= 1, "no panel was found where all is labelled panel"


def test_boxes_return_to_the_pixels_of_the_picture() -> None:
    image, none = np.full((200, 240, 3), 90, np.uint8), np.zeros((0, 4), np.float32)
    labels = floats([[40, 60, 70, 74]])
    item = LabelledImage("a", "s", "g", 0.15, image, labels, none, floats([[55, 67, 30, 14, 0.0]]))
    x0, y0, x1, y1 = (float(v) / 2 for v in item.boxes[0])
    small = np.ascontiguousarray(item.image[::2, ::2])
    found = matched(item, [Box(x0, y0, x1, y1, 0.9, "car", 15.0)], small, 0.3, 0.3)
    assert found.right50.tolist() == [True] and found.taken.tolist() == [0] and found.gsd_m == 0.3
    assert found.boxes[0] == pytest.approx(item.boxes[0], abs=0.6) and found.length_m[0] == pytest.approx(4.5)
