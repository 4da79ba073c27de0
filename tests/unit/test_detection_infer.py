"""The shipped detectors on rendered pictures of known content: right, the same across seams, and moved by their weights."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from data_samples.boxes_folder import random_scenes
from detection import infer
from detection.arrays import Floats, floats
from detection.infer import PanelSegmenter, SlotClassifier, VehicleDetector, rectify
from detection.metrics import iou, match
from detection.tiling import Tiling
from detection.weightfile import default_path, read_weights, write_weights


@pytest.fixture(scope="module")
def detector() -> VehicleDetector:
    return VehicleDetector.load()


@pytest.fixture(scope="module")
def yard() -> tuple[NDArray[np.uint8], Floats]:
    """A rendered factory at 0.15 m and the boxes of its vehicles."""
    _, rendered = next(random_scenes(4, (0.15,)))
    whole = [v for v in rendered.truth.vehicles if v.visible_fraction > 0.9]
    rings = [rendered.grid.ring(v.polygon) + 0.5 for v in whole]
    boxes = floats([[*ring.min(axis=0), *ring.max(axis=0)] for ring in rings])
    return rendered.image, boxes


def _array(found: list[infer.Box]) -> Floats:
    return floats([[b.x0, b.y0, b.x1, b.y1] for b in found]).reshape(-1, 4)


def test_vehicles_are_found_once_each(detector: VehicleDetector, yard: tuple[NDArray[np.uint8], Floats]) -> None:
    image, labels = yard
    found = detector.detect(image)
    boxes, scores = _array(found), floats([b.confidence for b in found])
    right = int((match(boxes, scores, labels, 0.3) >= 0).sum())
    assert right >= 0.75 * len(labels) and right >= 0.75 * len(found)
    overlap = iou(boxes, boxes) - np.eye(len(boxes), dtype=np.float32)
    assert overlap.max() < 0.46, "one vehicle reported twice"
    height, width = image.shape[:2]
    assert (boxes >= 0).all() and (boxes[:, [0, 2]] <= width).all() and (boxes[:, [1, 3]] <= height).all()
    assert scores.tolist() == sorted(scores.tolist(), reverse=True) and scores.min() >= detector.threshold


def test_seams_neither_double_nor_lose(
    detector: VehicleDetector, yard: tuple[NDArray[np.uint8], Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.median((yard[1][:, :2] + yard[1][:, 2:]) / 2, axis=0)
    left, top = (int(np.clip(v - 320, 0, size - 640)) for v, size in ((x, yard[0].shape[1]), (y, yard[0].shape[0])))
    image = np.ascontiguousarray(yard[0][top : top + 640, left : left + 640])
    whole = []
    for edge in (1024, 320):
        monkeypatch.setattr(infer, "WINDOW_TILING", Tiling(edge, 128))
        found = detector.detect(image, floor=0.3)
        whole.append((_array(found), floats([b.confidence for b in found])))
    (one, one_score), (many, many_score) = whole
    sure, sure_many = one_score > detector.threshold + 0.1, many_score > detector.threshold + 0.1
    assert sure.sum() > 0
    assert (iou(one[sure], many).max(axis=1) > 0.5).mean() >= 0.95
    assert (iou(many[sure_many], one).max(axis=1) > 0.5).mean() >= 0.95


def test_the_same_picture_is_run_once_and_a_changed_one_again(
    detector: VehicleDetector, yard: tuple[NDArray[np.uint8], Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.ascontiguousarray(yard[0][:320, :320])
    runs = []
    run = type(detector.runtime).__call__
    monkeypatch.setattr(
        type(detector.runtime), "__call__", lambda engine, batch: runs.append(batch.shape) or run(engine, batch)
    )
    few = detector.detect(image)
    many = detector.detect(image.copy(), floor=0.1)
    assert len(runs) == 1 and [b for b in many if b.confidence >= detector.threshold] == few
    detector.detect(image, gsd_m=0.3)
    image[100:200, 100:200] = 0
    detector.detect(image)
    assert len(runs) == 3


def test_other_weights_or_another_picture_change_the_answer(
    yard: tuple[NDArray[np.uint8], Floats], detector: VehicleDetector, tmp_path: Path
) -> None:
    image = np.ascontiguousarray(yard[0][:512, :512])
    state, card = read_weights(default_path("vehicles"), "vehicles")
    zeroed = tmp_path / "zero.safetensors"
    write_weights(zeroed, {key: torch.zeros_like(value) for key, value in state.items()}, card)
    blank = VehicleDetector.load(zeroed)
    assert blank.model_sha256 != detector.model_sha256
    assert len(blank.detect(image, floor=0.9)) == 0
    assert len(detector.detect(np.full((512, 512, 3), 110, np.uint8))) == 0


@pytest.mark.parametrize("shape", [(1, 1), (15, 300), (513, 20)])
def test_any_size_is_taken(detector: VehicleDetector, shape: tuple[int, int]) -> None:
    assert isinstance(detector.detect(np.full((*shape, 3), 100, np.uint8)), list)
    assert PanelSegmenter.load().segment(np.full((*shape, 3), 100, np.uint8)).shape == shape


def test_wrong_arrays_are_refused(detector: VehicleDetector) -> None:
    with pytest.raises(InvalidInputError, match="rows x columns x 3"):
        detector.detect(np.zeros((10, 10), np.uint8))
    with pytest.raises(InvalidInputError, match="float64"):
        detector.detect(np.zeros((10, 10, 3)))  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="N x 64 x 64 x 3"):
        SlotClassifier.load().classify(np.zeros((2, 32, 64, 3), np.uint8), ["rack"] * 2)
    with pytest.raises(InvalidInputError, match="one kind per chip"):
        SlotClassifier.load().classify(np.zeros((2, 64, 64, 3), np.uint8), ["rack"])


def test_weights_of_another_network_are_refused_with_a_remedy(tmp_path: Path) -> None:
    state, card = read_weights(default_path("slots"), "slots")
    former = {**state, "head.3.weight": state["head.3.weight"][:1], "head.3.bias": state["head.3.bias"][:1]}
    write_weights(tmp_path / "former.safetensors", former, card)
    with pytest.raises(InvalidInputError, match=r"do not fit the slots network(?s:.*)Train them anew"):
        SlotClassifier.load(tmp_path / "former.safetensors")


def test_no_chips_no_answers() -> None:
    assert SlotClassifier.load().classify(np.zeros((0, 64, 64, 3), np.uint8), []).shape == (0,)


def test_panels_are_seen_where_they_are() -> None:
    ground = cv2.GaussianBlur(np.random.default_rng(0).integers(120, 170, (256, 256, 3), dtype=np.uint8), (0, 0), 2)
    image = ground.astype(np.uint8)
    for row in range(4):
        for column in range(8):
            y, x = 80 + row * 9, 70 + column * 6
            image[y : y + 8, x : x + 5] = (28, 36, 62)
    probability = PanelSegmenter.load().segment(image)
    assert probability[84:112, 74:114].mean() > 0.6 > 0.2 > probability[150:, :].mean()


def test_rectify_turns_the_slot_upright() -> None:
    image = np.full((200, 200, 3), 50, np.uint8)
    centre, along = np.array([100.0, 90.0]), np.array([np.cos(0.6), np.sin(0.6)])
    across = np.array([-along[1], along[0]])
    corners = [centre + a * along * 30 + b * across * 12 for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    cv2.fillPoly(image, [np.round(np.array(corners) - 0.5).astype(np.int32)], (220, 220, 220))
    cv2.circle(image, (100, 90), 4, (0, 0, 0), -1)
    chip = rectify(image, [(float(x), float(y)) for x, y in corners])
    assert chip.shape == (64, 64, 3)
    assert chip[2:62, 2:62].min(axis=2)[np.abs(np.arange(60) - 30) > 9].mean() > 200
    assert chip[28:36, 26:38].mean() < 80
    swapped = rectify(image, [(float(x), float(y)) for x, y in [*corners[1:], corners[0]]])
    gaps = [np.abs(other.astype(int) - swapped.astype(int)).mean() for other in (chip, chip[::-1, ::-1])]
    assert min(gaps) < 6


def test_rectify_refuses_what_has_no_area() -> None:
    picture = np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(InvalidInputError, match="at least three"):
        rectify(picture, [(0, 0), (1, 1)])
    with pytest.raises(InvalidInputError, match="no area"):
        rectify(picture, [(0, 0), (4, 4), (8, 8)])
