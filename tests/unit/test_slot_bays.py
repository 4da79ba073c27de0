"""Bays cut from pictures with labels of vehicles: occupied ones show the vehicle, empty ones only ground."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from detection.augment import Picture
from detection.dataset import Chip, LabelledImage
from detection.models.slots import CHIP
from detection.orient import bounds, corners
from detection.slot_bays import bays_of
from detection.slot_recipe import SlotTask

GROUND, CAR = 90, 230
CARS_M = [(8.0, 10.0, 4.5, 1.8, 0.4), (20.0, 9.0, 4.2, 1.8, 2.0), (14.0, 20.0, 11.0, 2.5, 0.0), (1.0, 25.0, 4.5, 1.8, 1.5)]
"""Centre x and y, length, width in metres and heading: two cars, a lorry, a car cut by the border."""


def street(gsd_m: float) -> LabelledImage:
    image = np.full((round(28 / gsd_m), round(28 / gsd_m), 3), GROUND, np.uint8)
    turned = np.array(CARS_M, np.float32)
    turned[:, :4] /= gsd_m
    rings = corners(turned)
    cv2.fillPoly(image, [np.rint(ring).astype(np.int32) for ring in rings], (CAR, CAR, CAR))
    return LabelledImage("street", "drawn", "here", gsd_m, image, bounds(rings), np.zeros((0, 4), np.float32), turned)


@pytest.mark.parametrize("gsd_m", [0.08, 0.15, 0.3])
def test_occupied_bays_show_a_car_and_empty_ones_next_to_nothing_of_any(gsd_m: float) -> None:
    chips = [chip for seed in range(8) for chip in bays_of(street(gsd_m), seed)]
    occupied = [chip for chip in chips if chip.label == 1]
    empty = [chip for chip in chips if chip.label == 0]
    assert len(occupied) >= 12 and len(empty) >= 12
    assert {chip.name.split()[1] for chip in occupied} == {"0", "1"}, "lorries and cars cut by the border have no bay"
    assert all(chip.image.shape == (CHIP, CHIP, 3) for chip in chips)
    shown = [float((chip.image[:, :, 0] > 160).mean()) for chip in occupied]
    assert min(shown) > 0.25
    assert max(float((chip.image[:, :, 0] > 160).mean()) for chip in empty) < 0.06
    assert all(chip.gsd_m == max(gsd_m, 0.15) and chip.group == "here" for chip in chips)


def test_bays_repeat_by_seed() -> None:
    once, again, other = ([chip.image for chip in bays_of(street(0.15), seed)] for seed in (3, 3, 4))
    assert np.array_equal(once, again)
    assert len(once) != len(other) or not np.array_equal(once, other)


def _chips(tone: int) -> tuple[Chip, ...]:
    """Occupied and empty ones of one tone that no change of light takes for another's: red, green or blue alone."""
    picture: Picture = np.zeros((CHIP, CHIP, 3), np.uint8)
    picture[:, :, tone] = 200
    return tuple(Chip(f"{tone} {label}", 0.15, picture, label) for label in (0, 1))


def test_half_of_the_photographs_shown_in_training_are_such_bays() -> None:
    with_bays = SlotTask(_chips(0), _chips(1), _chips(2))
    pictures = [with_bays.sample(np.random.default_rng(k))[0].float().mean(dim=(1, 2)).argmax() for k in range(160)]
    shares = np.bincount([int(tone) for tone in pictures], minlength=3) / len(pictures)
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.12)
