"""After training the classifier of PV modules: temperature, calibration, threshold, error rates from held-out crops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detection.arrays import Floats, floats
from detection.calibration import Answers, choose_calibrator
from detection.finish import Provenance
from detection.metrics import fit_calibration
from detection.models.modules import CLASSES, HEALTHY
from detection.module_data import ModuleCrops
from detection.modules import OFFSET_KEY, RARE_KEY, TEMPERATURE_KEY, ModuleClassifier, class_shares
from detection.weightfile import Card, write_weights

SENSITIVITY_KEY, SPECIFICITY_KEY = "held_out_sensitivity", "held_out_specificity"
_TEMPERATURES = np.geomspace(0.4, 2.5, 60)
_FAVOURS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""At 2 all faults are taken to be equally frequent, since they are drawn by the square root of their number."""
_ACCURACY_SLACK = 0.01


def finish_modules(
    state: Mapping[str, Tensor], origin: Provenance, weights: Path, offset: Floats, held_out: ModuleCrops
) -> Card:
    """Chooses on `held_out`: temperature of the classes (likelihood), calibration of the fault probability, its threshold
    (accuracy), how far rare faults are favoured when the fault is named (balanced accuracy); writes weights and card.

    `offset`: log of the shares of the classes in the training data over those they were drawn with.
    """
    config: dict[str, object] = {**origin.config, OFFSET_KEY: offset.tolist(), TEMPERATURE_KEY: 1.0, RARE_KEY: 0.0}
    blank = Card(
        name=origin.name, network="modules", sha256="", gsd_m=0.0, threshold=0.5, calibration=(1.0, 0.0),
        bands="infrared, 8 bit, 40 x 24 pixels of one module", seed=origin.seed, config=config,
        training_data=origin.training_data, held_out=origin.held_out, known_failures=origin.known_failures,
    )  # fmt: skip
    write_weights(weights, state, blank)
    classifier = ModuleClassifier.load(weights)
    logits, faulty = classifier.logits(held_out.images), held_out.labels != HEALTHY
    config[TEMPERATURE_KEY] = temperature = _temperature(logits, offset, held_out.labels)
    raw = floats(1 - class_shares(logits, offset, temperature)[:, HEALTHY])
    answers = Answers(raw, faulty, np.full(len(raw), np.nan), np.arange(len(raw)).astype(np.str_))
    calibrator, about = choose_calibrator(answers)
    done = replace(blank, config=config, calibration=fit_calibration(raw, faulty), calibrator=about)
    done = replace(done, threshold=_threshold(calibrator(raw), faulty))
    classifier.card, classifier.threshold = done, done.threshold
    config[RARE_KEY] = _favour(classifier, logits, held_out.labels)
    said = classifier.decide(logits).faulty
    config[SENSITIVITY_KEY] = (int((said & faulty).sum()) + 1) / (int(faulty.sum()) + 2)
    config[SPECIFICITY_KEY] = (int((~said & ~faulty).sum()) + 1) / (int((~faulty).sum()) + 2)
    config["held_out"] = {"n": len(raw), "faulty": int(faulty.sum())}
    return write_weights(weights, state, replace(done, config=config))


def _temperature(logits: Floats, offset: Floats, labels: NDArray[np.int64]) -> float:
    def loss(temperature: float) -> float:
        shares = class_shares(logits, offset, temperature)
        return -float(np.log(np.maximum(shares[np.arange(len(labels)), labels], 1e-9)).mean())

    return float(min(_TEMPERATURES.tolist(), key=loss))


def _threshold(fault: Floats, faulty: NDArray[np.bool_]) -> float:
    """The lowest threshold whose accuracy is within a point of the best: hardly fewer answers are right, and fewer faults
    are missed."""
    tried = np.arange(0.2, 0.801, 0.01)
    accuracy = np.array([float(((fault >= t) == faulty).mean()) for t in tried])
    return round(float(tried[accuracy >= accuracy.max() - _ACCURACY_SLACK][0]), 2)


def _favour(classifier: ModuleClassifier, logits: Floats, labels: NDArray[np.int64]) -> float:
    """Twelve classes count alike in the balanced accuracy; the smallest step that is as good as the best is taken."""
    def balanced(favour: float) -> float:
        config = {**classifier.card.config, RARE_KEY: favour}
        classifier.card = replace(classifier.card, config=config)
        said = classifier.decide(logits).label
        return float(np.mean([(said[labels == c] == c).mean() for c in range(len(CLASSES)) if bool((labels == c).any())]))

    found = {favour: balanced(favour) for favour in _FAVOURS}
    return next(favour for favour in _FAVOURS if found[favour] >= max(found.values()) - 0.002)
