"""Measures the vehicle detector on labelled folders: what `collateral evaluate vehicles` prints and its card keeps.

A picture is resampled from its own grid to the detector's (through `gsd_m` where a coarser camera is to be simulated), so
the figures include what resampling costs. The other detectors: `detection.evaluate_pictures`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.arrays import floats
from detection.bootstrap import bootstrap, cluster_numbers, cluster_sums
from detection.counting import rows_of
from detection.dataset import Boxes, LabelledImage, Picture, Problems, read_boxes_folder, resample
from detection.gallery import FALSE_NEGATIVE, FALSE_POSITIVE, UNCERTAIN, Gallery, cut_out
from detection.infer import Box, Detector, VehicleDetector
from detection.metrics import Counted, match, undecided
from detection.observe import count_in_picture
from detection.reliability import confidence_figures
from detection.weightfile import Card

FLOOR = 0.02
"""Detections below this confidence are not looked at (also not for the calibration error)."""
_NEAR = 0.15
"""Right detections this close to the threshold are shown as uncertain."""


@dataclass(frozen=True)
class Findings:
    """What a detector said about one labelled picture, strongest first, ignore regions already taken out."""

    item: LabelledImage
    gsd_m: float
    """Of the picture as it was seen, metres per pixel."""
    boxes: Boxes
    """In pixels of the item's picture."""
    confidence: NDArray[np.float32]
    taken: NDArray[np.int64]
    """The label each detection takes at IoU 0.3, or -1."""
    right50: NDArray[np.bool_]
    length_m: NDArray[np.float32]

    @property
    def right30(self) -> NDArray[np.bool_]:
        """Whether each detection is right at IoU 0.3."""
        return np.asarray(self.taken >= 0)

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
    return matched(item, detector.detect(picture, FLOOR, seen_at_m or item.gsd_m), picture, detector.gsd_m, seen_at_m)


def matched(
    item: LabelledImage, found: Sequence[Box], picture: Picture, model_gsd_m: float, seen_at_m: float | None
) -> Findings:
    """Detections in `picture` (the item's on the model grid) against the item's labels."""
    back = floats([item.image.shape[1] / picture.shape[1], item.image.shape[0] / picture.shape[0]])
    boxes = (np.array([[b.x0, b.y0, b.x1, b.y1] for b in found], np.float32).reshape(-1, 4) * np.tile(back, 2)).astype(
        np.float32
    )
    confidence = np.array([b.confidence for b in found], np.float32)
    taken = match(boxes, confidence, item.boxes, 0.3)
    keep = (taken >= 0) | ~undecided(boxes, item.ignore)
    length = np.array([b.length_px for b in found], np.float32) * np.float32(model_gsd_m)
    right50 = match(boxes, confidence, item.boxes, 0.5) >= 0
    gsd = seen_at_m or item.gsd_m
    return Findings(item, gsd, boxes[keep], confidence[keep], taken[keep], right50[keep], length[keep])


def evaluate_vehicles(
    data: Path,
    split: str,
    weights: Path | None = None,
    seen_at_m: float | None = None,
    groups: Sequence[str] | None = None,
    gallery: Gallery | None = None,
) -> dict[str, object]:
    """Figures of `collateral evaluate vehicles` for a Boxes folder; errors go to the `gallery` where one is given.

    Raises `InvalidInputError` when the folder is not as it should be, or `seen_at_m` not above 0.
    """
    if seen_at_m is not None and not seen_at_m > 0:
        raise InvalidInputError(f"Pictures cannot be resampled to {seen_at_m} m per pixel; name a number above 0.")
    detector = VehicleDetector.load(weights)
    problems: Problems = []
    items = read_boxes_folder(data, split, groups, problems)
    found = []
    for item in progress(items, "detecting", unit="image"):
        found.append(find(detector, item, seen_at_m))
        if gallery is not None:
            show_errors(gallery, found[-1], detector.threshold)
    return {
        "split": split,
        "gsd_m": seen_at_m,
        **summarise(found, detector.threshold),
        **interval_coverage(found, detector.threshold, detector.card),
        **identity(detector),
        "problems": problems,
    }


def summarise(found: Sequence[Findings], threshold: float) -> dict[str, object]:
    """Totals with 95 % intervals, and the same by source and by group with the worst group named."""
    sources = {s: [f for f in found if f.item.source == s] for s in sorted({f.item.source for f in found})}
    groups = {g: [f for f in found if f.item.group == g] for g in sorted({f.item.group for f in found})}
    by_group = {name: _figures(part, threshold) for name, part in groups.items()}
    gaps = [_group_gap(part, threshold) for part in groups.values()]
    objects = sum(len(f.item.boxes) for f in found)
    worst = min(by_group, key=lambda name: float(str(by_group[name]["f1_iou30"])))
    return {
        **_figures(found, threshold, intervals=True),
        "count_error_group": sum(gaps) / max(1, objects),
        "threshold": threshold,
        "by_source": {name: _figures(part, threshold, intervals=True) for name, part in sources.items()},
        "by_group": by_group,
        "worst_group": {"name": worst, **by_group[worst]},
    }


def _group_gap(found: Sequence[Findings], threshold: float) -> int:
    total = sum((f.counted(threshold) for f in found), Counted())
    return abs(total.predicted - total.objects)


def _figures(found: Sequence[Findings], threshold: float, intervals: bool = False) -> dict[str, object]:
    loose = sum((f.counted(threshold) for f in found), Counted())
    strict = sum((f.counted(threshold, strict=True) for f in found), Counted())
    confidence, right = pooled(found)
    figures: dict[str, object] = {
        "images": loose.images,
        "objects": loose.objects,
        "precision_iou30": loose.precision,
        "recall_iou30": loose.recall,
        "f1_iou30": loose.f1,
        "f1_iou50": strict.f1,
        "count_error": loose.count_error,
    }
    if not intervals:
        return {**figures, **confidence_figures(confidence, right)}
    numbers, kind = cluster_numbers([f.item.group for f in found])
    each = [f.counted(threshold) for f in found]
    sums = cluster_sums(np.array([[c.right, c.predicted, c.objects, c.count_gap] for c in each], np.float64), numbers)
    return {
        **figures,
        "f1_iou30_interval95": bootstrap(sums, lambda s: 2 * s[:, 0] / np.maximum(s[:, 1] + s[:, 2], 1)),
        "count_error_interval95": bootstrap(sums, lambda s: s[:, 3] / np.maximum(s[:, 2], 1)),
        "resampled": kind,
        **confidence_figures(confidence, right, np.repeat(numbers, [len(f.confidence) for f in found])),
    }


def pooled(found: Sequence[Findings]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """All confidences and whether each detection is right (IoU 0.3)."""
    if not found:
        return np.zeros(0, np.float32), np.zeros(0, np.bool_)
    return np.concatenate([f.confidence for f in found]), np.concatenate([f.right30 for f in found])


def interval_coverage(found: Sequence[Findings], threshold: float, card: Card) -> dict[str, object]:
    """How often the interval of the corrected count holds the labelled number, and the error of that count.

    By picture, and by group with all pictures of a group taken as one site. Empty for cards without counting rows.
    """
    rows = rows_of(card)
    if not rows:
        return {}
    sites: dict[str, list[list[Findings]]] = {"picture": [[f] for f in found]}
    sites["group"] = [[f for f in found if f.item.group == g] for g in sorted({f.item.group for f in found})]
    figures: dict[str, object] = {}
    for kind, parts in sites.items():
        gap, held, objects = 0.0, {0.9: 0, 0.95: 0}, 0
        for part in parts:
            labelled = sum(len(f.item.boxes) for f in part)
            confidence = np.concatenate([f.confidence[f.confidence >= threshold] for f in part]).tolist()
            for level in held:
                estimate = count_in_picture(confidence, rows, part[0].gsd_m, level=level)
                held[level] += estimate.lower <= labelled <= estimate.upper
            gap, objects = gap + abs(estimate.value - labelled), objects + labelled
        figures[kind] = {
            "n": len(parts), "coverage90": held[0.9] / len(parts), "coverage95": held[0.95] / len(parts),
            "count_error": gap / max(1, objects),
        }  # fmt: skip
    return {"corrected_count": figures}


def show_errors(gallery: Gallery, found: Findings, threshold: float) -> None:
    """Adds the picture's wrong and uncertain detections and missed labels to the gallery."""
    item, chosen = found.item, found.confidence >= threshold
    shown = found.boxes[chosen]
    for index in np.flatnonzero(chosen | found.right30):
        p, box = float(found.confidence[index]), found.boxes[index]
        where = (item.name, item.group)
        if chosen[index] and found.taken[index] < 0:
            gallery.add(FALSE_POSITIVE, p, p, where, cut_out(item.image, box, shown, item.boxes), _length(found, int(index)))
        elif not chosen[index]:
            label = item.boxes[found.taken[index]]
            gallery.add(FALSE_NEGATIVE, 1 - p, p, where, cut_out(item.image, label, shown, item.boxes))
        if abs(p - threshold) < _NEAR:
            gallery.add(UNCERTAIN, -abs(p - threshold), p, where, cut_out(item.image, box, shown, item.boxes))
    for label in set(range(len(item.boxes))) - set(found.taken.tolist()):
        picture = cut_out(item.image, item.boxes[label], shown, item.boxes)
        gallery.add(FALSE_NEGATIVE, 1.0, 0.0, (item.name, item.group), picture)


def _length(found: Findings, index: int) -> str:
    return f"{float(found.length_m[index]):.1f} m"


def identity(detector: Detector) -> dict[str, object]:
    """Which weights and which engine gave the figures."""
    return {"model": detector.name, "model_sha256": detector.model_sha256, "runtime": detector.runtime_name}
