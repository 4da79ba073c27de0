"""Measures the classifier of PV modules on a labelled folder: `collateral evaluate modules`."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.evaluate import identity
from detection.gallery import FALSE_NEGATIVE, FALSE_POSITIVE, UNCERTAIN, Gallery
from detection.metrics import binary_scores, wilson
from detection.models.modules import CLASSES, HEALTHY
from detection.module_data import ModuleCrops, read_modules_folder
from detection.modules import Judged, ModuleClassifier
from detection.reliability import confidence_figures

_SHOWN = 6
"""Times as large in the gallery."""


def evaluate_modules(
    data: Path, split: str, weights: Path | None = None, gallery: Gallery | None = None
) -> dict[str, object]:
    """Figures of `collateral evaluate modules` for a Modules folder.

    `ece` is of the stated class, `fault_ece` of the probability of any fault.
    """
    classifier = ModuleClassifier.load(weights)
    crops = read_modules_folder(data, split)
    judged = classifier.judge(crops.images)
    if gallery is not None:
        _show(gallery, crops, judged)
    return {"split": split, **module_figures(judged, crops.labels), **identity(classifier)}


def module_figures(judged: Judged, labels: NDArray[np.int64]) -> dict[str, object]:
    """Accuracy of fault or not, balanced accuracy of the twelve classes, calibration, recall and precision of each class."""
    faulty, n = labels != HEALTHY, len(labels)
    right, agree = judged.label == labels, judged.faulty == faulty
    recalls = {int(c): float(right[labels == c].mean()) for c in np.unique(labels)}
    each = np.arange(n)
    fault = confidence_figures(np.maximum(judged.fault, 1 - judged.fault), (judged.fault >= 0.5) == faulty, each)
    scores = binary_scores(judged.faulty, faulty)
    return {
        "n": n,
        "fault_accuracy": float(agree.mean()),
        "fault_accuracy_interval95": list(wilson(int(agree.sum()), n)),
        "fault_precision": scores["precision"],
        "fault_recall": scores["recall"],
        "balanced_accuracy": float(np.mean(list(recalls.values()))),
        "accuracy": float(right.mean()),
        "accuracy_interval95": list(wilson(int(right.sum()), n)),
        **confidence_figures(judged.confidence, right, each),
        "fault_ece": fault["ece"],
        "fault_brier": fault["brier"],
        "by_class": {CLASSES[c]: _class_figures(judged.label == c, labels == c, recall) for c, recall in recalls.items()},
        "worst_class": CLASSES[min(recalls, key=lambda c: recalls[c])],
    }


def _class_figures(said: NDArray[np.bool_], true: NDArray[np.bool_], recall: float) -> dict[str, object]:
    both = int((said & true).sum())
    return {
        "n": int(true.sum()),
        "recall": recall,
        "recall_interval95": list(wilson(both, int(true.sum()))),
        "precision": both / max(1, int(said.sum())),
    }


def _show(gallery: Gallery, crops: ModuleCrops, judged: Judged) -> None:
    for index, (label, said) in enumerate(zip(crops.labels.tolist(), judged.label.tolist(), strict=True)):
        fault = float(judged.fault[index])
        grey = cv2.resize(crops.images[index], None, fx=_SHOWN, fy=_SHOWN, interpolation=cv2.INTER_NEAREST)
        picture = np.repeat(np.asarray(grey, np.uint8)[:, :, None], 3, axis=2)
        text, where = f"labelled {CLASSES[label]}, said {CLASSES[said]}", (f"crop {index}", CLASSES[label])
        if (label != HEALTHY) != bool(judged.faulty[index]):
            kind, strength = (FALSE_POSITIVE, fault) if label == HEALTHY else (FALSE_NEGATIVE, 1 - fault)
            gallery.add(kind, strength, fault, where, picture, text)
        elif label != said:
            gallery.add(UNCERTAIN, float(judged.confidence[index]), fault, where, picture, text)
