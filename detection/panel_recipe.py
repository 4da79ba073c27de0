"""How the panel network is taught: chips with and without our own outlines, drawn panels, rendered scenes, tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.augment import Picture, photometric
from detection.dataset import (
    Chip,
    MaskedImage,
    picture_path,
    read_chips_folder,
    read_index,
    read_masks_folder,
    read_picture,
    resample,
)
from detection.models.backbone import LITE0, LITE2, Size, load_imagenet
from detection.models.panels import PanelNet
from detection.panel_pools import (
    FINE_GSD_M,
    GSD_M,
    PANEL,
    UNKNOWN,
    Background,
    BarePool,
    ChipPool,
    DrawnPool,
    MaskPool,
    PanelPool,
    read_outlines,
)  # fmt: skip

HOLD_EVERY = 6
"""Every sixth chip of the train split is kept for calibration."""
_ANSWER_M2 = 6.0
"""The most probable area of a chip that answers whether it shows panels."""
_TILE_BLOCK, _TILE_EVERY = 10, 8
"""Satellite tiles are kept for calibration in blocks of ten neighbouring numbers, every eighth block."""
_ROADS_EVERY = 4
"""Every fourth picture of the vehicles' train split is a background too."""
_CONTRAST = 0.4
"""Chance that a picture is stretched as map providers stretch theirs."""
_TOWNS = ("buildings", "denseresidential", "mediumresidential", "sparseresidential", "parkinglot", "storagetanks",
          "mobilehomepark", "freeway", "harbor", "runway", "agricultural", "tenniscourt", "intersection", "overpass",
          "airplane", "forest", "river")  # fmt: skip


@dataclass(frozen=True)
class PanelTask:
    """Batches and loss of the panel network (see `detection.train.Task`)."""

    pools: tuple[tuple[float, PanelPool], ...]
    """Share of the samples (they sum to 1), and where these come from."""
    gsd_m: float = GSD_M
    changed: float = 1.0
    """Chance that a picture's light, colour and sharpness are changed."""
    size: Size = LITE0
    """Of the network."""

    def model(self) -> nn.Module:
        """The network, with ImageNet weights in its backbone."""
        net = PanelNet(size=self.size)
        load_imagenet(net.backbone)
        return net

    def sample(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Picture (3, CROP, CROP) uint8 and target (CROP, CROP) uint8 (see `panel_pools`)."""
        shares = [share for share, _ in self.pools]
        _, pool = self.pools[int(rng.choice(len(shares), p=shares))]
        picture, target = pool.sample(rng)
        if self.changed >= 1 or rng.random() < self.changed:
            picture = photometric(_stretched(picture, rng), rng)
        return torch.from_numpy(picture.transpose(2, 0, 1).copy()), torch.from_numpy(target)

    def loss(self, model: nn.Module, images: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Cross entropy and Dice where the mask is known; "panels somewhere": the strongest few square metres answer."""
        logits = model(images).float()[:, 0].clamp(-12, 12)
        known = (targets != UNKNOWN).float()
        wanted = (targets == PANEL).float()
        shown, somewhere = (targets == PANEL).flatten(1).any(dim=1), (targets == UNKNOWN).flatten(1).all(dim=1)
        pixels = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        cross = (pixels * known).sum() / known.sum().clamp(min=1)
        dice = _dice(logits[shown], wanted[shown], known[shown]) if bool(shown.any()) else logits.sum() * 0
        count = round(_ANSWER_M2 / self.gsd_m**2)
        best = logits.flatten(1).topk(count, dim=1).values.mean(dim=1)
        asked = somewhere | ~shown
        answer = cross * 0
        if bool(asked.any()):
            answer = functional.binary_cross_entropy_with_logits(best[asked], somewhere[asked].float())
        total = 2.0 * cross + 0.7 * dice + 0.4 * answer
        return total, {"pixels": float(cross.detach()), "dice": float(dice.detach()), "empty": float(answer.detach())}


def _dice(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    p = torch.sigmoid(logits) * known
    both = (p * wanted).sum(dim=(1, 2))
    return (1 - (2 * both + 20) / (p.sum(dim=(1, 2)) + wanted.sum(dim=(1, 2)) + 20)).mean()


def _stretched(picture: Picture, rng: np.random.Generator) -> Picture:
    """Some pictures: contrast stretched around their mean until shadows and light roofs clip, a little sharpened."""
    if rng.random() >= _CONTRAST:
        return picture
    mean = float(picture.mean())
    gain = float(rng.uniform(1.0, 1.6))
    wide = cv2.addWeighted(picture, gain, picture, 0.0, rng.uniform(100, 140) - gain * mean)
    if rng.random() < 0.5:
        wide = cv2.addWeighted(wide, 1.7, cv2.GaussianBlur(wide, (0, 0), 1.3), -0.7, 0)
    return wide.astype(np.uint8)


@dataclass(frozen=True)
class PanelData:
    """What the recipes read."""

    chips: tuple[Chip, ...]
    backgrounds: tuple[Background, ...]
    rendered: tuple[MaskedImage, ...]
    held_chips: tuple[Chip, ...]
    """For calibration."""
    held_rendered: tuple[MaskedImage, ...]
    """For the error of areas."""

    @property
    def positives(self) -> int:
        """Chips with panels."""
        return sum(chip.label for chip in self.chips)


def read_data(data: Path, rendered: Path | None = None) -> PanelData:
    """Chips, backgrounds and rendered scenes of the default weights. Nothing of `panels/` is read."""
    chips = read_chips_folder(data / "solar_chips", "train")
    kept = tuple(chip for index, chip in enumerate(chips) if index % HOLD_EVERY)
    scenes = read_masks_folder(rendered, "train") if rendered is not None else []
    held = read_masks_folder(rendered, "val") if rendered is not None else []
    return PanelData(kept, _backgrounds(data), tuple(scenes), tuple(chips[::HOLD_EVERY]), tuple(held))


def default_task(data: PanelData, chips: float = 0.3) -> PanelTask:
    """Chips (that share), drawn panels and, where given, rendered scenes (0.15)."""
    roofs, drawn = ChipPool(data.chips, read_outlines()), DrawnPool(data.backgrounds)
    if not data.rendered:
        return PanelTask(((chips, roofs), (1 - chips, drawn)))
    return PanelTask(((chips, roofs), (0.85 - chips, drawn), (0.15, MaskPool(data.rendered))))


def real_task(data: PanelData) -> PanelTask:
    """Photographs alone: chips (0.75) and pictures without panels."""
    roofs = ChipPool(data.chips, read_outlines(), decoys=0.0)
    return PanelTask(((0.75, roofs), (0.25, BarePool(data.backgrounds))))


def research_task(data: PanelData, tiles: Sequence[MaskedImage]) -> PanelTask:
    """Mostly satellite tiles with masks, on a finer grid, half of the pictures as they are; a larger network."""
    chips, near = ChipPool(data.chips, read_outlines(), FINE_GSD_M), MaskPool(tiles, 0.6, FINE_GSD_M)
    drawn = DrawnPool(data.backgrounds, gsd_m=FINE_GSD_M)
    if not data.rendered:
        return PanelTask(((0.82, near), (0.13, chips), (0.05, drawn)), FINE_GSD_M, 0.5, LITE2)
    rendered = MaskPool(data.rendered, gsd_m=FINE_GSD_M)
    return PanelTask(((0.8, near), (0.12, chips), (0.04, drawn), (0.04, rendered)), FINE_GSD_M, 0.5, LITE2)


def read_tiles(data: Path) -> tuple[list[MaskedImage], list[MaskedImage]]:
    """Satellite tiles of the train split: those trained on and those held out (see `_TILE_BLOCK`)."""
    tiles = read_masks_folder(data / "panels", "train")
    held = [_number(tile.name) // _TILE_BLOCK % _TILE_EVERY == 1 for tile in tiles]
    return [t for t, out in zip(tiles, held, strict=True) if not out], [t for t, out in zip(tiles, held, strict=True) if out]


def _number(name: str) -> int:
    return int("".join(c for c in name if c.isdigit()) or 0)


def _backgrounds(data: Path) -> tuple[Background, ...]:
    out = [
        Background(item.image, item.gsd_m, item.mask) for item in read_masks_folder(data / "roofs", None, gsd_m=0.25)
    ]
    for name in _TOWNS:
        for path in sorted((data / "land_use" / name).glob("*.webp")):
            out.append(Background(read_picture(path), 0.3, None))
    for row in read_index(data / "vehicles", "train", ("gsd_m",))[::_ROADS_EVERY]:
        picture = read_picture(picture_path(data / "vehicles" / "images", row["name"]))
        out.append(Background(resample(picture, float(row["gsd_m"]) / GSD_M), GSD_M, None))
    return tuple(out)
