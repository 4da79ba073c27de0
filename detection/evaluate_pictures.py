"""Measures panel detector and slot classifier on labelled folders: `collateral evaluate solar-chips|panels|slots`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from collateral.progress import progress
from detection.arrays import Floats, floats
from detection.bootstrap import bootstrap, cluster_numbers, cluster_sums, ratio_of
from detection.dataset import (
    Chip,
    MaskedImage,
    Picture,
    Problems,
    read_chips_folder,
    read_masks_folder,
    read_slots_folder,
)
from detection.evaluate import identity, to_grid
from detection.gallery import FALSE_NEGATIVE, FALSE_POSITIVE, GREEN, RED, UNCERTAIN, Gallery, cut_out, outlined
from detection.infer import PanelSegmenter, SlotClassifier
from detection.metrics import binary_scores, wilson
from detection.models.slots import CHIP
from detection.presence import presence
from detection.reliability import confidence_figures

_NEAR = 0.25
"""Answers this close to the threshold are shown as uncertain."""
_PIXEL_STEP = 4
"""Calibration of pixels is measured on every fourth row and column: neighbours say the same."""


def answer_figures(probability: Floats, labels: NDArray[np.bool_], groups: Sequence[str]) -> dict[str, object]:
    """`ece` and `brier` of yes/no answers, with intervals and table; confidence is that of the likelier answer."""
    numbers, kind = cluster_numbers(groups)
    sure = np.maximum(probability, 1 - probability)
    return {**confidence_figures(sure, (probability >= 0.5) == labels, numbers), "resampled": kind}


def by_group(
    groups: Sequence[str], figures: Callable[[NDArray[np.bool_]], Mapping[str, object]], key: str
) -> dict[str, object]:
    """`by_group` and `worst_group` (smallest `key`) of figures of a choice of pictures."""
    names = np.array([group or "unnamed" for group in groups])
    rows = {str(name): {"n": int((names == name).sum()), **figures(names == name)} for name in np.unique(names)}
    worst = min(rows, key=lambda name: float(str(rows[name][key])))
    return {"by_group": rows, "worst_group": {"name": worst, **rows[worst]}}


def evaluate_solar_chips(
    data: Path, split: str, weights: Path | None = None, gallery: Gallery | None = None
) -> dict[str, object]:
    """Figures of `collateral evaluate solar-chips` for a Chips folder: does the roof carry panels?"""
    segmenter = PanelSegmenter.load(weights)
    problems: Problems = []
    chips = read_chips_folder(data, split, problems)
    probability = np.array(
        [chip_presence(segmenter, chip) for chip in progress(chips, "segmenting", unit="chip")], np.float32
    )
    labels = np.array([chip.label == 1 for chip in chips])
    threshold = float(str(segmenter.card.config.get("presence_threshold", 0.5)))
    said, groups = probability >= threshold, [chip.group for chip in chips]
    right = int((said & labels).sum())
    if gallery is not None:
        _show_chips(gallery, chips, probability, threshold)
    return {
        "split": split,
        "n": len(chips),
        **binary_scores(said, labels),
        "precision_interval95": list(wilson(right, int(said.sum()))),
        "recall_interval95": list(wilson(right, int(labels.sum()))),
        "accuracy_interval95": list(wilson(int((said == labels).sum()), len(chips))),
        **answer_figures(probability, labels, groups),
        "presence_threshold": threshold,
        **by_group(groups, lambda own: binary_scores(said[own], labels[own]), "accuracy"),
        **identity(segmenter),
        "problems": problems,
    }


def chip_presence(segmenter: PanelSegmenter, chip: Chip) -> float:
    """Calibrated probability that the chip shows any panel."""
    picture = to_grid(chip.image, chip.gsd_m, segmenter.gsd_m, None)
    return presence(segmenter.segment(picture, all_views=True), segmenter.gsd_m, segmenter.card)


def _show_chips(gallery: Gallery, chips: Sequence[Chip], probability: Floats, threshold: float) -> None:
    for chip, value in zip(chips, probability.tolist(), strict=True):
        said, text = value >= threshold, "labelled yes" if chip.label else "labelled no"
        if said != (chip.label == 1):
            kind, strength = (FALSE_POSITIVE, value) if said else (FALSE_NEGATIVE, 1 - value)
            gallery.add(kind, strength, value, (chip.name, chip.group), chip.image, text)
        if abs(value - threshold) < _NEAR:
            gallery.add(UNCERTAIN, -abs(value - threshold), value, (chip.name, chip.group), chip.image, text)


def evaluate_panels(
    data: Path, split: str, weights: Path | None = None, gallery: Gallery | None = None
) -> dict[str, object]:
    """Figures of `collateral evaluate panels` for a Masks folder, over all pixels of the split."""
    segmenter = PanelSegmenter.load(weights)
    problems: Problems = []
    items = read_masks_folder(data, split, problems=problems)
    sums, confidence, right, sizes = [], [], [], []
    for item in progress(items, "segmenting", unit="image"):
        probability = panel_probability(segmenter, item)
        mask = probability >= segmenter.threshold
        sums.append([(mask & item.mask).sum(), (mask | item.mask).sum(), mask.sum(), item.mask.sum()])
        some = np.s_[::_PIXEL_STEP, ::_PIXEL_STEP]
        p, labelled = probability[some].ravel(), item.mask[some].ravel()
        confidence.append(np.maximum(p, 1 - p))
        right.append((p >= 0.5) == labelled)
        sizes.append(len(p))
        if gallery is not None:
            _show_panels(gallery, item, mask, probability)
    table, groups = np.array(sums, np.float64), [item.group for item in items]
    numbers, kind = cluster_numbers(groups)
    return {
        "split": split,
        "n": len(items),
        **_area_figures(table),
        "iou_interval95": bootstrap(cluster_sums(table, numbers), ratio_of(0, 1)),
        "resampled": kind,
        **confidence_figures(np.concatenate(confidence), np.concatenate(right), np.repeat(numbers, sizes)),
        **by_group(groups, lambda own: _area_figures(table[own]), "iou"),
        **identity(segmenter),
        "problems": problems,
    }


def _area_figures(table: NDArray[np.float64]) -> dict[str, object]:
    both, either, predicted, labelled = table.sum(axis=0).tolist()
    return {
        "iou": both / max(1, either),
        "f1": 2 * both / max(1, predicted + labelled),
        "area_error": abs(predicted - labelled) / max(1, labelled),
    }


def panel_probability(segmenter: PanelSegmenter, item: MaskedImage) -> NDArray[np.float32]:
    """Probability of a panel for every pixel of the picture's own grid."""
    probability = segmenter.segment(to_grid(item.image, item.gsd_m, segmenter.gsd_m, None))
    height, width = item.mask.shape
    return cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)


def _show_panels(gallery: Gallery, item: MaskedImage, mask: NDArray[np.bool_], probability: NDArray[np.float32]) -> None:
    extra, missed = mask & ~item.mask, item.mask & ~mask
    picture = outlined(item.image, (item.mask, GREEN), (mask, RED))
    for kind, wrong in ((FALSE_POSITIVE, extra), (FALSE_NEGATIVE, missed)):
        area = float(wrong.sum()) * item.gsd_m**2
        if area >= 1.0:
            shown, text = cut_out(picture, largest_part(wrong)), f"{area:.0f} m² in the picture, largest part shown"
            gallery.add(kind, area, float(probability[wrong].mean()), (item.name, item.group), shown, text)
    unsure = np.abs(probability - 0.5) < _NEAR
    doubt = float(unsure.sum()) * item.gsd_m**2
    if doubt >= 1.0:
        shown, text = cut_out(picture, largest_part(unsure)), f"{doubt:.0f} m² between 0.25 and 0.75"
        gallery.add(UNCERTAIN, doubt, 0.5, (item.name, item.group), shown, text)


def largest_part(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Box (x0, y0, x1, y1) of the largest connected region of a mask that is not empty."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    x, y, width, height, _ = stats[1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())].tolist()
    return floats([x, y, x + width, y + height])


def evaluate_slots(
    data: Path, split: str, weights: Path | None = None, gallery: Gallery | None = None
) -> dict[str, object]:
    """Figures of `collateral evaluate slots` for a Slots folder. Between the card's two limits the answer is unknown;
    an unknown slot counts as wrong in `accuracy`."""
    classifier = SlotClassifier.load(weights)
    problems: Problems = []
    chips = read_slots_folder(data, split, problems)
    probability = classifier.classify(np.stack([slot_chip(chip.image) for chip in chips]), [chip.kind for chip in chips])
    labels, groups = np.array([chip.label == 1 for chip in chips]), [chip.group for chip in chips]
    low, high = (float(str(classifier.card.config.get(k, 0.5))) for k in ("unknown_above", "unknown_below"))
    unknown = (probability > low) & (probability < high)
    right = ((probability >= classifier.threshold) == labels) & ~unknown
    if gallery is not None:
        _show_chips(gallery, chips, probability, classifier.threshold)

    def figures(own: NDArray[np.bool_]) -> dict[str, object]:
        recalls = [float(right[own & (labels == v)].mean()) for v in (True, False) if bool((own & (labels == v)).any())]
        return {"accuracy": float(right[own].mean()), "balanced_accuracy": float(np.mean(recalls))}

    return {
        "split": split,
        "n": len(chips),
        **figures(np.ones(len(chips), np.bool_)),
        "interval95": list(wilson(int(right.sum()), len(chips))),
        "unknown": int(unknown.sum()),
        **answer_figures(probability, labels, groups),
        **by_group(groups, figures, "accuracy"),
        **identity(classifier),
        "problems": problems,
    }


def slot_chip(image: Picture) -> Picture:
    """A cut-out of one slot as the classifier wants it: long side down the rows, 64 x 64."""
    upright = image if image.shape[0] >= image.shape[1] else np.ascontiguousarray(image.transpose(1, 0, 2))
    return cv2.resize(upright, (CHIP, CHIP), interpolation=cv2.INTER_AREA).astype(np.uint8)
