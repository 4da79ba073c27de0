"""Solar panel segmentation: the shared backbone and pyramid, one logit per 2 x 2 pixels, enlarged to full size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from detection.models.backbone import LITE0, Backbone, ConvNorm, Pyramid, Size, size_of


class PanelNet(nn.Module):
    """RGB 0..255 (N, 3, H, W), multiples of 16 -> logits (N, 1, H, W) that a pixel shows a panel."""

    def __init__(self, width: int = 64, size: Size = LITE0) -> None:
        super().__init__()
        self.backbone = Backbone(size)
        self.pyramid = Pyramid(width, size)
        self.detail = ConvNorm(3, 16, 3, 2)
        self.refine = nn.Sequential(ConvNorm(width + 16, 32, 3), nn.Conv2d(32, 1, 1))

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Self:
        """A network of the size that `state` is of; its weights are still to be loaded."""
        return cls(size=size_of(state))

    def forward(self, x: Tensor) -> Tensor:
        coarse = functional.interpolate(self.pyramid(self.backbone(x)), scale_factor=2.0, mode="bilinear")
        fine = self.detail((x - 127.0) / 128.0).to(coarse.dtype)
        logits: Tensor = self.refine(torch.cat([coarse, fine], dim=1))
        return functional.interpolate(logits.float(), scale_factor=2.0, mode="bilinear")
