"""Occupied or empty: a small classifier of rectified slots on the shared backbone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detection.models.backbone import CHANNELS, Backbone

CHIP = 64
"""Side of a rectified slot, pixels."""


class SlotNet(nn.Module):
    """RGB 0..255 (N, 3, 64, 64) -> logits (N,) that the slot is occupied."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        wide = CHANNELS[16] + CHANNELS[8]
        self.head = nn.Sequential(nn.Linear(wide, 64), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        features = self.backbone(x)
        pooled = torch.cat([features[16].mean(dim=(2, 3)), features[8].amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(pooled)
        return logits[:, 0]
