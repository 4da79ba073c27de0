"""All detectors on rendered scenes against the truth files beside them: `collateral evaluate scenes`.

A truth file is NAME.truth.json beside NAME.tif, with polygons in the coordinates of the written file. Scenes are read
exactly as the scan reads them (`imagery.reader`, warped onto each detector's grid). Nothing here knows how the pictures
were made.
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
from numpy.typing import NDArray
from shapely.geometry import box

from collateral.errors import InvalidInputError
from collateral.progress import progress
from detection.arrays import Floats, floats
from detection.counting import rows_of
from detection.dataset import Picture
from detection.evaluate_series import SceneTruth, SeriesTally, judge_series
from detection.gallery import Gallery
from detection.infer import HEAVY_M, Box, Detector, PanelSegmenter, SlotClassifier, VehicleDetector, rectify
from detection.metrics import Counted, match, undecided, wilson
from detection.observe import count_in_picture
from detection.scene_gallery import show_slots, show_vehicles
from detection.stock import StockSegmenter
from detection.weightfile import default_path
from imagery.grid import GridSpec, grid_over
from imagery.raster import RasterFacts, inspect
from imagery.reader import read_pixels

SUFFIX = ".truth.json"
REAL = "{}-real"
"""Name of the weights of a network that were taught by photographs alone."""
_VISIBLE = 0.5
"""Vehicles of which less is visible count neither way."""
_SLOT_VISIBLE = 0.9
_CLEAR_SKY = 0.05
"""Panel area is measured on scenes with less cloud than this: truth outlines say nothing about what a cloud hides."""
_NO_REAL_GOODS = (
    "goods have none, and so stock cover and changes of goods and roofs have no such row: no photograph under a free"
    " licence has outlines of goods"
)


@dataclass(frozen=True)
class SceneDetectors:
    """What is measured; None leaves its figures null."""

    vehicles: VehicleDetector | None = None
    panels: PanelSegmenter | None = None
    slots: SlotClassifier | None = None
    stock: StockSegmenter | None = None
    real: SceneDetectors | None = None
    """Those of them that are taught without rendered pictures: how close these are to photographs."""

    @classmethod
    def shipped(cls, cache: Path | None = None) -> SceneDetectors:
        """All shipped weights; with a `cache` folder on the fastest engine installed, as in a scan."""
        return cls(
            VehicleDetector.load(cache=cache), PanelSegmenter.load(cache=cache), SlotClassifier.load(cache=cache),
            StockSegmenter.load(cache=cache), cls.shipped_real(cache),
        )  # fmt: skip

    @classmethod
    def shipped_real(cls, cache: Path | None = None) -> SceneDetectors:
        """Of the shipped weights those named NETWORK-real."""
        vehicles, panels, slots = (default_path(REAL.format(name)) for name in ("vehicles", "panels", "slots"))
        return cls(
            VehicleDetector.load(vehicles, cache) if vehicles.is_file() else None,
            PanelSegmenter.load(panels, cache) if panels.is_file() else None,
            SlotClassifier.load(slots, cache) if slots.is_file() else None,
        )

    def sha256(self) -> dict[str, str]:
        """Checksums of the weights in use, by network; NETWORK-real for those taught by photographs alone."""
        named: dict[str, Detector | None] = {
            "vehicles": self.vehicles, "panels": self.panels, "slots": self.slots, "stock": self.stock,
        }  # fmt: skip
        own = {name: detector.model_sha256 for name, detector in named.items() if detector is not None}
        real = {} if self.real is None else self.real.sha256()
        return {**own, **{REAL.format(name): sha256 for name, sha256 in real.items()}}


@dataclass(frozen=True)
class TrueScene:
    """A scene file and what is true of it."""

    name: str
    facts: RasterFacts
    truth: Mapping[str, Any]
    _pictures: dict[float, tuple[GridSpec, Picture]] = field(default_factory=dict)

    def picture(self, gsd_m: float) -> tuple[GridSpec, Picture]:
        """The whole scene warped once onto a grid of that pixel, and the grid."""
        if gsd_m not in self._pictures:
            grid = self.grid(gsd_m)
            self._pictures[gsd_m] = grid, read_pixels(self.facts, grid).rgb
        return self._pictures[gsd_m]

    def grid(self, gsd_m: float) -> GridSpec:
        """The whole scene on a grid of that pixel."""
        matrix, size = self.facts.affine, self.facts.size
        extent = box(matrix.c, matrix.f + matrix.e * size.height, matrix.c + matrix.a * size.width, matrix.f)
        return grid_over(extent.buffer(-2 * self.facts.gsd_m, join_style="mitre"), self.facts.epsg, gsd_m)

    def ring(self, geometry: Mapping[str, Any], grid: GridSpec) -> NDArray[np.float64]:
        """Exterior of a GeoJSON polygon of the truth in pixels of a grid, N x 2, not closed."""
        return grid.to_pixels(np.asarray(geometry["coordinates"][0][:-1], np.float64))


@dataclass
class VehicleTally:
    """Vehicle figures while they grow."""

    every: Counted = field(default_factory=Counted)
    heavy: Counted = field(default_factory=Counted)
    length_errors_m: list[float] = field(default_factory=list)
    by_gsd: dict[str, Counted] = field(default_factory=lambda: defaultdict(Counted))
    corrected: list[tuple[float, bool]] = field(default_factory=list)
    """Per scene: |corrected count - true count|, and whether its 95 % interval holds the true one."""

    def figures(self) -> dict[str, object]:
        """Figures; null where nothing was there to measure."""
        lengths = self.length_errors_m
        return {
            "objects": self.every.objects,
            "f1_iou30": self.every.f1,
            "precision_iou30": self.every.precision,
            "recall_iou30": self.every.recall,
            "count_error": self.every.count_error,
            "corrected_count_error": sum(gap for gap, _ in self.corrected) / max(1, self.every.objects)
            if self.corrected else None,
            "count_coverage95": float(np.mean([held for _, held in self.corrected])) if self.corrected else None,
            "heavy_f1": self.heavy.f1 if self.heavy.objects else None,
            "heavy_objects": self.heavy.objects,
            "length_error_m": float(np.mean(lengths)) if lengths else None,
            "f1_iou30_by_gsd": {gsd: counted.f1 for gsd, counted in sorted(self.by_gsd.items())},
        }  # fmt: skip


@dataclass
class SlotTally:
    """Slot answers while they grow."""

    right: int = 0
    n: int = 0
    unknown: int = 0
    by_kind: dict[str, list[bool]] = field(default_factory=lambda: defaultdict(list))
    history: dict[str, list[tuple[str, bool, bool]]] = field(default_factory=lambda: defaultdict(list))
    """Slot -> (time, truth, answer), undecided answers left out."""

    def figures(self) -> dict[str, object]:
        """Figures; null where no slot was there."""
        return {
            "slot_accuracy": self.right / self.n if self.n else None,
            "slot_interval95": list(wilson(self.right, self.n)) if self.n else None,
            "slot_unknown": self.unknown,
            "slot_accuracy_by_kind": {kind: float(np.mean(right)) for kind, right in sorted(self.by_kind.items())},
            "slots": self.n,
        }


@dataclass
class PanelTally:
    """Panel area while it grows."""

    gap_m2: float = 0.0
    true_m2: float = 0.0
    scenes: int = 0

    def figures(self) -> dict[str, object]:
        """Sum over scenes of |found - true| / true area; null where none was there."""
        return {"panel_area_error": self.gap_m2 / self.true_m2 if self.true_m2 else None, "panel_scenes": self.scenes}


@dataclass
class SceneTally:
    """What one set of detectors finds, scene by scene."""

    tools: SceneDetectors
    vehicles: VehicleTally = field(default_factory=VehicleTally)
    panels: PanelTally = field(default_factory=PanelTally)
    slots: SlotTally = field(default_factory=SlotTally)

    def judge(self, scene: TrueScene, gallery: Gallery | None = None) -> None:
        """Adds one scene."""
        if self.tools.vehicles is not None:
            count_vehicles(scene, self.tools.vehicles, self.vehicles, gallery)
        if self.tools.panels is not None and scene.truth["panels"] and scene.truth["cloud_fraction"] <= _CLEAR_SKY:
            found, true = panel_areas(scene, self.tools.panels)
            self.panels.gap_m2, self.panels.true_m2 = self.panels.gap_m2 + abs(found - true), self.panels.true_m2 + true
            self.panels.scenes += 1
        if self.tools.slots is not None:
            judge_slots(scene, self.tools.slots, self.slots, gallery)

    def by_network(self) -> dict[str, object]:
        """Figures of each network; null where there is none."""
        tools = self.tools
        return {
            "vehicles": self.vehicles.figures() if tools.vehicles is not None else None,
            "panels": self.panels.figures() if tools.panels is not None else None,
            "slots": {**self.slots.figures(), "change": _slot_change(self.slots)} if tools.slots is not None else None,
        }


def evaluate_scenes(
    folder: Path, detectors: SceneDetectors | None = None, gallery: Gallery | None = None
) -> dict[str, object]:
    """Figures of `collateral evaluate scenes` over all NAME.tif with NAME.truth.json below `folder`.

    f1_iou30, count_error, heavy_f1, length_error_m are of the shipped vehicle detector, f1_iou30_real_only of the one
    taught by photographs alone; `without_rendered` has the figures of every network that has such weights.
    panel_area_error: sum over cloudless scenes of |found - true| / true area. slot_accuracy:
    over slots at least 90 % visible, undecided answers count as wrong. stock_cover_error: mean over yards of |found - true|
    cover in points; change: precision and recall by kind between neighbouring dates of a site; both through the scan's own
    quality verdict and registration (`evaluate_series`). Raises `InvalidInputError` when there is no truth.
    """
    paths = sorted(folder.rglob("*" + SUFFIX))
    if not paths:
        raise InvalidInputError(f"{folder} holds no NAME{SUFFIX}; render scenes with `collateral sample write DIR`.")
    tools = detectors or SceneDetectors.shipped()
    mixed, real, series = SceneTally(tools), SceneTally(tools.real or SceneDetectors()), SeriesTally()
    sites: dict[str, list[SceneTruth]] = defaultdict(list)
    for path in progress(paths, "scenes", unit="scene"):
        scene = read_truth(path)
        mixed.judge(scene, gallery)
        real.judge(scene)
        if len(scene.truth["site_ids"]) == 1:
            told = SceneTruth(path.with_name(f"{scene.name}.tif"), scene.facts, scene.truth)
            sites[scene.truth["site_ids"][0]].append(told)
    if tools.stock is not None and tools.vehicles is not None:
        for dates in progress(sites.values(), "sites", unit="site"):
            judge_series(dates, tools.stock, tools.vehicles, tools.panels, series)
    photographs = real.by_network()
    vehicles = real.vehicles.figures() if real.tools.vehicles is not None else None
    return {
        "scenes": len(paths),
        **(mixed.vehicles.figures() if tools.vehicles else dict.fromkeys(VehicleTally().figures())),
        "f1_iou30_real_only": vehicles["f1_iou30"] if vehicles else None,
        "real_only": vehicles,
        **mixed.panels.figures(),
        **mixed.slots.figures(),
        **_series_figures(series, mixed.slots),
        "without_rendered": {**photographs, "note": _real_note(photographs)},
        "model_sha256": tools.sha256(),
    }


def _real_note(photographs: Mapping[str, object]) -> str:
    there = [REAL.format(name) for name, figures in photographs.items() if figures is not None]
    missing = [REAL.format(name) for name, figures in photographs.items() if figures is None]
    rows = [f"{', '.join(there)} never saw a rendered picture"] if there else []
    rows += [f"not here: {', '.join(missing)}"] if missing else []
    return "; ".join([*rows, _NO_REAL_GOODS])


def read_truth(path: Path) -> TrueScene:
    """A truth file and its scene. Raises `InvalidInputError` when the scene is missing or they disagree in size."""
    truth = orjson.loads(path.read_bytes())
    scene = path.with_name(path.name.removesuffix(SUFFIX) + ".tif")
    if not scene.is_file():
        raise InvalidInputError(f"{scene} is missing beside {path.name}; render it again or remove the truth file.")
    facts = inspect(scene)
    if (facts.size.width, facts.size.height) != (truth["width"], truth["height"]):
        told = f"{truth['width']} x {truth['height']}"
        raise InvalidInputError(f"{scene} has {facts.size.width} x {facts.size.height} pixels, its truth says {told}.")
    return TrueScene(scene.stem, facts, truth)


def count_vehicles(
    scene: TrueScene, detector: VehicleDetector, tally: VehicleTally, gallery: Gallery | None = None
) -> None:
    """Detect, match at IoU 0.3 and add to the tally. Vehicles mostly hidden or cut off are ignored regions."""
    grid, image = scene.picture(detector.gsd_m)
    frame = (grid.size.width, grid.size.height)
    rows = [(v, _bounds(scene.ring(v["polygon"], grid))) for v in scene.truth["vehicles"]]
    rows = [(v, b) for v, b in rows if b[2] > 0 and b[3] > 0 and b[0] < frame[0] and b[1] < frame[1]]
    clear = [(v, b) for v, b in rows if v["visible_fraction"] >= _VISIBLE]
    hidden = floats([b for v, b in rows if v["visible_fraction"] < _VISIBLE]).reshape(-1, 4)
    labels = floats([b for _, b in clear]).reshape(-1, 4)
    true_m = floats([v["length_m"] for v, _ in clear])
    found = detector.detect(image, gsd_m=scene.facts.gsd_m)
    counted, taken, wrong = _counted(found, labels, hidden)
    if gallery is not None:
        show_vehicles(gallery, (scene.name, "vehicles"), image, found, taken, wrong, labels, detector.threshold)
    tally.every += counted
    if rows_of(detector.card):
        sure = [b.confidence for b, index, bad in zip(found, taken, wrong, strict=True) if index >= 0 or bad]
        estimate = count_in_picture(sure, rows_of(detector.card), scene.facts.gsd_m)
        held = estimate.lower <= len(labels) <= estimate.upper
        tally.corrected.append((abs(estimate.value - len(labels)), held))
    tally.by_gsd[f"{scene.facts.gsd_m:.2f}"] += counted
    said_heavy = [b for b in found if b.label == "heavy"]
    tally.heavy += _counted(said_heavy, labels[true_m >= HEAVY_M], hidden)[0]
    tally.length_errors_m += [
        abs(b.length_px * detector.gsd_m - float(true_m[index])) for b, index in zip(found, taken, strict=True) if index >= 0
    ]


def _bounds(ring: NDArray[np.float64]) -> list[float]:
    return [*ring.min(axis=0).tolist(), *ring.max(axis=0).tolist()]


def _counted(found: Sequence[Box], labels: Floats, hidden: Floats) -> tuple[Counted, list[int], NDArray[np.bool_]]:
    """Figures, the label each box takes or -1, and which boxes are wrong."""
    boxes = floats([[b.x0, b.y0, b.x1, b.y1] for b in found]).reshape(-1, 4)
    taken = match(boxes, floats([b.confidence for b in found]), labels, 0.3)
    right = int((taken >= 0).sum())
    wrong = (taken < 0) & ~undecided(boxes, hidden)
    predicted = right + int(wrong.sum())
    return Counted(1, len(labels), predicted, right, abs(predicted - len(labels))), taken.tolist(), wrong


def panel_areas(scene: TrueScene, segmenter: PanelSegmenter) -> tuple[float, float]:
    """Panel area found and true, square metres of the ground plane."""
    grid, image = scene.picture(segmenter.gsd_m)
    found = segmenter.segment(image) >= segmenter.threshold
    return float(found.sum()) * grid.gsd_m**2, float(sum(panel["area_m2"] for panel in scene.truth["panels"]))


def judge_slots(
    scene: TrueScene, classifier: SlotClassifier, tally: SlotTally, gallery: Gallery | None = None
) -> None:
    """Classify every clearly visible slot and add to the tally."""
    slots = {k: s for k, s in scene.truth["slots"].items() if s["visible_fraction"] >= _SLOT_VISIBLE}
    if not slots:
        return
    grid, image = scene.picture(classifier.gsd_m)
    rings = [scene.ring(slot["polygon"], grid) for slot in slots.values()]
    chips = np.stack([rectify(image, [(float(x), float(y)) for x, y in ring]) for ring in rings])
    low, high = (float(str(classifier.card.config.get(key, 0.5))) for key in ("unknown_above", "unknown_below"))
    probabilities = classifier.classify(chips, [slot["kind"] for slot in slots.values()]).tolist()
    if gallery is not None:
        named = [(slot_id, bool(slot["occupied"])) for slot_id, slot in slots.items()]
        show_slots(gallery, scene.name, chips, named, probabilities, classifier.threshold)
    for (slot_id, slot), p in zip(slots.items(), probabilities, strict=True):
        unknown = low < p < high
        answer, truth = p >= classifier.threshold, bool(slot["occupied"])
        right = answer == truth and not unknown
        tally.n, tally.right, tally.unknown = tally.n + 1, tally.right + int(right), tally.unknown + int(unknown)
        tally.by_kind[slot["kind"]].append(right)
        if not unknown:
            tally.history[slot_id].append((str(scene.truth["acquired_at"]), truth, answer))


def slot_changes(history: Mapping[str, Sequence[tuple[str, bool, bool]]]) -> Counted:
    """Changes of single slots between consecutive dates: objects are true changes, right those found the right way."""
    true = predicted = right = 0
    for rows in history.values():
        for (_, was, seen_before), (_, now, seen_now) in pairwise(sorted(rows)):
            true, predicted = true + (was != now), predicted + (seen_before != seen_now)
            right += was != now and seen_before != seen_now and now == seen_now
    return Counted(1, true, predicted, right, abs(predicted - true))


def _slot_change(tally: SlotTally) -> dict[str, object] | None:
    changes = slot_changes(tally.history)
    return {"precision": changes.precision, "recall": changes.recall, "n": changes.objects} if changes.objects else None


def _series_figures(series: SeriesTally, slots: SlotTally) -> dict[str, object]:
    """Figures over time; changes of single slots beside the changes of the change detector."""
    figures = series.figures()
    single = _slot_change(slots)
    kinds = figures["change"]
    assert isinstance(kinds, dict)
    return {**figures, "change": {**kinds, **({"slot": single} if single else {})} or None}
