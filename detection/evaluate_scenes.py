"""Measures the detectors on rendered scenes against the truth files beside them (`collateral evaluate scenes`).

A truth file is NAME.truth.json beside NAME.tif, with polygons in the coordinates of the written file. Nothing here
knows how the pictures were made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import rasterio
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.arrays import Floats, floats
from detection.dataset import Picture
from detection.evaluate import to_grid
from detection.infer import HEAVY_M, PanelSegmenter, SlotClassifier, VehicleDetector, rectify
from detection.metrics import Counted, match, undecided, wilson
from detection.weightfile import default_path

SUFFIX = ".truth.json"
REAL_ONLY = "vehicles-real"
"""Weights taught by photographs alone."""
_VISIBLE = 0.5
"""Vehicles of which less is visible count neither way."""
_SLOT_VISIBLE = 0.9
_STOCK_NOTE = "no detector measures stock cover in this version"


@dataclass(frozen=True)
class TrueScene:
    """A scene, its picture and what is true of it."""

    name: str
    image: Picture
    gsd_m: float
    origin: tuple[float, float]
    """East and north of the upper left corner, metres."""
    truth: Mapping[str, Any]

    def pixels(self, geometry: Mapping[str, Any]) -> Floats:
        """Exterior of a GeoJSON polygon of the truth in pixels, origin at the outer corner of the first pixel, N x 2."""
        ring = np.asarray(geometry["coordinates"][0][:-1], np.float64)
        return floats(np.stack([ring[:, 0] - self.origin[0], self.origin[1] - ring[:, 1]], axis=1) / self.gsd_m)


@dataclass(frozen=True)
class SceneDetectors:
    """What is measured; None leaves its figures null."""

    vehicles: VehicleDetector | None
    vehicles_real: VehicleDetector | None
    panels: PanelSegmenter | None
    slots: SlotClassifier | None

    @classmethod
    def shipped(cls) -> SceneDetectors:
        """All shipped weights; the detector of photographs alone only where its weights are installed."""
        real = VehicleDetector.load(default_path(REAL_ONLY)) if default_path(REAL_ONLY).is_file() else None
        return cls(VehicleDetector.load(), real, PanelSegmenter.load(), SlotClassifier.load())


@dataclass
class VehicleTally:
    """Vehicle figures while they grow."""

    every: Counted = field(default_factory=Counted)
    heavy: Counted = field(default_factory=Counted)
    length_errors_m: list[float] = field(default_factory=list)
    by_gsd: dict[str, Counted] = field(default_factory=lambda: defaultdict(Counted))

    def figures(self) -> dict[str, float | None]:
        """Rounded figures; null where nothing was there to measure."""
        lengths = self.length_errors_m
        return {
            "f1": round(self.every.f1, 4),
            "precision": round(self.every.precision, 4),
            "recall": round(self.every.recall, 4),
            "count_error": round(self.every.count_error, 4),
            "heavy_f1": round(self.heavy.f1, 4) if self.heavy.objects else None,
            "length_error_m": round(float(np.mean(lengths)), 3) if lengths else None,
        }


@dataclass
class SlotTally:
    """Slot answers while they grow: by scene, for accuracy and for changes between dates."""

    right: int = 0
    n: int = 0
    unknown: int = 0
    by_kind: dict[str, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    history: dict[str, list[tuple[str, bool, bool]]] = field(default_factory=lambda: defaultdict(list))
    """Slot -> (time, truth, answer), undecided answers left out."""


def read_truth(path: Path) -> TrueScene:
    """A truth file and its scene. Raises `InvalidInputError` when the scene is missing or they disagree in size."""
    truth = orjson.loads(path.read_bytes())
    scene = path.with_name(path.name.removesuffix(SUFFIX) + ".tif")
    if not scene.is_file():
        raise InvalidInputError(f"{scene} is missing beside {path.name}; render it again or remove the truth file.")
    with rasterio.open(scene) as source:
        image = np.ascontiguousarray(source.read([1, 2, 3]).transpose(1, 2, 0))
        transform = source.transform
    if image.shape[:2] != (truth["height"], truth["width"]):
        raise InvalidInputError(f"{scene} has {image.shape[:2]} pixels, its truth says {truth['height'], truth['width']}.")
    return TrueScene(scene.stem, image, float(transform.a), (float(transform.c), float(transform.f)), truth)


def evaluate_scenes(truth_dir: Path, detectors: SceneDetectors | None = None) -> dict[str, object]:
    """Figures of `collateral evaluate scenes` over all truth files in a folder.

    count_error, heavy_f1, length_error_m, vehicles_f1 are of the shipped vehicle detector, vehicles_f1_real_only of the
    one taught by photographs alone (IoU 0.3). panel_area_error: sum over scenes of |found - true| area / true area.
    slot_accuracy: over slots at least 90 % visible, undecided answers count as wrong. change: slots that changed
    between two dates of a site. Raises `InvalidInputError` when there is no truth file.
    """
    paths = sorted(truth_dir.glob("*" + SUFFIX))
    if not paths:
        raise InvalidInputError(f"{truth_dir} has no *{SUFFIX}; render scenes with `collateral sample write` first.")
    tools = detectors or SceneDetectors.shipped()
    mixed, real, slots = VehicleTally(), VehicleTally(), SlotTally()
    area_gap = area_true = 0.0
    for path in progress(paths, "scenes", unit="scene"):
        scene = read_truth(path)
        for detector, tally in ((tools.vehicles, mixed), (tools.vehicles_real, real)):
            if detector is not None:
                count_vehicles(scene, detector, tally)
        if tools.panels is not None and scene.truth["panels"]:
            found, true = panel_areas(scene, tools.panels)
            area_gap, area_true = area_gap + abs(found - true), area_true + true
        if tools.slots is not None:
            judge_slots(scene, tools.slots, slots)
    return {
        "scenes": len(paths),
        **_vehicle_keys(mixed if tools.vehicles else None, real if tools.vehicles_real else None),
        "panel_area_error": round(area_gap / area_true, 4) if area_true else None,
        **_slot_keys(slots),
        "stock_cover_error": None,
        "stock_cover_error_note": _STOCK_NOTE,
    }


def count_vehicles(scene: TrueScene, detector: VehicleDetector, tally: VehicleTally) -> None:
    """Detect, match at IoU 0.3 and add to the tally. Vehicles mostly hidden are ignored regions."""
    vehicles: Sequence[Mapping[str, Any]] = scene.truth["vehicles"]
    rings = [scene.pixels(v["polygon"]) for v in vehicles]
    boxes = floats([[*ring.min(axis=0), *ring.max(axis=0)] for ring in rings]).reshape(-1, 4)
    clear = np.array([v["visible_fraction"] >= _VISIBLE for v in vehicles], np.bool_)
    heavy = np.array([v["length_m"] >= HEAVY_M for v in vehicles], np.bool_)
    picture = to_grid(scene.image, scene.gsd_m, detector.gsd_m, None)
    back = floats([scene.image.shape[1] / picture.shape[1], scene.image.shape[0] / picture.shape[0]])
    found = detector.detect(picture)
    seen = floats([[b.x0, b.y0, b.x1, b.y1] for b in found]).reshape(-1, 4) * np.tile(back, 2)
    lengths = floats([b.length_px * detector.gsd_m for b in found])
    confidence = floats([b.confidence for b in found])
    true_lengths = [float(v["length_m"]) for v, ok in zip(vehicles, clear, strict=True) if ok]
    keep = ~undecided(seen, boxes[~clear]) | (match(seen, confidence, boxes[clear], 0.3) >= 0)
    counted, taken = _counted(seen[keep], confidence[keep], boxes[clear])
    tally.every += counted
    tally.by_gsd[f"{scene.gsd_m:g}"] += counted
    long = keep & (lengths >= HEAVY_M)
    tally.heavy += _counted(seen[long], confidence[long], boxes[clear & heavy])[0]
    tally.length_errors_m += [
        abs(float(length) - true_lengths[label]) for length, label in zip(lengths[keep], taken, strict=True) if label >= 0
    ]


def _counted(boxes: Floats, confidence: Floats, labels: Floats) -> tuple[Counted, NDArray[np.int64]]:
    taken = match(boxes, confidence, labels, 0.3)
    return Counted(1, len(labels), len(boxes), int((taken >= 0).sum()), abs(len(boxes) - len(labels))), taken


def panel_areas(scene: TrueScene, segmenter: PanelSegmenter) -> tuple[float, float]:
    """Panel area found and true, square metres of the ground plane."""
    picture = to_grid(scene.image, scene.gsd_m, segmenter.gsd_m, None)
    found = float((segmenter.segment(picture) >= segmenter.threshold).sum()) * segmenter.gsd_m**2
    return found, float(sum(panel["area_m2"] for panel in scene.truth["panels"]))


def judge_slots(scene: TrueScene, classifier: SlotClassifier, tally: SlotTally) -> None:
    """Classify every clearly visible slot and add to the tally."""
    slots = {k: s for k, s in scene.truth["slots"].items() if s["visible_fraction"] >= _SLOT_VISIBLE}
    if not slots:
        return
    picture = to_grid(scene.image, scene.gsd_m, classifier.gsd_m, None)
    scale = picture.shape[1] / scene.image.shape[1]
    chips = [rectify(picture, [(float(x), float(y)) for x, y in scene.pixels(s["polygon"]) * scale]) for s in slots.values()]
    probability = classifier.classify(np.stack(chips))
    low, high = (float(str(classifier.card.config.get(key, 0.5))) for key in ("unknown_above", "unknown_below"))
    for (slot_id, slot), p in zip(slots.items(), probability, strict=True):
        unknown = low < p < high
        answer, truth = bool(p >= classifier.threshold), bool(slot["occupied"])
        right = int(answer == truth and not unknown)
        tally.n, tally.right, tally.unknown = tally.n + 1, tally.right + right, tally.unknown + int(unknown)
        counts = tally.by_kind[slot["kind"]]
        counts[0], counts[1] = counts[0] + right, counts[1] + 1
        if not unknown:
            tally.history[slot_id].append((str(scene.truth["acquired_at"]), truth, answer))


def slot_changes(history: Mapping[str, Sequence[tuple[str, bool, bool]]]) -> Counted:
    """Changes of single slots between consecutive dates: objects are true changes, right those found the right way."""
    true = predicted = right = 0
    for rows in history.values():
        ordered = sorted(rows)
        for (_, was, seen_before), (_, now, seen_now) in pairwise(ordered):
            true, predicted = true + (was != now), predicted + (seen_before != seen_now)
            right += was != now and seen_before != seen_now and now == seen_now
    return Counted(1, true, predicted, right, abs(predicted - true))


def _vehicle_keys(mixed: VehicleTally | None, real: VehicleTally | None) -> dict[str, object]:
    own = mixed.figures() if mixed is not None else {}
    photographs = real.figures() if real is not None else {}
    return {
        "vehicles_f1": own.get("f1"),
        "vehicles_f1_real_only": photographs.get("f1"),
        "count_error": own.get("count_error"),
        "heavy_f1": own.get("heavy_f1"),
        "length_error_m": own.get("length_error_m"),
        "vehicles": own or None,
        "vehicles_real_only": photographs or None,
        "vehicles_by_gsd": {g: round(c.f1, 4) for g, c in sorted(mixed.by_gsd.items())} if mixed else None,
        "vehicles_real_only_by_gsd": {g: round(c.f1, 4) for g, c in sorted(real.by_gsd.items())} if real else None,
    }


def _slot_keys(tally: SlotTally) -> dict[str, object]:
    changes = slot_changes(tally.history)
    measured = {"slot": {"precision": round(changes.precision, 4), "recall": round(changes.recall, 4), "n": changes.objects}}
    return {
        "slot_accuracy": round(tally.right / tally.n, 4) if tally.n else None,
        "slot_interval95": list(wilson(tally.right, tally.n)) if tally.n else None,
        "slot_unknown": tally.unknown,
        "slot_accuracy_by_kind": {kind: round(right / n, 4) for kind, (right, n) in sorted(tally.by_kind.items())},
        "slots": tally.n,
        "change": measured if changes.objects else None,
        "change_note": "only changes of single slots are measured in this version",
    }
