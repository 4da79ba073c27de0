"""Slots of a site in one window: occupied, empty, or unknown with the reason. What cannot be seen is not guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from detection.infer import SlotClassifier, rectify
from detection.rectify import Upright, upright
from detection.weightfile import Card

LEAST_SEEN = 0.8
"""Share of a slot that must show."""
LEAST_PX = 5.0
"""Short side in pixels of the scene (not of the grid it was resampled to) below which a slot is too coarse."""
LEAST_CONTRAST = 1.0
"""Standard deviation of a slot's grey levels below which nothing can be told: burnt out or in the dark."""
_LATTICE = 8


@dataclass(frozen=True)
class SlotReading:
    """What is said about one slot."""

    slot_id: str
    probability: float | None
    """Calibrated, that it is occupied; None where the slot cannot be seen."""
    occupied: bool
    reason: str = ""
    """Why it is unknown: hidden, coarse, flat or unsure; empty where it is known."""

    @property
    def label(self) -> str:
        """occupied, empty or unknown."""
        return "unknown" if self.reason else "occupied" if self.occupied else "empty"


def unsure_band(card: Card) -> tuple[float, float]:
    """Probabilities between which an answer is wrong too often to be given."""
    low, high = (float(str(card.config.get(key, card.threshold))) for key in ("unknown_above", "unknown_below"))
    return low, high


def read_slots(
    rgb: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    polygons_px: Mapping[str, Sequence[tuple[float, float]]],
    kinds: Mapping[str, str],
    classifier: SlotClassifier,
    coarser: float = 1.0,
) -> list[SlotReading]:
    """States of slots, in the order given.

    Args:
        rgb: rows x columns x 3 on the classifier's grid.
        valid: rows x columns, False where nothing is seen (no data, cloud).
        polygons_px: slot_id -> corners (x, y) in pixels.
        kinds: slot_id -> kind of slot (`collateral.domain.Slot.kind`).
        classifier: the network.
        coarser: pixel of the scene / pixel of `rgb`, 1 where the scene is finer.
    """
    places = {slot_id: _place(corners) for slot_id, corners in polygons_px.items()}
    reasons = {slot_id: _view(place, valid, max(coarser, 1.0)) for slot_id, place in places.items()}
    chips = {slot_id: rectify(rgb, polygons_px[slot_id]) for slot_id, reason in reasons.items() if not reason}
    for slot_id, chip in list(chips.items()):
        if float(chip.mean(axis=2).std()) < LEAST_CONTRAST:
            reasons[slot_id] = "flat"
            del chips[slot_id]
    found = np.zeros(0, np.float32)
    if chips:
        found = classifier.classify(np.stack(list(chips.values())), [kinds[slot_id] for slot_id in chips])
    probability = dict(zip(chips, found.tolist(), strict=True))
    low, high = unsure_band(classifier.card)
    rows = []
    for slot_id, reason in reasons.items():
        p = probability.get(slot_id)
        if p is not None and low < p < high:
            reason = "unsure"
        rows.append(SlotReading(slot_id, p, p is not None and p >= classifier.threshold, reason))
    return rows


def unknown_by_reason(readings: Sequence[SlotReading]) -> dict[str, int]:
    """How many are unknown, and why."""
    return dict(Counter(reading.reason for reading in readings if reading.reason))


def _place(corners: Sequence[tuple[float, float]]) -> Upright | None:
    try:
        return upright(corners)
    except InvalidInputError:
        return None


def _view(place: Upright | None, valid: NDArray[np.bool_], coarser: float) -> str:
    """Why a slot cannot be seen well enough; empty where it can."""
    if place is None or place.width / coarser < LEAST_PX:
        return "coarse"
    columns, rows = np.floor(place.points(_LATTICE, _LATTICE)).astype(int).T
    height, width = valid.shape
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    shown = np.zeros(len(columns), np.bool_)
    shown[inside] = valid[rows[inside], columns[inside]]
    return "" if float(shown.mean()) >= LEAST_SEEN else "hidden"
