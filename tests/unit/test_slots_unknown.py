"""Slots: what cannot be seen or told is unknown with its reason, and is not among the usable ones."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detection.dataset import Chip
from detection.infer import SlotClassifier, rectify
from detection.models.slots import CLASSES, occupied_logits
from detection.rectify import upright
from detection.slot_recipe import class_of
from detection.slots import read_slots, unknown_by_reason

Corners = list[tuple[float, float]]
BAYS: dict[str, Corners] = {
    "left": [(10, 10), (27, 10), (27, 45), (10, 45)], "middle": [(40, 10), (57, 10), (57, 45), (40, 45)],
    "right": [(70, 10), (87, 10), (87, 45), (70, 45)],
}  # fmt: skip
KINDS = {"left": "yard_bay", "middle": "parking_bay", "right": "rack"}


def yard() -> NDArray[np.uint8]:
    ground = np.random.default_rng(3).normal(110, 6, (60, 100, 1)) + np.zeros(3)
    return np.clip(ground, 0, 255).astype(np.uint8)


def test_hidden_flat_and_coarse_slots_are_unknown_and_the_others_are_not() -> None:
    classifier = SlotClassifier.load()
    picture, valid = yard(), np.ones((60, 100), np.bool_)
    valid[:, 45:] = False
    valid[:, 65:] = True
    picture[:, 65:] = 255
    rows = {row.slot_id: row for row in read_slots(picture, valid, BAYS, KINDS, classifier)}
    assert {k: row.reason for k, row in rows.items()} == {"left": "", "middle": "hidden", "right": "flat"}
    assert rows["left"].label == "empty"
    assert rows["middle"].label == rows["right"].label == "unknown"
    assert unknown_by_reason(list(rows.values())) == {"hidden": 1, "flat": 1}
    coarse = read_slots(picture, valid, BAYS, KINDS, classifier, coarser=4.0)
    assert {row.reason for row in coarse} == {"coarse"}


def test_answers_between_the_limits_of_the_card_are_not_given() -> None:
    classifier = SlotClassifier.load()
    config = {**classifier.card.config, "unknown_above": 0.0, "unknown_below": 1.0}
    classifier.card = replace(classifier.card, config=config)
    rows = read_slots(yard(), np.ones((60, 100), np.bool_), BAYS, KINDS, classifier)
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
    rows = read_slots(yard(), np.ones((60, 100), np.bool_), {"line": line}, {"line": "yard_bay"}, SlotClassifier.load())
    assert rows[0].reason == "coarse"


def test_goods_are_hardly_expected_on_a_parking_bay_and_vehicles_anywhere() -> None:
    empty, vehicle, goods = np.log(np.array([[0.9, 0.05, 0.05], [0.1, 0.85, 0.05], [0.2, 0.05, 0.75]], np.float32))
    logits = np.stack([empty, vehicle, goods])
    for kind, occupied in (
        ("yard_bay", [False, True, True]),
        ("rack", [False, True, True]),
        ("parking_bay", [False, True, False]),
    ):
        assert (occupied_logits(logits, [kind] * 3) > 0).tolist() == occupied
    assert occupied_logits(logits, ["yard_bay"] * 3) == pytest.approx(np.log([0.1 / 0.9, 0.9 / 0.1, 0.8 / 0.2]), abs=1e-5)
    mixed = occupied_logits(logits[[2, 2]], ["parking_bay", "yard_bay"])
    assert mixed[0] == pytest.approx(np.log((0.05 + 0.02 * 0.75) / 0.2), abs=1e-5) and mixed[1] > 0


def test_what_stands_on_a_slot_is_a_class_of_its_own() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    rows = [(0, ""), (0, "timber"), (1, ""), (1, "car"), (1, "vehicle"), (1, "truck"), (1, "coils")]
    classes = [CLASSES[class_of(Chip("a", 0.1, picture, label, goods=goods))] for label, goods in rows]
    assert classes == ["empty", "empty", *["vehicle"] * 4, "goods"]


def test_the_kind_of_a_slot_decides_in_a_scan() -> None:
    """One picture, two kinds: of boxes in a row the classifier is less sure on a parking bay."""
    picture = np.full((60, 100, 3), 110, np.uint8)
    for top in (14, 25, 36):
        picture[top : top + 8, 13:25] = (200, 170, 120)
    valid, left = np.ones((60, 100), np.bool_), {"left": BAYS["left"]}
    on = {
        kind: read_slots(picture, valid, left, {"left": kind}, SlotClassifier.load())[0].probability
        for kind in ("yard_bay", "parking_bay")
    }
    assert on["yard_bay"] is not None and on["parking_bay"] is not None
    assert on["parking_bay"] < on["yard_bay"]
