"""Measures detectors on labelled folders: what `collateral evaluate` prints and the model cards keep.

A picture is resampled from its own grid to the detector's (through `gsd_m` where a coarser camera is to be simulated), so
the figures include what resampling costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.arrays import floats
from detection.dataset import (
    Chip,
    LabelledImage,
    MaskedImage,
    Picture,
    read_boxes_folder,
    read_chips_folder,
    read_masks_folder,
    read_slots_folder,
    resample,
)
from detection.infer import PanelSegmenter, SlotClassifier, VehicleDetector
from detection.metrics import Counted, binary_scores, calibration_error, match, undecided, wilson
from detection.models.slots import CHIP
from detection.presence import presence

SUBFOLDERS = {"vehicles": "vehicles", "solar-chips": "solar_chips", "panels": "panels", "slots": "slot_occupancy"}
"""Where each data set lies below COLLATERAL_DATA."""
_FLOOR = 0.02
"""Detections below this confidence are not looked at (also not for the calibration error)."""


@dataclass(frozen=True)
class Findings:
    """What a detector said about one labelled picture, strongest first, ignore regions already taken out."""

    item: LabelledImage
    confidence: NDArray[np.float32]
    right30: NDArray[np.bool_]
    right50: NDArray[np.bool_]
    length_m: NDArray[np.float32]

    def counted(self, threshold: float, strict: bool = False) -> Counted:
        """Counts at a threshold; `strict` asks for IoU 0.5."""
        chosen = self.confidence >= threshold
        right = int((self.right50 if strict else self.right30)[chosen].sum())
        predicted, objects = int(chosen.sum()), len(self.item.boxes)
        return Counted(1, objects, predicted, right, abs(predicted - objects))


def to_grid(image: Picture, gsd_m: float, model_gsd_m: float, seen_at_m: float | None) -> Picture:
    """Resamples a picture of `gsd_m` to `model_gsd_m`, first to `seen_at_m` where given."""
    if seen_at_m is not None:
        image = resample(image, gsd_m / seen_at_m)
        gsd_m = seen_at_m
    return resample(image, gsd_m / model_gsd_m)


def find(detector: VehicleDetector, item: LabelledImage, seen_at_m: float | None = None) -> Findings:
    """Runs the detector on one labelled picture and matches. Matching at lower confidence never changes a higher one's."""
    picture = to_grid(item.image, item.gsd_m, detector.gsd_m, seen_at_m)
    back = floats([item.image.shape[1] / picture.shape[1], item.image.shape[0] / picture.shape[0]])
    found = detector.detect(picture, floor=_FLOOR)
    boxes = np.array([[b.x0, b.y0, b.x1, b.y1] for b in found], np.float32).reshape(-1, 4) * np.tile(back, 2)
    confidence = np.array([b.confidence for b in found], np.float32)
    taken30 = match(boxes, confidence, item.boxes, 0.3)
    keep = (taken30 >= 0) | ~undecided(boxes, item.ignore)
    length = np.array([b.length_px for b in found], np.float32) * detector.gsd_m
    right50 = match(boxes, confidence, item.boxes, 0.5) >= 0
    return Findings(item, confidence[keep], (taken30 >= 0)[keep], right50[keep], length[keep])


def evaluate_vehicles(
    data: Path, split: str, weights: Path | None = None, seen_at_m: float | None = None, groups: Sequence[str] | None = None
) -> dict[str, object]:
    """Figures of `collateral evaluate vehicles` for a Boxes folder.

    Raises `InvalidInputError` when the folder is not as it should be, or `seen_at_m` not above 0.
    """
    if seen_at_m is not None and not seen_at_m > 0:
        raise InvalidInputError(f"Pictures cannot be resampled to {seen_at_m} m per pixel; name a number above 0.")
    detector = VehicleDetector.load(weights)
    items = read_boxes_folder(data, split, groups)
    found = [find(detector, item, seen_at_m) for item in progress(items, "detecting", unit="image")]
    return {"split": split, "gsd_m": seen_at_m, **summarise(found, detector.threshold), **_identity(detector)}


def summarise(found: Sequence[Findings], threshold: float) -> dict[str, object]:
    """Totals, and the same by source and by group with the worst group named."""
    by_source = {s: _figures([f for f in found if f.item.source == s], threshold) for s in _names(found, "source")}
    by_group = {g: _figures([f for f in found if f.item.group == g], threshold) for g in _names(found, "group")}
    gaps = [_group_gap([f for f in found if f.item.group == g], threshold) for g in by_group]
    total = _figures(found, threshold)
    objects = sum(len(f.item.boxes) for f in found)
    worst = min(by_group, key=lambda name: float(by_group[name]["f1_iou30"]))
    return {
        **total,
        "count_error_group": sum(gaps) / max(1, objects),
        "threshold": threshold,
        "by_source": by_source,
        "by_group": by_group,
        "worst_group": {"name": worst, **by_group[worst]},
    }


def _names(found: Sequence[Findings], attribute: str) -> list[str]:
    return sorted({str(getattr(f.item, attribute)) for f in found})


def _group_gap(found: Sequence[Findings], threshold: float) -> int:
    total = sum((f.counted(threshold) for f in found), Counted())
    return abs(total.predicted - total.objects)


def _figures(found: Sequence[Findings], threshold: float) -> dict[str, float]:
    loose = sum((f.counted(threshold) for f in found), Counted())
    strict = sum((f.counted(threshold, strict=True) for f in found), Counted())
    confidence, right = pooled(found)
    return {
        "images": loose.images,
        "objects": loose.objects,
        "precision_iou30": loose.precision,
        "recall_iou30": loose.recall,
        "f1_iou30": loose.f1,
        "f1_iou50": strict.f1,
        "count_error": loose.count_error,
        "ece": calibration_error(confidence, right),
    }


def pooled(found: Sequence[Findings]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All confidences and whether each detection is right (IoU 0.3)."""
    if not found:
        return np.zeros(0, np.float32), np.zeros(0, np.bool_)
    return np.concatenate([f.confidence for f in found]), np.concatenate([f.right30 for f in found])


def evaluate_solar_chips(data: Path, split: str, weights: Path | None = None) -> dict[str, object]:
    """Figures of `collateral evaluate solar-chips` for a Chips folder: does the roof carry panels?"""
    segmenter = PanelSegmenter.load(weights)
    chips = read_chips_folder(data, split)
    probability = np.array([chip_presence(segmenter, chip) for chip in progress(chips, "segmenting", unit="chip")])
    labels = np.array([chip.label == 1 for chip in chips])
    threshold = float(str(segmenter.card.config.get("presence_threshold", 0.5)))
    scores = binary_scores(probability >= threshold, labels)
    ece = calibration_error(np.maximum(probability, 1 - probability), (probability >= 0.5) == labels)
    return {"split": split, "n": len(chips), **scores, "ece": ece, "presence_threshold": threshold, **_identity(segmenter)}


def chip_presence(segmenter: PanelSegmenter, chip: Chip) -> float:
    """Calibrated probability that the chip shows any panel."""
    picture = to_grid(chip.image, chip.gsd_m, segmenter.gsd_m, None)
    return presence(segmenter.segment(picture), segmenter.gsd_m, segmenter.card)


def evaluate_panels(data: Path, split: str, weights: Path | None = None) -> dict[str, object]:
    """Figures of `collateral evaluate panels` for a Masks folder, over all pixels of the split."""
    segmenter = PanelSegmenter.load(weights)
    both = either = predicted = labelled = 0
    items = read_masks_folder(data, split)
    for item in progress(items, "segmenting", unit="image"):
        mask = panel_mask(segmenter, item)
        both += int((mask & item.mask).sum())
        either += int((mask | item.mask).sum())
        predicted += int(mask.sum())
        labelled += int(item.mask.sum())
    return {
        "split": split,
        "n": len(items),
        "iou": both / max(1, either),
        "f1": 2 * both / max(1, predicted + labelled),
        "area_error": abs(predicted - labelled) / max(1, labelled),
        **_identity(segmenter),
    }


def panel_mask(segmenter: PanelSegmenter, item: MaskedImage) -> NDArray[np.bool_]:
    """Pixels that show panels, on the picture's own grid."""
    probability = segmenter.segment(to_grid(item.image, item.gsd_m, segmenter.gsd_m, None))
    height, width = item.mask.shape
    own = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(own >= segmenter.threshold)


def evaluate_slots(data: Path, split: str, weights: Path | None = None) -> dict[str, object]:
    """Figures of `collateral evaluate slots` for a Slots folder. Between the card's two limits the answer is unknown;
    an unknown slot counts as wrong in `accuracy`."""
    classifier = SlotClassifier.load(weights)
    chips = read_slots_folder(data, split)
    if not chips:
        raise InvalidInputError(f"{data} has no slot of split {split!r}.")
    probability = classifier.classify(np.stack([slot_chip(chip.image) for chip in chips]))
    labels = np.array([chip.label == 1 for chip in chips])
    low, high = (float(str(classifier.card.config.get(k, 0.5))) for k in ("unknown_above", "unknown_below"))
    unknown = (probability > low) & (probability < high)
    right = ((probability >= classifier.threshold) == labels) & ~unknown
    recalls = [float(right[labels == value].mean()) for value in (True, False) if bool((labels == value).any())]
    return {
        "split": split,
        "n": len(chips),
        "accuracy": float(right.mean()),
        "interval95": list(wilson(int(right.sum()), len(chips))),
        "balanced_accuracy": float(np.mean(recalls)),
        "unknown": int(unknown.sum()),
        **_identity(classifier),
    }


def slot_chip(image: Picture) -> Picture:
    """A cut-out of one slot as the classifier wants it: long side down the rows, 64 x 64."""
    upright = image if image.shape[0] >= image.shape[1] else np.ascontiguousarray(image.transpose(1, 0, 2))
    return cv2.resize(upright, (CHIP, CHIP), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _identity(detector: VehicleDetector | PanelSegmenter | SlotClassifier) -> dict[str, object]:
    return {"model": detector.name, "model_sha256": detector.model_sha256, "runtime": detector.runtime_name}
