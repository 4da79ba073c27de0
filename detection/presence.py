"""From panel probabilities of pixels to "this picture shows panels": the strength of the best few square metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detection.arrays import floats
from detection.calibration import calibrator_from
from detection.weightfile import Card

AREA_M2 = 4.0
"""Area whose mean decides: about two modules and a half."""


def raw_presence(probability: NDArray[np.float32], gsd_m: float) -> float:
    """Mean of the most probable `AREA_M2` of an H x W probability map."""
    count = min(probability.size, max(1, round(AREA_M2 / gsd_m**2)))
    flat = probability.ravel()
    return float(np.partition(flat, flat.size - count)[flat.size - count :].mean())


def presence(probability: NDArray[np.float32], gsd_m: float, card: Card) -> float:
    """The same, calibrated by the card's `presence_calibrator`; a card without one says it as it is."""
    raw = floats([raw_presence(probability, gsd_m)])
    chosen = calibrator_from(card.config.get("presence_calibrator"))
    return float(raw[0] if chosen is None else chosen(raw)[0])


def presence_threshold(confidence: NDArray[np.float32], labels: NDArray[np.bool_]) -> float:
    """Half of the largest F1 that calibrated confidences reach: where the expected F1 is largest (Lipton, Elkan &
    Naryanaswamy 2014, doi:10.1007/978-3-662-44851-9_15). Steadier than the best cut between a few held-out chips.
    """
    order = np.argsort(-confidence, kind="stable")
    hits = np.cumsum(labels[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + max(1, int(labels.sum())))
    return float(f1.max()) / 2 if len(f1) else 0.5
