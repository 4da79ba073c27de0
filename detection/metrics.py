"""Figures of merit, as `docs` of `collateral evaluate` define them. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats, floats

FLAT = 0.0025
"""F1 or IoU that is no difference: thresholds this close to the best one are equally good by it."""


@dataclass(frozen=True)
class Counted:
    """Detections against labels, addable."""

    images: int = 0
    objects: int = 0
    predicted: int = 0
    right: int = 0
    count_gap: int = 0
    """Sum over images of |predicted - labelled|."""

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.images + other.images, self.objects + other.objects, self.predicted + other.predicted,
            self.right + other.right, self.count_gap + other.count_gap,
        )  # fmt: skip

    @property
    def precision(self) -> float:
        """Share of the predicted that is right; 1 when nothing is predicted and nothing labelled."""
        return self.right / self.predicted if self.predicted else float(self.objects == 0)

    @property
    def recall(self) -> float:
        """Share of the labelled that is found; 1 when nothing is labelled."""
        return self.right / self.objects if self.objects else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return 2 * self.right / max(1, self.predicted + self.objects) if self.predicted + self.objects else 1.0

    @property
    def count_error(self) -> float:
        """count_gap / objects."""
        return self.count_gap / max(1, self.objects)


def iou(a: Floats, b: Floats) -> Floats:
    """N x 4 and M x 4 boxes -> N x M intersection over union."""
    inner = intersection(a, b)
    area_a, area_b = _area(a), _area(b)
    return floats(inner / np.maximum(area_a[:, None] + area_b[None] - inner, 1e-9))


def intersection(a: Floats, b: Floats) -> Floats:
    """N x 4 and M x 4 boxes -> N x M common areas."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return floats(np.clip(high - low, 0, None).prod(axis=2))


def _area(boxes: Floats) -> Floats:
    return floats(np.clip(boxes[:, 2] - boxes[:, 0], 0, None) * np.clip(boxes[:, 3] - boxes[:, 1], 0, None))


def match(boxes: Floats, scores: Floats, labels: Floats, threshold: float) -> NDArray[np.int64]:
    """Greedy by score: for each box the label it takes (the best still free with IoU >= threshold), or -1."""
    taken = np.full(len(boxes), -1, np.int64)
    if len(boxes) == 0 or len(labels) == 0:
        return taken
    overlap = iou(boxes, labels)
    for index in np.argsort(-scores, kind="stable"):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= threshold:
            taken[index] = best
            overlap[:, best] = -1.0
    return taken


def undecided(boxes: Floats, ignore: Floats) -> NDArray[np.bool_]:
    """True for boxes at least half inside one ignore region."""
    if len(boxes) == 0 or len(ignore) == 0:
        return np.zeros(len(boxes), np.bool_)
    share = intersection(boxes, ignore) / np.maximum(_area(boxes)[:, None], 1e-9)
    return np.asarray(share.max(axis=1) >= 0.5)


def suppress(boxes: Floats, scores: Floats, threshold: float) -> NDArray[np.int64]:
    """Non-maximum suppression: indices kept, strongest first."""
    order = np.argsort(-scores, kind="stable")
    overlap = iou(boxes, boxes)
    dropped = np.zeros(len(boxes), np.bool_)
    kept = []
    for index in order:
        if not dropped[index]:
            kept.append(int(index))
            dropped |= overlap[index] > threshold
    return np.asarray(kept, np.int64)


def calibration_error(confidence: Floats, right: NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017, doi:10.48550/arXiv.1706.04599)."""
    if len(confidence) == 0:
        return 0.0
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (index == b).mean() * abs(float(confidence[index == b].mean()) - float(right[index == b].mean()))
        for b in np.unique(index)
    ]
    return float(np.sum(gaps))


def logit(p: Floats) -> Floats:
    """Log odds, finite for 0 and 1."""
    q = np.clip(np.asarray(p, np.float64), 1e-6, 1 - 1e-6)
    return floats(np.log(q / (1 - q)))


def calibrate(p: Floats, calibration: tuple[float, float]) -> Floats:
    """sigmoid(slope * logit(p) + intercept)."""
    slope, intercept = calibration
    return sigmoid(slope * logit(p) + intercept)


def sigmoid(odds: NDArray[np.floating[Any]]) -> Floats:
    """Log odds -> probability, without overflow."""
    return floats(1 / (1 + np.exp(-np.clip(odds, -60.0, 60.0))))


def fit_calibration(p: Floats, right: NDArray[np.bool_]) -> tuple[float, float]:
    """Platt scaling with his smoothed targets (Platt 1999). Slope and intercept."""
    columns = np.stack([logit(p).astype(np.float64), np.ones(len(p))], 1)
    slope, intercept = fit_logistic(columns, smoothed(right))
    return float(slope), float(intercept)


def smoothed(right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Platt's targets: a little inside 0 and 1, so that separable answers do not give infinite slopes."""
    hits = int(right.sum())
    return np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))


def fit_logistic(columns: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of a logistic regression by Newton's method; N x F columns; the first coefficient is drawn
    weakly to 1, the others to 0."""
    x = columns.astype(np.float64)
    start = np.eye(x.shape[1])[0]
    beta = start.copy()
    for _ in range(50):
        q = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (q - target) + 1e-3 * (beta - start)
        curve = (x * (q * (1 - q))[:, None]).T @ x + 1e-3 * np.eye(x.shape[1])
        step = np.linalg.solve(curve, slope)
        beta = beta - step
        if float(np.abs(step).max()) < 1e-8:
            break
    return np.asarray(beta)


def unbiased_threshold(parts: Sequence[tuple[Floats, NDArray[np.bool_], int]]) -> float:
    """The threshold at which as many are found as there are, among those (steps of 0.01) of nearly the largest F1.

    `parts`: confidences, whether each is right, number of objects; F1 and the surplus of each part weigh the same, however
    many objects it has. Counts are what the thresholds are for, and around its peak F1 tells nothing apart (`FLAT`).
    """
    steps = np.round(np.arange(0.05, 0.96, 0.01), 2)
    f1, surplus = np.zeros(len(steps)), np.zeros(len(steps))
    for confidence, right, objects in parts:
        chosen = confidence[None] >= steps[:, None]
        found, hits = chosen.sum(axis=1), (chosen & right[None]).sum(axis=1)
        f1 += 2 * hits / np.maximum(found + objects, 1) / len(parts)
        surplus += (found - objects) / max(objects, 1) / len(parts)
    return nearest_within(steps, f1, np.abs(surplus))


def nearest_within(steps: NDArray[np.float64], merit: NDArray[np.float64], gap: NDArray[np.float64]) -> float:
    """Of the steps whose merit is within `FLAT` of the largest, the one with the smallest gap; the middle one of equals,
    far from what it lets in and from what it leaves out."""
    near = np.flatnonzero(merit >= merit.max() - FLAT)
    equal = near[gap[near] == gap[near].min()]
    return round(float(steps[equal[len(equal) // 2]]), 2)


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return 0.0, 1.0
    z, p = 1.96, right / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def binary_scores(predicted: NDArray[np.bool_], labelled: NDArray[np.bool_]) -> dict[str, float]:
    """precision, recall, f1, accuracy and balanced_accuracy of yes/no answers."""
    p, t = predicted, labelled
    right = int((p & t).sum())
    precision = right / int(p.sum()) if p.any() else 0.0
    recall = right / int(t.sum()) if t.any() else 0.0
    specificity = float((~p & ~t).sum() / (~t).sum()) if (~t).any() else 0.0
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * right / max(1, int(p.sum() + t.sum())),
        "accuracy": float((p == t).mean()),
        "balanced_accuracy": (recall + specificity) / 2,
    }
