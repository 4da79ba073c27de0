"""Slots: what cannot be seen or told is unknown with its reason, and is not among the usable ones."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detection.infer import SlotClassifier, rectify
from detection.rectify import upright
from detection.slot_recipe import covered, intruded, marked
from detection.slots import read_slots, unknown_by_reason

Corners = list[tuple[float, float]]
BAYS: dict[str, Corners] = {
    "left": [(10, 10), (27, 10), (27, 45), (10, 45)], "middle": [(40, 10), (57, 10), (57, 45), (40, 45)],
    "right": [(70, 10), (87, 10), (87, 45), (70, 45)],
}  # fmt: skip


def yard() -> NDArray[np.uint8]:
    ground = np.random.default_rng(3).normal(110, 6, (60, 100, 1)) + np.zeros(3)
    return np.clip(ground, 0, 255).astype(np.uint8)


def test_hidden_flat_and_coarse_slots_are_unknown_and_the_others_are_not() -> None:
    classifier = SlotClassifier.load()
    picture, valid = yard(), np.ones((60, 100), np.bool_)
    valid[:, 45:] = False
    valid[:, 65:] = True
    picture[:, 65:] = 255
    rows = {row.slot_id: row for row in read_slots(picture, valid, BAYS, classifier)}
    assert {k: row.reason for k, row in rows.items()} == {"left": "", "middle": "hidden", "right": "flat"}
    assert rows["left"].label == "empty"
    assert rows["middle"].label == rows["right"].label == "unknown"
    assert unknown_by_reason(list(rows.values())) == {"hidden": 1, "flat": 1}
    coarse = read_slots(picture, valid, BAYS, classifier, coarser=4.0)
    assert {row.reason for row in coarse} == {"coarse"}


def test_answers_between_the_limits_of_the_card_are_not_given() -> None:
    classifier = SlotClassifier.load()
    config = {**classifier.card.config, "unknown_above": 0.0, "unknown_below": 1.0}
    classifier.card = replace(classifier.card, config=config)
    rows = read_slots(yard(), np.ones((60, 100), np.bool_), BAYS, classifier)
    assert {row.label for row in rows} == {"unknown"}
    assert {row.reason for row in rows} == {"unsure"}
    assert all(row.probability is not None for row in rows)


@pytest.mark.parametrize("degrees", [0, 31, 77, 120])
def test_slot_of_any_orientation_is_cut_out_upright(degrees: int) -> None:
    """A slot with one bright end: the chip has it at one end of its rows, whatever the turn."""
    picture = np.full((120, 120, 3), 60, np.uint8)
    box = cv2.boxPoints(((60.0, 60.0), (30.0, 50.0), float(degrees)))
    cv2.fillPoly(picture, [box.astype(np.int32)], (120, 120, 120))
    corners = [box[1], box[2], (box[2] + box[3]) / 2, (box[0] + box[1]) / 2]
    cv2.fillPoly(picture, [np.array(corners).astype(np.int32)], (230, 230, 230))
    chip = rectify(picture, [(float(x), float(y)) for x, y in box]).mean(axis=2)
    place = upright([(float(x), float(y)) for x, y in box])
    profile = sorted([float(chip[8:24].mean()), float(chip[40:56].mean())])
    sides = sorted([float(chip[:, 8:24].mean()), float(chip[:, 40:56].mean())])
    assert (place.width, place.length) == (pytest.approx(30, abs=0.1), pytest.approx(50, abs=0.1))
    assert max(profile[1] - profile[0], sides[1] - sides[0]) > 90


def test_slot_without_area_is_unknown() -> None:
    line: Corners = [(10, 10), (20, 10), (30, 10)]
    rows = read_slots(yard(), np.ones((60, 100), np.bool_), {"line": line}, SlotClassifier.load())
    assert rows[0].reason == "coarse"


def test_training_changes_keep_shape_and_most_of_the_slot() -> None:
    chip = np.full((64, 64, 3), 120, np.uint8)
    other = np.full((64, 64, 3), 10, np.uint8)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        for changed, most in ((intruded(chip, other, rng), 0.21), (covered(chip, rng), 0.27), (marked(chip, rng), 1.0)):
            assert changed.shape == chip.shape
            assert changed.dtype == np.uint8
            assert 0 < float((np.abs(changed.astype(int) - 120).max(axis=2) > 0).mean()) <= most
