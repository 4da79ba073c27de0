"""Vehicle heat-map network: anchor-free centres (CenterNet, Zhou et al. 2019, doi:10.48550/arXiv.1904.07850)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from detection.models.backbone import LITE0, OnBackbone, Pyramid, Size

STRIDE = 4
"""Pixels of the input per cell of the output."""
HEADS = {"offset": 2, "size": 2, "length": 1, "heading": 2}


class VehicleMaps(NamedTuple):
    """Output of the network, each (N, C, H/4, W/4), raw (before sigmoid and exp)."""

    heat: Tensor
    """1 channel: logit that a vehicle's centre lies in the cell."""
    offset: Tensor
    """2: x, y of the centre from the cell's centre, cells."""
    size: Tensor
    """2: log of width and height of the axis-aligned box, cells."""
    length: Tensor
    """1: log of the vehicle's length, cells."""
    heading: Tensor
    """2: cosine and sine of twice the heading (a vehicle looks the same both ways)."""


class VehicleNet(OnBackbone):
    """RGB 0..255 (N, 3, H, W), multiples of 16 -> `VehicleMaps`."""

    def __init__(self, width: int = 64, size: Size = LITE0) -> None:
        super().__init__(size)
        self.pyramid = Pyramid(width, size)
        self.heat = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, 1, 1))
        self.shape = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(width, sum(HEADS.values()), 1)
        )
        last = self.heat[2]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.constant_(last.bias, -4.0)

    def forward(self, x: Tensor) -> VehicleMaps:
        features = self.pyramid(self.backbone(x))
        offset, size, length, heading = self.shape(features).split(list(HEADS.values()), dim=1)
        return VehicleMaps(self.heat(features), offset, size, length, heading)
