"""Solar panel segmentation: the shared backbone and pyramid, one logit per 2 x 2 pixels, enlarged to full size."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.models.backbone import LITE0, ConvNorm, OnBackbone, Pyramid, Size


class PanelNet(OnBackbone):
    """RGB 0..255 (N, 3, H, W), multiples of 16 -> logits (N, 1, H, W) that a pixel shows a panel."""

    def __init__(self, width: int = 64, size: Size = LITE0) -> None:
        super().__init__(size)
        self.pyramid = Pyramid(width, size)
        self.detail = ConvNorm(3, 16, 3, 2)
        self.refine = nn.Sequential(ConvNorm(width + 16, 32, 3), nn.Conv2d(32, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        coarse = functional.interpolate(self.pyramid(self.backbone(x)), scale_factor=2.0, mode="bilinear")
        fine = self.detail((x - 127.0) / 128.0).to(coarse.dtype)
        logits: Tensor = self.refine(torch.cat([coarse, fine], dim=1))
        return functional.interpolate(logits.float(), scale_factor=2.0, mode="bilinear")
