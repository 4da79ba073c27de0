"""Empty, a vehicle or goods: a small classifier of rectified slots on the shared backbone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from collateral.domain import PARKING_BAY
from detection.models.backbone import LITE0, OnBackbone, Size

CHIP = 64
"""Side of a rectified slot, pixels."""
CLASSES = ("empty", "vehicle", "goods")
_GOODS_THERE = 0.02
"""How likely goods are on a parking bay, where a box or weeds are none, over how likely on a slot of another kind."""


class SlotNet(OnBackbone):
    """RGB 0..255 (N, 3, 64, 64) -> logits (N, 3) of `CLASSES`.

    Beside the mean and the strongest answer over the whole slot it sees means weighted by place, with learned weights: a
    vehicle in the middle is the slot's own, one at its long side the neighbour's.
    """

    def __init__(self, size: Size = LITE0) -> None:
        super().__init__(size)
        self.place8 = nn.Parameter(_middle(CHIP // 8))
        self.place16 = nn.Parameter(_middle(CHIP // 16))
        wide = 2 * (sum(size.channels[stride] for stride in (16, 8)))
        self.head = nn.Sequential(nn.Linear(wide, 64), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(64, len(CLASSES)))

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        coarse, fine = features[16].float(), features[8].float()
        pooled = [
            coarse.mean(dim=(2, 3)), fine.amax(dim=(2, 3)), _weighted(coarse, self.place16), _weighted(fine, self.place8),
        ]  # fmt: skip
        logits: Tensor = self.head(torch.cat(pooled, dim=1))
        return logits


def occupied_logits(logits: NDArray[np.float32], kinds: Sequence[str]) -> NDArray[np.float32]:
    """Logits (N, 3) of `CLASSES` and the kind of each slot -> logits (N,) that it is occupied.

    What a slot is for says what may stand there: on a parking bay goods are held for `_GOODS_THERE` times as likely (Bayes'
    rule; the network was taught without kinds).
    """
    parking = np.array([kind == PARKING_BAY for kind in kinds], np.bool_)
    goods = logits[:, 2] + np.where(parking, np.log(_GOODS_THERE), 0.0)
    return (np.logaddexp(logits[:, 1], goods) - logits[:, 0]).astype(np.float32)


def _weighted(features: Tensor, place: Tensor) -> Tensor:
    """Mean over a map (N, C, S, S) weighted by softmax(place), S x S -> (N, C)."""
    return (features * place.flatten().softmax(0).reshape(place.shape)).sum(dim=(2, 3))


def _middle(side: int) -> Tensor:
    """Logits of weights that fall off towards the sides, a little less towards the ends: side x side."""
    away = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2).abs() / (side / 2)
    return -4 * torch.maximum(0.8 * away[:, None], away[None])
