"""What is wrong with a PV module: a small residual network for infrared crops of single modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS, COLUMNS = 40, 24
"""Crop of one module, pixels, its long side down the rows."""
CLASSES = (
    "Cell", "Cell-Multi", "Cracking", "Diode", "Diode-Multi", "Hot-Spot", "Hot-Spot-Multi", "No-Anomaly", "Offline-Module",
    "Shadowing", "Soiling", "Vegetation",
)  # fmt: skip
"""Order of the logits, as classes.json of the training data has it."""
HEALTHY = CLASSES.index("No-Anomaly")
_STEM = 24
_WIDTHS = (48, 96, 192)
_BLOCKS = (1, 2, 1)
"""Channels and number of blocks at strides 2, 4 and 8."""
_MEAN, _SPREAD = 158.0, 40.0
"""Grey level of the training crops."""


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, channels weighted by what the whole map shows (He et al. 2016,
    doi:10.1109/CVPR.2016.90; Hu et al. 2018, doi:10.1109/CVPR.2018.00745)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.squeeze = nn.Linear(outputs, outputs // 8)
        self.excite = nn.Linear(outputs // 8, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        weight = torch.sigmoid(self.excite(functional.relu(self.squeeze(y.mean(dim=(2, 3))))))
        return functional.relu(y * weight[:, :, None, None] + self.shortcut(x))


class ModuleNet(nn.Module):
    """Grey 0..255 (N, C, 40, 24), of whose channels the first is read -> logits (N, 12) in the order of `CLASSES`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, _STEM, 3, 1, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(_STEM)
        blocks: list[nn.Module] = []
        inputs = _STEM
        for width, repeats in zip(_WIDTHS, _BLOCKS, strict=True):
            for index in range(repeats):
                blocks.append(Residual(inputs, width, 2 if index == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(0.3)
        self.head = nn.Linear(2 * inputs, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = (x[:, :1] - _MEAN) / _SPREAD
        x = self.blocks(functional.relu(self.stem_norm(self.stem(x))))
        pooled = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits
