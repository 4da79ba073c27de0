"""How the slot classifier is taught: real bays and, where given, rendered ones, re-lit, shifted and flipped."""

from __future__ import annotations

from dataclasses import dataclass
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

GSD_M = 0.15
"""Grid that slots are cut from where the picture is at least as fine."""
HOLD_EVERY = 6
"""Every sixth chip of the train split is kept for calibration."""


@dataclass(frozen=True)
class SlotTask:
    """Batches and loss of the slot classifier (see `detection.train.Task`)."""

    real: tuple[Chip, ...]
    rendered: tuple[Chip, ...]

    def model(self) -> nn.Module:
        """The network, with ImageNet weights in its backbone."""
        net = SlotNet()
        load_imagenet(net.backbone)
        return net

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """One chip (3, 64, 64) uint8 and its class (scalar float). Classes are drawn equally often."""
        pool = self.rendered if self.rendered and rng.random() < 0.5 else self.real
        label = int(rng.random() < 0.5)
        same = [chip for chip in pool if chip.label == label] or list(pool)
        chip = same[int(rng.integers(len(same)))]
        picture = photometric(jitter(slot_chip(chip.image), rng), rng)
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()), torch.tensor(float(chip.label))

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


def prepare(data: Path, rendered: Path | None) -> tuple[SlotTask, list[Chip]]:
    """The task, and the chips kept for calibration."""
    real = read_slots_folder(data / "slot_occupancy", "train")
    drawn = read_slots_folder(rendered, "train") if rendered is not None else []
    held_out = real[::HOLD_EVERY] + (read_slots_folder(rendered, "val") if rendered is not None else [])
    kept = tuple(chip for index, chip in enumerate(real) if index % HOLD_EVERY)
    return SlotTask(kept, tuple(drawn)), held_out
