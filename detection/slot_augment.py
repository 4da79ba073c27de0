"""Changes to a chip of a slot that leave its answer as it was: place, light, paint, marks, small things, what hides it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.arrays import floats
from detection.augment import Picture, affine, photometric
from detection.models.slots import CHIP

Mask = NDArray[np.float32]


@dataclass(frozen=True)
class Kind:
    """What the changes of a chip depend on."""

    occupied: bool
    rendered: bool
    """Else a photograph."""


def changed(picture: Picture, occupied: Picture, kind: Kind, rng: np.random.Generator) -> Picture:
    """The chip (64, 64, 3) as another camera on another day might show a slot of the same answer. `occupied`: another slot
    of its kind, with what may reach in. How often what is done follows what the pools lack: photographs show streets, rather
    than bays between lines; rendered ground has the same grain everywhere."""
    picture = jitter(picture, rng)
    if rng.random() < 0.2:
        picture = intruded(picture, occupied, rng)
    if not kind.occupied and rng.random() < 0.15:
        picture = plain(picture, rng)
    elif not kind.rendered and rng.random() < (0.15 if kind.occupied else 0.6):
        picture = painted(picture, rng)
    if kind.rendered and rng.random() < (0.25 if kind.occupied else 0.5):
        picture = marked(picture, rng)
    if not kind.occupied and rng.random() < (0.25 if kind.rendered else 0.3):
        picture = littered(picture, rng)
    if kind.rendered and rng.random() < 0.1:
        picture = covered(picture, rng)
    if rng.random() < (0.3 if kind.rendered else 0.25):
        picture = smoothed(picture, rng)
    return photometric(recoloured(picture, rng), rng)


def recoloured(picture: Picture, rng: np.random.Generator) -> Picture:
    """At times red and blue exchanged (the real car park's pictures are stored so), tinted, or without colour."""
    if rng.random() < 0.25:
        picture = np.ascontiguousarray(picture[:, :, ::-1])
    if rng.random() < 0.35:
        picture = np.clip(picture * rng.uniform(0.75, 1.25, 3), 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        picture = np.repeat(picture.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    return picture


def jitter(picture: Picture, rng: np.random.Generator) -> Picture:
    """Small shift, turn and scale, half turns and flips: slots are drawn by hand and pictures misregistered."""
    angle = rng.normal(0, 0.06) + (np.pi if rng.random() < 0.5 else 0.0)
    centre = (CHIP / 2 + rng.normal(0, 2.5), CHIP / 2 + rng.normal(0, 2.5))
    matrix = affine(centre, (CHIP / 2, CHIP / 2), float(rng.uniform(0.85, 1.2)), float(angle), bool(rng.random() < 0.5))
    return cv2.warpAffine(picture, matrix, (CHIP, CHIP), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)


def intruded(picture: Picture, occupied: Picture, rng: np.random.Generator) -> Picture:
    """A neighbour's vehicle or goods reaches in, mostly from the long side, by less than a quarter."""
    width = int(rng.integers(3, CHIP // 4))
    quarters = 0 if rng.random() < 0.6 else 1
    out, other = (np.rot90(chip, quarters).copy() for chip in (picture, occupied))
    start = int(rng.integers(CHIP // 8, CHIP // 3))
    strip = other[:, start : start + width]
    if rng.random() < 0.5:
        out[:, :width] = strip[:, ::-1]
    else:
        out[:, -width:] = strip
    return np.ascontiguousarray(np.rot90(out, -quarters))


def painted(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lines that bound a bay, of one paint, near one to three of its sides, at times cracks besides: photographs of streets
    show few, and an empty bay between lines looks like a roof between its edges."""
    mask = _empty_mask()
    ends = (int(rng.integers(0, 12)), int(rng.integers(CHIP - 12, CHIP))) if rng.random() < 0.5 else (-4, CHIP + 4)
    thick = int(rng.integers(2, 6))
    for side in rng.permutation(4)[: int(rng.integers(1, 4))].tolist():
        near = int(rng.integers(0, 9)) if rng.random() < 0.85 else int(rng.integers(9, CHIP // 2))
        at, skew = near if side % 2 else CHIP - 1 - near, int(rng.integers(-2, 3))
        if side < 2:  # along the long side, which runs down the rows and is stretched least
            cv2.line(mask, (at, ends[0]), (at + skew, ends[1]), (1.0,), thick, cv2.LINE_AA)
        else:
            cv2.line(mask, (ends[0], at), (ends[1], at + skew), (1.0,), max(1, thick // 2), cv2.LINE_AA)
    yellow = rng.random() < 0.25
    white = float(rng.choice([200.0, 225.0, 245.0])) + rng.normal(0, 12, 3)
    paint = floats(rng.uniform([190, 150, 30], [245, 210, 110]) if yellow else white)
    out = _laid(picture, mask, paint, float(rng.uniform(0.5, 1.2)), float(rng.uniform(0.4, 0.95)))
    return _cracked(out, rng) if rng.random() < 0.4 else out


def _cracked(picture: Picture, rng: np.random.Generator) -> Picture:
    mask = _empty_mask()
    for _ in range(int(rng.integers(1, 4))):
        steps = np.concatenate([rng.uniform(0, CHIP, (1, 2)), rng.normal(0, 9, (int(rng.integers(2, 7)), 2))])
        cv2.polylines(mask, [np.cumsum(steps, axis=0).astype(np.int32)], False, (1.0,), int(rng.integers(1, 3)), cv2.LINE_AA)
    return _laid(picture, mask, floats([rng.uniform(15, 80)] * 3), 0.6, float(rng.uniform(0.3, 0.9)))


def littered(picture: Picture, rng: np.random.Generator) -> Picture:
    """Covers of shafts, boxes, birds, weeds: one or two things, none of which takes the slot (about a twentieth)."""
    for _ in range(int(rng.integers(1, 3))):
        mask, centre = _empty_mask(), rng.uniform(8, CHIP - 8, 2)
        if rng.random() < 0.5:  # a square on the ground is about twice as wide as high: the chip stretches the short side
            half = rng.uniform(2.1, 4.9) * np.array([rng.uniform(1.4, 2.2), 1.0])
            turn = rng.normal(0, 0.15)
            turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
            ring = centre + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half) @ turned
            cv2.fillPoly(mask, [ring.astype(np.int32)], (1.0,))
            tone = rng.uniform(60, 255, 3) if rng.random() < 0.6 else np.full(3, rng.uniform(20, 250))
        else:
            for _ in range(int(rng.integers(1, 6))):
                x, y = (int(v) for v in centre + rng.normal(0, 5, 2))
                cv2.circle(mask, (x, y), int(rng.integers(1, 5)), (1.0,), -1)
            tone = rng.uniform(*((5, 90) if rng.random() < 0.7 else (180, 250))) + rng.normal(0, 8, 3)
        picture = _laid(picture, mask, floats(tone), float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.6, 1.0)))
    return picture


def smoothed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Surfaces without grain between edges that stay sharp, as coding of films leaves them. Rendered ground is always
    grainy and only roofs of vehicles and containers are not: without this a smooth empty bay is taken for one of them."""
    if rng.random() < 0.3:
        return cv2.medianBlur(picture, int(rng.choice([3, 5, 7]))).astype(np.uint8)
    return cv2.bilateralFilter(picture, 9, float(rng.uniform(20, 90)), float(rng.uniform(2, 6))).astype(np.uint8)


def plain(picture: Picture, rng: np.random.Generator) -> Picture:
    """Of an empty slot: smooth ground of its colours between painted lines."""
    return painted(cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(5, 14))).astype(np.uint8), rng)


def marked(picture: Picture, rng: np.random.Generator) -> Picture:
    """Stains of oil, puddles, painted lines, tyre marks and hard shadows of what stands beside: none of them is a thing."""
    for _ in range(int(rng.integers(1, 4))):
        mask = _empty_mask()
        kind = rng.random()
        if kind < 0.45:
            centre = tuple(int(v) for v in rng.integers(4, CHIP - 4, 2))
            axes = tuple(int(v) for v in rng.integers(3, 16, 2))
            cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
            tone, strength = float(rng.uniform(15, 110)), float(rng.uniform(0.25, 0.8))
        elif kind < 0.75:
            ends = rng.integers(-8, CHIP + 8, (2, 2))
            cv2.line(mask, ends[0].tolist(), ends[1].tolist(), 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
            tone, strength = float(rng.choice([30.0, 200.0, 235.0])), float(rng.uniform(0.3, 0.9))
        else:
            side = int(rng.integers(8, CHIP // 2))
            cv2.fillPoly(mask, [np.array([[0, 0], [side, 0], [side + int(rng.integers(-8, 9)), CHIP], [0, CHIP]])], (1.0,))
            mask = np.ascontiguousarray(np.rot90(mask, int(rng.integers(4))))
            tone, strength = 20.0, float(rng.uniform(0.35, 0.7))
        picture = _laid(picture, mask, floats([tone] * 3), float(rng.uniform(0.6, 2.0)), strength)
    return picture


def covered(picture: Picture, rng: np.random.Generator) -> Picture:
    """A crane's arm, a tree or a roof's edge hides up to a quarter: a patch of one tone with grain at the border."""
    share = float(rng.uniform(0.08, 0.25))
    size = max(2, round(CHIP * share))
    tone = rng.uniform(20, 220) + rng.normal(0, 12, 3)
    grain = tone + rng.normal(0, float(rng.uniform(2, 25)), (CHIP, size, 3))
    quarters = int(rng.integers(4))
    out = np.rot90(picture, quarters).copy()
    start = 0 if rng.random() < 0.6 else int(rng.integers(0, CHIP - size))
    out[:, start : start + size] = np.clip(grain, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.rot90(out, -quarters))


def _empty_mask() -> Mask:
    return np.zeros((CHIP, CHIP), np.float32)


def _laid(picture: Picture, mask: Mask, tone: NDArray[np.float32], blur: float, strength: float) -> Picture:
    """The picture with this tone where the mask is 1, its edge blurred."""
    share = floats(cv2.GaussianBlur(mask, (0, 0), blur)[:, :, None] * strength)
    return np.clip(picture * (1 - share) + tone * share, 0, 255).astype(np.uint8)
