"""Vehicle boxes to training maps and maps back to boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from detection.arrays import Floats, floats
from detection.models.vehicles import STRIDE, VehicleMaps


@dataclass(frozen=True)
class Peaks:
    """Decoded centres of one picture, strongest first."""

    boxes: NDArray[np.float32]
    """N x 4, x0 y0 x1 y1 in input pixels."""
    score: NDArray[np.float32]
    """N, raw heat 0..1."""
    length: NDArray[np.float32]
    """N, pixels."""
    heading: NDArray[np.float32]
    """N, radians in -pi/2..pi/2."""


def encode(
    boxes: NDArray[np.float32],
    shape: NDArray[np.float32],
    ignore: NDArray[np.float32],
    size: int,
) -> NDArray[np.float32]:
    """Targets of one square picture of `size` pixels.

    `boxes` N x 4 pixels; `shape` N x 2 length (pixels, NaN unknown) and heading (radians); `ignore` M x 4 pixels.
    Returns 10 x size/4 x size/4: heat, heat weight, shape weight, offset (2), log size (2), log length, cos and
    sin of 2 heading.
    The Gaussian follows the box (TTFNet, Liu et al. 2020, doi:10.1609/aaai.v34i07.6838).
    """
    cells = size // STRIDE
    out = np.zeros((10, cells, cells), np.float32)
    out[1] = 1.0
    for x0, y0, x1, y1 in ignore / STRIDE:
        out[1, max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = 0.0
    grid = np.arange(cells, dtype=np.float32) + 0.5
    for (x0, y0, x1, y1), (length, heading) in zip(boxes / STRIDE, shape, strict=True):
        _draw(out, grid, floats([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]), float(length), float(heading))
    return out


def _draw(
    out: NDArray[np.float32], grid: NDArray[np.float32], box: NDArray[np.float32], length: float, heading: float
) -> None:
    cells = len(grid)
    cx, cy, w, h = (float(v) for v in box)
    column, row = int(np.clip(cx, 0, cells - 1)), int(np.clip(cy, 0, cells - 1))
    gx = np.exp(-0.5 * ((grid - (column + 0.5)) / max(0.55, 0.1 * w)) ** 2)
    gy = np.exp(-0.5 * ((grid - (row + 0.5)) / max(0.55, 0.1 * h)) ** 2)
    bump = (gy[:, None] * gx[None, :]).astype(np.float32)
    out[0] = np.maximum(out[0], bump)
    out[1] = np.maximum(out[1], (bump > 0.05).astype(np.float32))
    mine = (bump > 0.3) & (bump > out[2])
    rows, columns = np.nonzero(mine)
    out[2, rows, columns] = bump[rows, columns]
    out[3, rows, columns] = cx - grid[columns]
    out[4, rows, columns] = cy - grid[rows]
    out[5, rows, columns] = np.log(max(w, 0.5))
    out[6, rows, columns] = np.log(max(h, 0.5))
    out[7, rows, columns] = np.log(max(length / STRIDE, 0.5)) if np.isfinite(length) else np.nan
    out[8, rows, columns] = np.cos(2 * heading)
    out[9, rows, columns] = np.sin(2 * heading)


def loss(maps: VehicleMaps, target: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Focal loss of the heat (penalty reduced by the Gaussian) and L1 of the shape. `target`: (N, 10, h, w)."""
    heat, weight, own = target[:, 0:1], target[:, 1:2], target[:, 2:3]
    logit = maps.heat.float().clamp(-12, 12)
    p = torch.sigmoid(logit)
    positive = (heat > 0.999).float()
    hit = positive * (1 - p) ** 2 * functional.logsigmoid(logit)
    miss = (1 - positive) * weight * (1 - heat) ** 4 * p**2 * functional.logsigmoid(-logit)
    count = positive.sum().clamp(min=4.0)
    focal = -(hit + miss).sum() / count
    total = own.sum().clamp(min=4.0)

    def l1(prediction: Tensor, wanted: Tensor, mask: Tensor) -> Tensor:
        known = torch.isfinite(wanted)
        gap = (prediction.float() - torch.where(known, wanted, 0.0)).abs() * known
        return (gap * mask).sum() / total

    parts = {
        "heat": focal,
        "offset": 0.5 * l1(maps.offset, target[:, 3:5], own),
        "size": 1.0 * l1(maps.size, target[:, 5:7], own),
        "length": 0.5 * l1(maps.length, target[:, 7:8], own),
        "heading": 0.2 * l1(maps.heading, target[:, 8:10], own),
    }
    return torch.stack(list(parts.values())).sum(), {key: float(value.detach()) for key, value in parts.items()}


def decode(maps: VehicleMaps, floor: float = 0.05, most: int = 2000) -> list[Peaks]:
    """Local maxima of the heat (3 x 3) above `floor`, one `Peaks` per picture of the batch.

    Without torch: its threads cost eight times the work where they share the cores with the network (measured).
    """
    pictures = zip(*(value.float().numpy() for value in maps), strict=True)
    return [_peaks(*picture, floor=floor, most=most) for picture in pictures]


def _peaks(heat: Floats, offset: Floats, size: Floats, length: Floats, heading: Floats, *, floor: float, most: int) -> Peaks:
    logits = heat[0]
    highest = np.asarray(cv2.dilate(logits, np.ones((3, 3), np.uint8)), np.float32)
    rows, columns = np.nonzero((logits == highest) & (logits > np.log(floor / (1 - floor))))
    order = np.argsort(-logits[rows, columns], kind="stable")[:most]
    rows, columns = rows[order], columns[order]
    at = (slice(None), rows, columns)
    centre = np.stack([columns, rows]) + 0.5 + offset[at]
    half = np.exp(np.clip(size[at], -3, 6)) / 2
    boxes = np.concatenate([centre - half, centre + half]).T * STRIDE
    return Peaks(
        boxes=boxes.astype(np.float32).reshape(-1, 4),
        score=floats(1 / (1 + np.exp(-logits[rows, columns]))),
        length=floats(np.exp(np.clip(length[at][0], -3, 6)) * STRIDE),
        heading=floats(np.arctan2(heading[at][1], heading[at][0]) / 2),
    )
