"""After training: calibration and thresholds from data that was not trained on, then weights and card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from collateral.progress import progress
from detection.arrays import Floats
from detection.calibration import Answers, choose_calibrator
from detection.counting import ANY, HEAVY, Tally, as_rows, fit_rows
from detection.dataset import Chip, LabelledImage, MaskedImage
from detection.evaluate import Findings, find, pooled, to_grid
from detection.evaluate_pictures import panel_probability, slot_chip
from detection.infer import HEAVY_M, PanelSegmenter, SlotClassifier, VehicleDetector
from detection.metrics import fit_calibration, nearest_within, unbiased_threshold
from detection.presence import presence_threshold, raw_presence
from detection.weightfile import Card, write_weights

_PLAIN = (1.0, 0.0)
CALIBRATION_KEYS = (
    "presence_calibrator", "presence_threshold", "area_spread", "held_out_error", "held_out_unsure",
    "unknown_above", "unknown_below", "class_temperature", "favour_rare", "held_out_sensitivity", "held_out_specificity",
    "held_out",
)  # fmt: skip
"""What finishing adds to a card's config."""
COARSER_M = (0.15, 0.3)
"""Held-out pictures are also measured as if a camera of these distances had taken them."""
_COARSER = 1.3
"""... where that is this many times coarser than they are."""
_CALIBRATED_FROM = 0.1
"""Raw confidence."""
_LEAST_MASKS = 5
_UNSURE = 0.4
"""Answers about slots that are wrong more often than this are not given."""


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
    """Calibrates on `held_out` (also seen through coarser cameras), picks the threshold on them as they are (photographs and
    rendered pictures weigh the same), measures recall and its spread by pixel size, writes weights and card."""
    blank = _blank(origin, "vehicles", gsd_m, 0.02)
    write_weights(weights, state, blank)
    detector = VehicleDetector.load(weights)
    views = [(item, seen) for item in held_out for seen in (None, *(g for g in COARSER_M if g > _COARSER * item.gsd_m))]
    raw = [find(detector, item, seen) for item, seen in progress(views, "calibrating", unit="image")]
    answers = _answers(raw)
    calibrator, about = choose_calibrator(answers)
    found = [replace(f, confidence=calibrator(f.confidence, f.gsd_m)) for f in raw]
    as_they_are = [f for f, (_, seen) in zip(found, views, strict=True) if seen is None]
    rendered = [f for f in as_they_are if f.item.rendered]
    photographs = [f for f in as_they_are if not f.item.rendered]
    parts = [part for part in (photographs, rendered) if part]
    threshold = unbiased_threshold([(*pooled(part), sum(len(f.item.boxes) for f in part)) for part in parts])
    rows = fit_rows(ANY, [_tally(f, threshold) for f in found])
    rows += fit_rows(HEAVY, [_heavy_tally(f, threshold) for f in found], corrected=True)
    done = replace(blank, threshold=threshold, calibration=fit_calibration(answers.raw, answers.right))
    return write_weights(weights, state, replace(done, calibrator=about, counting=as_rows(rows)))


def _answers(found: Sequence[Findings]) -> Answers:
    """Detections worth calibrating: the many of next to no confidence would decide the fit alone."""
    chosen = [f.confidence >= _CALIBRATED_FROM for f in found]
    sizes = [int(c.sum()) for c in chosen]
    return Answers(
        np.concatenate([f.confidence[c] for f, c in zip(found, chosen, strict=True)]),
        np.concatenate([f.right30[c] for f, c in zip(found, chosen, strict=True)]),
        np.repeat([f.gsd_m for f in found], sizes),
        np.repeat([f.item.group for f in found], sizes),
    )


def _tally(found: Findings, threshold: float) -> Tally:
    chosen = found.confidence >= threshold
    return Tally(
        found.item.group, found.gsd_m, len(found.item.boxes), found.confidence[chosen], found.right30[chosen]
    )


def _heavy_tally(found: Findings, threshold: float) -> Tally:
    """The same for heavy vehicles: right are those called heavy that are."""
    heavy = found.item.oriented[:, 2] * found.item.gsd_m >= HEAVY_M
    chosen = (found.confidence >= threshold) & (found.length_m >= HEAVY_M)
    taken = found.taken[chosen]
    right = np.array([index >= 0 and bool(heavy[index]) for index in taken], np.bool_)
    return Tally(found.item.group, found.gsd_m, int(heavy.sum()), found.confidence[chosen], right)


def finish_panels(
    state: Mapping[str, Tensor],
    origin: Provenance,
    weights: Path,
    gsd_m: float,
    held_out: Sequence[Chip],
    masks: Sequence[MaskedImage] = (),
    threshold: float | None = 0.5,
) -> Card:
    """Calibrates the presence of panels on `held_out` chips; `threshold` on pixels: None takes that of
    `mask_threshold` on `masks`. With `masks` not trained on, the card's config gets `area_spread`: relative error of
    the area of a picture."""
    blank = _blank(origin, "panels", gsd_m, 0.5 if threshold is None else threshold)
    write_weights(weights, state, blank)
    segmenter = PanelSegmenter.load(weights)
    areas = [panel_probability(segmenter, item) for item in progress(masks, "areas", unit="image")]
    if threshold is None:
        blank = replace(blank, threshold=mask_threshold(areas, masks))
    chips = progress(held_out, "calibrating", unit="chip")
    maps = (segmenter.segment(to_grid(chip.image, chip.gsd_m, gsd_m, None), all_views=True) for chip in chips)
    raw = np.array([raw_presence(m, gsd_m) for m in maps], np.float32)
    labels = np.array([chip.label == 1 for chip in held_out])
    calibrator, about = choose_calibrator(_chip_answers(raw, labels, held_out))
    config: dict[str, object] = {
        **origin.config,
        "presence_calibrator": about,
        "presence_threshold": presence_threshold(calibrator(raw), labels),
    }
    if len(masks) >= _LEAST_MASKS:
        config["area_spread"] = area_spread(areas, masks, blank.threshold)
    return write_weights(weights, state, replace(blank, config=config))


def mask_threshold(maps: Sequence[Floats], masks: Sequence[MaskedImage]) -> float:
    """The threshold on pixels, in steps of 0.05, at which the area found is the area there is, among those of nearly the
    largest IoU over all pixels of the pictures."""
    steps = np.arange(0.1, 0.95, 0.05)
    both, either, area = np.zeros(len(steps)), np.zeros(len(steps)), np.zeros(len(steps))
    for probability, item in zip(maps, masks, strict=True):
        for index, step in enumerate(steps):
            found = probability >= step
            both[index] += int((found & item.mask).sum())
            either[index] += int((found | item.mask).sum())
            area[index] += int(found.sum()) - int(item.mask.sum())
    return nearest_within(steps, both / np.maximum(either, 1), np.abs(area))


def area_spread(maps: Sequence[Floats], masks: Sequence[MaskedImage], threshold: float) -> float:
    """Root mean square of (found - true) / true panel area over pictures that show panels, weighted by their area."""
    shown = [(maps[index], item.mask) for index, item in enumerate(masks) if item.mask.any()]
    if not shown:
        return 0.0
    found_px, true_px = np.array([((p >= threshold).sum(), mask.sum()) for p, mask in shown], np.float64).T
    return float(np.sqrt(np.average(((found_px - true_px) / true_px) ** 2, weights=true_px)))


def finish_slots(
    state: Mapping[str, Tensor],
    origin: Provenance,
    weights: Path,
    gsd_m: float,
    held_out: Sequence[Chip],
    folds: Sequence[tuple[Mapping[str, Tensor], Sequence[Chip]]] = (),
) -> Card:
    """Calibrates on `held_out` chips, and on those of `folds`, each answered by weights that were taught alike but without
    them; answers between the two limits of the card are unknown."""
    blank = _blank(origin, "slots", gsd_m, 0.5)
    asked = [(state, held_out), *folds]
    chips = [chip for _, own in asked for chip in own]
    raw = np.concatenate([_raw_answers(taught, own, weights, blank) for taught, own in asked])
    labels = np.array([chip.label == 1 for chip in chips])
    calibrator, about = choose_calibrator(_chip_answers(raw, labels, chips))
    done = replace(blank, calibration=fit_calibration(raw, labels), calibrator=about)
    p = calibrator(raw)
    known = (p <= _UNSURE) | (p >= 1 - _UNSURE)
    wrong = int(((p >= done.threshold) != labels)[known].sum())
    config = {
        **origin.config, "unknown_above": _UNSURE, "unknown_below": 1 - _UNSURE,
        "held_out_error": (wrong + 1) / (int(known.sum()) + 2),  # of none wrong something stays possible
        "held_out_unsure": int((~known).sum()),
    }  # fmt: skip
    return write_weights(weights, state, replace(done, config=config))


def _raw_answers(state: Mapping[str, Tensor], chips: Sequence[Chip], weights: Path, blank: Card) -> NDArray[np.float32]:
    if not chips:
        return np.zeros(0, np.float32)
    write_weights(weights, state, blank)
    pictures = np.stack([slot_chip(chip.image) for chip in chips])
    return SlotClassifier.load(weights).classify(pictures, [chip.kind for chip in chips])


def _chip_answers(raw: NDArray[np.float32], labels: NDArray[np.bool_], chips: Sequence[Chip]) -> Answers:
    """Answers about whole chips; a chip without a group is a place of its own."""
    groups = np.array([chip.group or f"picture {index}" for index, chip in enumerate(chips)])
    return Answers(raw, labels, np.full(len(raw), np.nan), groups)


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
