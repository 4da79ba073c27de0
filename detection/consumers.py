"""The detectors as the scan sees them: each reads a site's window, writes evidence and returns observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collateral.domain import Observation, Quality, SiteKind
from detection.counting import HEAVY, row_at, rows_of
from detection.evidence import write_evidence
from detection.infer import PanelSegmenter, SlotClassifier, VehicleDetector
from detection.locate import Located, locate_boxes, locate_mask, polygon_pixels
from detection.observe import estimate_area, estimate_count, estimate_share, estimate_state, observation
from detection.panel_state import PanelReferences, PanelView, compare_panels
from detection.slots import SlotReading, read_slots, unknown_by_reason
from detection.weightfile import Card
from imagery.scan import SiteWindow, WindowReading
from imagery.target import SiteTarget, mask_inside

_MIN_PANEL_M2 = 1.0
"""Smaller regions are not one module: taken for noise."""
_REFERENCE_HIDDEN = 0.02
"""A picture that hides more of the site than this becomes no reference of its panels."""
_DEFAULT_RECALL = 0.9
_DEFAULT_AREA_ERROR = 0.05
_DEFAULT_SLOT_ERROR = 0.02


class VehicleConsumer:
    """Counts vehicles, all and heavy, whose centre lies on the site."""

    def __init__(self, detector: VehicleDetector, evidence: Path) -> None:
        self._detector = detector
        self._evidence = evidence
        self._rows = {"vehicle_count": rows_of(detector.card), "heavy_vehicle_count": rows_of(detector.card, HEAVY)}
        self._recall = measured(detector.card, "recall_iou30", _DEFAULT_RECALL)
        self.name = "vehicles"
        self.model_sha256 = detector.model_sha256
        self.gsd_m = detector.gsd_m

    def wants(self, target: SiteTarget) -> bool:
        """Factories and warehouses."""
        return target.site.kind in (SiteKind.FACTORY, SiteKind.WAREHOUSE)

    def consume(self, window: SiteWindow) -> WindowReading:
        """vehicle_count and heavy_vehicle_count."""
        boxes = self._detector.detect(window.pixels.rgb, gsd_m=window.scene.record.gsd_m)
        found = locate_boxes(boxes, window.pixels.grid, window.target.polygon)
        heavy = [item for item in found if item.label == "heavy"]
        method = method_of(self._detector.name, self.model_sha256)
        files = write_evidence(self._evidence, window, method, found)
        evidence = {**_evidence(window), **files.as_dict()}
        observations = tuple(
            self._counted(quantity, items, window, method, evidence)
            for quantity, items in (("vehicle_count", found), ("heavy_vehicle_count", heavy))
        )
        return WindowReading(observations, {"vehicles": len(found), "heavy": len(heavy), **files.as_dict()})

    def _counted(
        self, quantity: str, items: Sequence[Located], window: SiteWindow, method: str, evidence: Mapping[str, object]
    ) -> Observation:
        """The number corrected for misses; the raw number and what it was corrected with stay in the evidence."""
        rows = self._rows[quantity]
        row = row_at(rows, window.scene.record.gsd_m) if rows else None
        estimate = estimate_count([item.confidence for item in items], row or self._recall, window.hidden_share)
        basis = {"recall": self._recall} if row is None else {
            "recall": round(row.recall, 4), "ratio": round(row.ratio, 4), "place_spread": round(row.place_spread, 4),
            "measured_gsd_m": [rows[0].gsd_m, rows[-1].gsd_m],
        }  # fmt: skip
        return observation(window, quantity, method, estimate, {**evidence, "found": len(items), **basis})


class SlotConsumer:
    """Says which slots are occupied, and the site's occupancy with its denominator."""

    def __init__(self, classifier: SlotClassifier, evidence: Path) -> None:
        self._classifier = classifier
        self._evidence = evidence
        self._error = _stated(classifier.card, "held_out_error") or (
            1 - measured(classifier.card, "accuracy", 1 - _DEFAULT_SLOT_ERROR)
        )
        self.name = "slots"
        self.model_sha256 = classifier.model_sha256
        self.gsd_m = classifier.gsd_m

    def wants(self, target: SiteTarget) -> bool:
        """Sites with slots under the open sky."""
        return bool(target.slots) and target.site.kind in (SiteKind.FACTORY, SiteKind.WAREHOUSE)

    def consume(self, window: SiteWindow) -> WindowReading:
        """slot_occupied for every slot whose state is known, slot_occupancy of those for the site."""
        grid = window.pixels.grid
        corners = {slot_id: polygon_pixels(shape, grid) for slot_id, shape in window.target.slot_polygons.items()}
        kinds = {slot.slot_id: slot.kind for slot in window.target.slots}
        coarser = window.scene.record.gsd_m / grid.gsd_m
        readings = read_slots(window.pixels.rgb, window.pixels.valid, corners, kinds, self._classifier, coarser)
        known = {r.slot_id: r.probability for r in readings if not r.reason and r.probability is not None}
        method = method_of(self._classifier.name, self.model_sha256)
        files = write_evidence(self._evidence, window, method, self._located(window, readings))
        figures = {
            "occupied": sum(r.label == "occupied" for r in readings), "denominator": len(known), "slots": len(corners),
            "unknown": len(corners) - len(known), "unknown_by_reason": unknown_by_reason(readings),
        }  # fmt: skip
        return WindowReading(
            tuple(self._observations(window, method, known, {**_evidence(window), **files.as_dict()}, figures)),
            {**figures, **files.as_dict()},
        )

    def _observations(
        self,
        window: SiteWindow,
        method: str,
        occupied: Mapping[str, float],
        evidence: Mapping[str, object],
        figures: Mapping[str, object],
    ) -> list[Observation]:
        rows = [
            observation(window, "slot_occupied", method, estimate_state(p), evidence, slot_id)
            for slot_id, p in occupied.items()
        ]
        if occupied:
            share = estimate_share(list(occupied.values()), self._error)
            rows.append(observation(window, "slot_occupancy", method, share, {**evidence, **figures}))
        return rows

    @staticmethod
    def _located(window: SiteWindow, readings: Sequence[SlotReading]) -> list[Located]:
        shapes, epsg = window.target.slot_polygons, window.pixels.grid.epsg
        return [Located(shapes[r.slot_id], epsg, r.probability or 0.0, r.label, subject_id=r.slot_id) for r in readings]


class PanelConsumer:
    """Measures the panel area on a solar site."""

    def __init__(self, segmenter: PanelSegmenter, evidence: Path) -> None:
        self._segmenter = segmenter
        self._evidence = evidence
        self._error = _stated(segmenter.card, "area_spread") or abs(
            measured(segmenter.card, "area_error", _DEFAULT_AREA_ERROR)
        )
        self.name = "panels"
        self.model_sha256 = segmenter.model_sha256
        self.gsd_m = segmenter.gsd_m
        self._references = PanelReferences(evidence / "panel_references", method_of(self.name, self.model_sha256))

    def wants(self, target: SiteTarget) -> bool:
        """Solar plants."""
        return target.site.kind is SiteKind.SOLAR

    def consume(self, window: SiteWindow) -> WindowReading:
        """panel_area_m2; and, since the site's reference picture, the shares missing, covered and dark."""
        grid = window.pixels.grid
        inside = mask_inside(window.target.polygon, grid) & window.pixels.valid
        probability = np.where(inside, self._segmenter.segment(window.pixels.rgb), np.float32(0)).astype(np.float32)
        threshold = self._segmenter.threshold
        found = locate_mask(probability >= threshold, probability, grid, "panel", _MIN_PANEL_M2)
        estimate = estimate_area(probability, threshold, grid.gsd_m**2, self._error, window.hidden_share)
        method = method_of(self._segmenter.name, self.model_sha256)
        files = write_evidence(self._evidence, window, method, found)
        evidence = {**_evidence(window), **files.as_dict(), "regions": len(found)}
        if window.target.site.panel_area_m2:
            evidence["denominator"] = window.target.site.panel_area_m2
        area = observation(window, "panel_area_m2", method, estimate, evidence)
        figures = {"panel_area_m2": round(estimate.value, 1), **files.as_dict()}
        shares, told = self._state(window, inside, probability, method, evidence)
        return WindowReading((area, *shares), {**figures, **told})

    def _state(
        self, window: SiteWindow, inside: NDArray[np.bool_], probability: NDArray[np.float32], method: str,
        evidence: Mapping[str, object],
    ) -> tuple[list[Observation], dict[str, object]]:
        """Observations since the reference; a doubtful picture is not compared, and becomes no reference."""
        if window.quality is not Quality.GOOD:
            return [], {"panel_state": "doubtful picture"}
        site_id, record, grid = window.target.site.site_id, window.scene.record, window.pixels.grid
        threshold = self._segmenter.threshold
        view = PanelView(record.scene_id, record.acquired_at, grid, window.pixels.rgb, inside, probability)
        reference = self._references.get(site_id, grid)
        if window.hidden_share <= _REFERENCE_HIDDEN:
            self._references.offer(site_id, view, threshold, reference)
        if reference is None or reference.acquired_at >= record.acquired_at:
            return [], {"panel_state": "no earlier reference"}
        state = compare_panels(reference, view, threshold, self._error)
        if state is None:
            return [], {"panel_state": "too little of the reference's panels in sight"}
        basis = {
            **evidence, "since": reference.acquired_at.isoformat(), "since_scene": reference.scene_id,
            "seen_share": round(state.seen_share, 3),
        }  # fmt: skip
        shares = {
            "panel_missing_share": state.missing, "panel_covered_share": state.covered, "panel_dark_share": state.dark,
        }  # fmt: skip
        rows = [observation(window, quantity, method, value, basis) for quantity, value in shares.items()]
        return rows, {quantity: round(value.value, 4) for quantity, value in shares.items()}


def method_of(name: str, model_sha256: str) -> str:
    """Name and version of a method: other weights, other method."""
    return f"{name}@{model_sha256[:12]}"


def _stated(card: Card, key: str) -> float:
    """An error on held-out data that the card's config states; 0 on older cards."""
    value = card.config.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def measured(card: Card, key: str, otherwise: float) -> float:
    """The figure `key` of a model card on rendered scenes where there is one, else the first anywhere, else `otherwise`."""
    found = dict(_walk(card.figures, ""))
    ranked = sorted((path for path in found if path.rsplit("/", 1)[-1] == key), key=lambda path: "scenes" not in path)
    return found[ranked[0]] if ranked else otherwise


def _walk(figures: Mapping[str, object], prefix: str) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            rows += _walk(value, f"{prefix}/{key}")
        elif isinstance(value, int | float):
            rows.append((f"{prefix}/{key}", float(value)))
    return rows


def _evidence(window: SiteWindow) -> dict[str, object]:
    return {
        "scene_id": window.scene.record.scene_id,
        "gsd_m": round(window.scene.record.gsd_m, 3),
        "hidden_share": round(window.hidden_share, 4),
        "reference": window.figures.get("reference", ""),
    }
