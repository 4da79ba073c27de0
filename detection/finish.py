"""After training: calibration and thresholds from data that was not trained on, then weights and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from collateral.progress import progress
from detection.dataset import Chip, LabelledImage
from detection.evaluate import find, pooled, slot_chip, to_grid
from detection.infer import PanelSegmenter, SlotClassifier, VehicleDetector
from detection.metrics import best_threshold, calibrate, fit_calibration
from detection.presence import raw_presence
from detection.weightfile import Card, write_weights

_PLAIN = (1.0, 0.0)


@dataclass(frozen=True)
class Provenance:
    """What a card says about where weights come from."""

    name: str
    seed: int
    config: Mapping[str, object]
    training_data: tuple[Mapping[str, object], ...]
    held_out: str
    known_failures: tuple[str, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)


def finish_vehicles(
    state: Mapping[str, Tensor], origin: Provenance, weights: Path, gsd_m: float, held_out: Sequence[LabelledImage]
) -> Card:
    """Calibrates on `held_out`, picks the threshold of the largest F1 there, writes weights and card."""
    write_weights(weights, state, _blank(origin, "vehicles", gsd_m, 0.02))
    detector = VehicleDetector.load(weights)
    found = [find(detector, item) for item in progress(held_out, "calibrating", unit="image")]
    raw, right = pooled(found)
    calibration = fit_calibration(raw, right)
    confidence = calibrate(raw, calibration)
    threshold = best_threshold(confidence, right, sum(len(f.item.boxes) for f in found))
    return write_weights(weights, state, replace(_blank(origin, "vehicles", gsd_m, threshold), calibration=calibration))


def finish_panels(
    state: Mapping[str, Tensor], origin: Provenance, weights: Path, gsd_m: float, held_out: Sequence[Chip]
) -> Card:
    """Calibrates the presence of panels on `held_out` chips; the pixel threshold stays at one half."""
    blank = _blank(origin, "panels", gsd_m, 0.5)
    write_weights(weights, state, blank)
    segmenter = PanelSegmenter.load(weights)
    chips = progress(held_out, "calibrating", unit="chip")
    maps = [segmenter.segment(to_grid(chip.image, chip.gsd_m, gsd_m, None)) for chip in chips]
    raw = np.array([raw_presence(m, gsd_m) for m in maps], np.float32)
    labels = np.array([chip.label == 1 for chip in held_out])
    calibration = fit_calibration(raw, labels)
    threshold = best_threshold(calibrate(raw, calibration), labels, int(labels.sum()))
    config = {**origin.config, "presence_calibration": list(calibration), "presence_threshold": threshold}
    return write_weights(weights, state, replace(blank, config=config))


def finish_slots(
    state: Mapping[str, Tensor], origin: Provenance, weights: Path, gsd_m: float, held_out: Sequence[Chip]
) -> Card:
    """Calibrates on `held_out` chips; answers between the two limits of the card are unknown."""
    blank = _blank(origin, "slots", gsd_m, 0.5)
    write_weights(weights, state, blank)
    classifier = SlotClassifier.load(weights)
    raw = classifier.classify(np.stack([slot_chip(chip.image) for chip in held_out]))
    labels = np.array([chip.label == 1 for chip in held_out])
    calibration = fit_calibration(raw, labels)
    return write_weights(weights, state, replace(blank, calibration=calibration))


def _blank(origin: Provenance, network: str, gsd_m: float, threshold: float) -> Card:
    return Card(
        name=origin.name,
        network=network,
        sha256="",
        gsd_m=gsd_m,
        threshold=threshold,
        calibration=_PLAIN,
        seed=origin.seed,
        config=origin.config,
        training_data=origin.training_data,
        held_out=origin.held_out,
        figures=origin.figures,
        known_failures=origin.known_failures,
    )
