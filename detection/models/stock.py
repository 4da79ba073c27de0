"""Goods and roofs: the panel network with two answers for each pixel."""

from __future__ import annotations

from torch import nn

from detection.models.backbone import LITE0, ConvNorm, Size
from detection.models.panels import PanelNet

CLASSES = ("goods", "roof")
"""Channels of the output."""


class StockNet(PanelNet):
    """RGB 0..255 (N, 3, H, W), multiples of 16 -> logits (N, 2, H, W): goods, roof."""

    def __init__(self, width: int = 64, size: Size = LITE0) -> None:
        super().__init__(width, size)
        self.refine = nn.Sequential(ConvNorm(width + 16, 32, 3), nn.Conv2d(32, len(CLASSES), 1))
