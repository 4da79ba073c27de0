"""What went wrong on rendered scenes, for the error gallery of `collateral evaluate scenes`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detection.arrays import Floats
from detection.dataset import Picture
from detection.gallery import FALSE_NEGATIVE, FALSE_POSITIVE, UNCERTAIN, Gallery, cut_out
from detection.infer import Box

_NEAR = 0.15


def show_vehicles(
    gallery: Gallery,
    where: tuple[str, str],
    image: Picture,
    found: Sequence[Box],
    taken: Sequence[int],
    wrong: NDArray[np.bool_],
    labels: Floats,
    threshold: float,
) -> None:
    """Vehicles found where none are, missed ones, and answers near the threshold.

    `taken` is the label each found box takes or -1; `wrong` marks boxes that count as wrong.
    """
    boxes = np.array([[b.x0, b.y0, b.x1, b.y1] for b in found], np.float32).reshape(-1, 4)
    for index, box in enumerate(found):
        text = f"{box.label}"
        if wrong[index]:
            shown = cut_out(image, boxes[index], boxes, labels)
            gallery.add(FALSE_POSITIVE, box.confidence, box.confidence, where, shown, text)
        if abs(box.confidence - threshold) < _NEAR:
            shown = cut_out(image, boxes[index], boxes, labels)
            gallery.add(UNCERTAIN, -abs(box.confidence - threshold), box.confidence, where, shown, text)
    for label in sorted(set(range(len(labels))) - set(taken)):
        gallery.add(FALSE_NEGATIVE, 1.0, 0.0, where, cut_out(image, labels[label], boxes, labels), "vehicle")


def show_slots(
    gallery: Gallery,
    name: str,
    chips: NDArray[np.uint8],
    slots: Sequence[tuple[str, bool]],
    probability: Sequence[float],
    threshold: float,
) -> None:
    """Slots answered wrongly, and answers near the threshold. `slots`: name and whether each is occupied."""
    for chip, (slot, occupied), p in zip(chips, slots, probability, strict=True):
        text = f"slot {slot}, {'occupied' if occupied else 'empty'}"
        if (p >= threshold) != occupied:
            kind, strength = (FALSE_NEGATIVE, 1 - p) if occupied else (FALSE_POSITIVE, p)
            gallery.add(kind, strength, p, (name, "slots"), chip, text)
        if abs(p - threshold) < _NEAR:
            gallery.add(UNCERTAIN, -abs(p - threshold), p, (name, "slots"), chip, text)
