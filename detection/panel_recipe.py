"""How the panel network is taught: chips whose label is "panels somewhere" or "none", and drawn panels with outlines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from detection.augment import affine, photometric, random_angle
from detection.dataset import Chip, MaskedImage, Picture, read_chips_folder, read_masks_folder, read_picture, resample
from detection.models.backbone import load_imagenet
from detection.models.panels import PanelNet
from detection.paste import paste_panels
from detection.presence import AREA_M2

GSD_M = 0.2
"""Metres per pixel of the model grid."""
CROP = 160
HOLD_EVERY = 6
"""Every sixth chip of the train split is kept for calibration."""
UNKNOWN = 2
"""Mask value of pixels whose class is not known."""
_TOWNS = ("buildings", "denseresidential", "mediumresidential", "sparseresidential", "parkinglot", "storagetanks",
          "mobilehomepark", "freeway", "harbor", "runway", "agricultural", "tenniscourt", "intersection")  # fmt: skip


@dataclass(frozen=True)
class Background:
    """A picture without panels, and where panels may be drawn."""

    picture: Picture
    allowed: NDArray[np.bool_] | None


@dataclass(frozen=True)
class PanelTask:
    """Batches and loss of the panel network (see `detection.train.Task`)."""

    chips: tuple[Chip, ...]
    backgrounds: tuple[Background, ...]
    rendered: tuple[MaskedImage, ...] = ()
    """Rendered scenes with masks; a third of the samples where given."""

    @property
    def positives(self) -> int:
        """Chips with panels."""
        return sum(chip.label for chip in self.chips)

    def model(self) -> nn.Module:
        """The network, with ImageNet weights in its backbone."""
        net = PanelNet()
        load_imagenet(net.backbone)
        return net

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Picture (3, CROP, CROP) uint8 and (CROP, CROP) uint8: 0 none, 1 panel, 2 unknown (panels somewhere)."""
        if self.rendered and rng.random() < 0.33:
            picture, mask = self._scene(rng)
        elif rng.random() < 0.6:
            picture, mask = self._chip(rng)
        else:
            picture, mask = self._drawn(rng)
        return torch.from_numpy(photometric(picture, rng).transpose(2, 0, 1).copy()), torch.from_numpy(mask)

    def _chip(self, rng: np.random.Generator) -> tuple[Picture, NDArray[np.uint8]]:
        label = int(rng.random() < 0.5)
        same = [chip for chip in self.chips if chip.label == label]
        chip = same[int(rng.integers(len(same)))]
        scale = chip.gsd_m / GSD_M * float(rng.uniform(0.9, 1.1))
        matrix = _turn(chip.image, scale, rng)
        picture = cv2.warpAffine(chip.image, matrix, (CROP, CROP), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)
        return picture, np.full((CROP, CROP), UNKNOWN if label else 0, np.uint8)

    def _scene(self, rng: np.random.Generator) -> tuple[Picture, NDArray[np.uint8]]:
        item = self.rendered[int(rng.integers(len(self.rendered)))]
        matrix = _turn(item.image, item.gsd_m / GSD_M * float(rng.uniform(0.85, 1.2)), rng)
        picture = cv2.warpAffine(item.image, matrix, (CROP, CROP), borderMode=cv2.BORDER_REFLECT_101)
        mask = cv2.warpAffine(
            item.mask.astype(np.uint8), matrix, (CROP, CROP), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101
        )
        return picture.astype(np.uint8), mask.astype(np.uint8)

    def _drawn(self, rng: np.random.Generator) -> tuple[Picture, NDArray[np.uint8]]:
        if rng.random() < 0.5:
            background = self.backgrounds[int(rng.integers(len(self.backgrounds)))]
            picture, allowed = background.picture, background.allowed
        else:
            empty = [chip for chip in self.chips if chip.label == 0]
            chip = empty[int(rng.integers(len(empty)))]
            picture, allowed = resample(chip.image, chip.gsd_m / GSD_M), None
        matrix = _turn(picture, float(rng.uniform(0.85, 1.2)), rng)
        cut = cv2.warpAffine(picture, matrix, (CROP, CROP), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)
        if rng.random() < 0.1:
            return cut, np.zeros((CROP, CROP), np.uint8)
        if allowed is not None:
            allowed = cv2.warpAffine(allowed.astype(np.uint8), matrix, (CROP, CROP), flags=cv2.INTER_NEAREST) > 0
        drawn, mask = paste_panels(cut, GSD_M, rng, allowed)
        return drawn, mask.astype(np.uint8)

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy and Dice where the mask is known; for chips the strongest few square metres must answer."""
        logits = model(images).float()[:, 0].clamp(-12, 12)
        unknown = (targets == UNKNOWN).flatten(1).all(dim=1)
        drawn = (targets == 1).flatten(1).any(dim=1)
        wanted = (targets == 1).float()
        pixels = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        known = pixels[~unknown].mean() if bool((~unknown).any()) else logits.sum() * 0
        dice = _dice(logits[drawn], wanted[drawn]) if bool(drawn.any()) else logits.sum() * 0
        count = round(AREA_M2 / GSD_M**2)
        best = logits.flatten(1).topk(count, dim=1).values.mean(dim=1)
        chip = unknown | ~drawn
        answer = (
            functional.binary_cross_entropy_with_logits(best[chip], unknown[chip].float()) if bool(chip.any()) else known * 0
        )
        total = 2.0 * known + 0.5 * dice + 0.7 * answer
        return total, {"pixels": float(known.detach()), "dice": float(dice.detach()), "chips": float(answer.detach())}


def _dice(logits: Tensor, wanted: Tensor) -> Tensor:
    p = torch.sigmoid(logits)
    both = (p * wanted).sum(dim=(1, 2))
    return (1 - (2 * both + 20) / (p.sum(dim=(1, 2)) + wanted.sum(dim=(1, 2)) + 20)).mean()


def _turn(picture: Picture, scale: float, rng: np.random.Generator) -> NDArray[np.float64]:
    height, width = picture.shape[:2]
    slack = np.maximum(np.array([width, height]) - CROP / scale, 0) / 2
    centre = np.array([width, height]) / 2 + rng.uniform(-1, 1, 2) * slack
    angle, flip = random_angle(rng, 0.3), bool(rng.random() < 0.5)
    return affine((float(centre[0]), float(centre[1])), (CROP / 2, CROP / 2), scale, angle, flip)


def prepare(data: Path, rendered: Path | None = None) -> tuple[PanelTask, list[Chip]]:
    """The task, and the chips kept for calibration."""
    chips = read_chips_folder(data / "solar_chips", "train")
    kept = tuple(chip for index, chip in enumerate(chips) if index % HOLD_EVERY)
    scenes = tuple(read_masks_folder(rendered, "train")) if rendered is not None else ()
    return PanelTask(kept, _backgrounds(data), scenes), chips[::HOLD_EVERY]


def _backgrounds(data: Path) -> tuple[Background, ...]:
    out = []
    for item in read_masks_folder(data / "roofs", None, gsd_m=0.25):
        scale = item.gsd_m / GSD_M
        picture = resample(item.image, scale)
        size = (picture.shape[1], picture.shape[0])
        allowed = cv2.resize(item.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        out.append(Background(picture, allowed))
    for name in _TOWNS:
        for path in sorted((data / "land_use" / name).glob("*.webp")):
            out.append(Background(resample(read_picture(path), 0.3 / GSD_M), None))
    return tuple(out)
