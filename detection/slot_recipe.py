"""How the slot classifier is taught: real bays and, where given, rendered ones, re-lit, shifted and flipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.augment import affine, photometric
from detection.dataset import Chip, Picture, read_slots_folder
from detection.evaluate_pictures import slot_chip
from detection.models.backbone import load_imagenet
from detection.models.slots import CHIP, SlotNet
from detection.slot_bays import photographed_bays

HOLD_EVERY = 6
"""Every sixth chip of the train split is kept for calibration."""


@dataclass(frozen=True)
class SlotTask:
    """Batches and loss of the slot classifier (see `detection.train.Task`)."""

    real: tuple[Chip, ...]
    rendered: tuple[Chip, ...]
    bays: tuple[Chip, ...] = ()
    """Cut from photographs with labels of vehicles."""
    bays_share: float = 0.5
    """Of what is not rendered."""
    intrusion: int = CHIP // 5
    """How far a neighbour's vehicle may reach in, pixels of the chip."""
    _by_label: dict[tuple[str, int], tuple[Chip, ...]] = field(default_factory=dict, compare=False, repr=False)

    def model(self) -> nn.Module:
        """The network, with ImageNet weights in its backbone."""
        net = SlotNet()
        load_imagenet(net.backbone)
        return net

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One chip (3, 64, 64) uint8 and its class (scalar float). Classes are drawn equally often."""
        label = int(rng.random() < 0.5)
        drawn = bool(self.rendered) and rng.random() < 0.5
        pool = "rendered" if drawn else "bays" if self.bays and rng.random() < self.bays_share else "real"
        chip = self._chip(label, pool, rng)
        picture = jitter(slot_chip(chip.image), rng)
        if rng.random() < 0.2:
            picture = intruded(picture, slot_chip(self._chip(1, pool, rng).image), rng, self.intrusion)
        if drawn and rng.random() < (0.25 if label else 0.5):
            picture = marked(picture, rng)
        if drawn and rng.random() < 0.1:
            picture = covered(picture, rng)
        picture = photometric(picture, rng)
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()), torch.tensor(float(chip.label))

    def _chip(self, label: int, pool: str, rng: np.random.Generator) -> Chip:
        if (pool, label) not in self._by_label:
            chips: tuple[Chip, ...] = getattr(self, pool)
            self._by_label[pool, label] = tuple(chip for chip in chips if chip.label == label) or chips
        same = self._by_label[pool, label]
        return same[int(rng.integers(len(same)))]

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy with softened labels, so that confidences stay apart from 0 and 1."""
        logits = model(images).float()
        value = functional.binary_cross_entropy_with_logits(logits, targets * 0.94 + 0.03)
        right = float(((logits > 0) == (targets > 0.5)).float().mean())
        return value, {"bce": float(value.detach()), "right": right}


def jitter(picture: Picture, rng: np.random.Generator) -> Picture:
    """Small shift, turn and scale, half turns and flips: slots are drawn by hand and pictures misregistered."""
    angle = rng.normal(0, 0.06) + (np.pi if rng.random() < 0.5 else 0.0)
    centre = (CHIP / 2 + rng.normal(0, 2.5), CHIP / 2 + rng.normal(0, 2.5))
    matrix = affine(centre, (CHIP / 2, CHIP / 2), float(rng.uniform(0.85, 1.2)), float(angle), bool(rng.random() < 0.5))
    return cv2.warpAffine(picture, matrix, (CHIP, CHIP), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)


def intruded(picture: Picture, occupied: Picture, rng: np.random.Generator, most: int = CHIP // 5) -> Picture:
    """A neighbour's vehicle or goods reaches in, mostly from the long side, by fewer than `most` pixels."""
    width = int(rng.integers(3, most))
    quarters = 0 if rng.random() < 0.6 else 1
    out, other = (np.rot90(chip, quarters).copy() for chip in (picture, occupied))
    start = int(rng.integers(CHIP // 8, CHIP // 3))
    strip = other[:, start : start + width]
    if rng.random() < 0.5:
        out[:, :width] = strip[:, ::-1]
    else:
        out[:, -width:] = strip
    return np.ascontiguousarray(np.rot90(out, -quarters))


def marked(picture: Picture, rng: np.random.Generator) -> Picture:
    """Stains of oil, puddles, painted lines, tyre marks and hard shadows of what stands beside: none of them is a thing."""
    x = picture.astype(np.float32)
    for _ in range(int(rng.integers(1, 4))):
        mask = np.zeros((CHIP, CHIP), np.float32)
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
        soft = cv2.GaussianBlur(mask, (0, 0), float(rng.uniform(0.6, 2.0)))[:, :, None] * strength
        x = x * (1 - soft) + tone * soft
    return np.clip(x, 0, 255).astype(np.uint8)


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


def prepare(data: Path, rendered: Path | None) -> tuple[tuple[SlotTask, SlotTask, SlotTask], list[Chip]]:
    """The tasks of three parts, and the chips kept for calibration: real ones, rendered val, photographed bays elsewhere.

    The second has photographed bays besides (where `data` has `vehicles`), the third fewer of them and neighbours that
    reach in further."""
    real = read_slots_folder(data / "slot_occupancy", "train")
    drawn = read_slots_folder(rendered, "train") if rendered is not None else []
    taught, others = photographed_bays(data) if (data / "vehicles").is_dir() else ([], [])
    held_out = real[::HOLD_EVERY] + (read_slots_folder(rendered, "val") if rendered is not None else [])
    kept = tuple(chip for index, chip in enumerate(real) if index % HOLD_EVERY)
    first = SlotTask(kept, tuple(drawn))
    second = SlotTask(kept, tuple(drawn), tuple(taught))
    return (first, second, SlotTask(kept, tuple(drawn), tuple(taught), 0.25, CHIP // 3)), held_out + others


def sources(task: SlotTask) -> list[tuple[str, str, Sequence[Chip]]]:
    """Source, licence and chips of what a task teaches, for the card."""
    rows: list[tuple[str, str, Sequence[Chip]]] = [
        ("slot occupancy (one car park)", "MIT", task.real),
        ("bays around and beside the vehicles of catslab and KIT AIS, and of UC Merced land use with our own labels",
         "catslab: none stated; KIT AIS: CC BY 3.0; land use: public domain (USGS)", task.bays),
        ("rendered slots", "generated by data_samples, Apache-2.0", task.rendered),
    ]  # fmt: skip
    return [row for row in rows if row[2]]
