"""One picture seen several ways: quarter turns and mirror images, whose answers are averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from detection.arrays import floats

_Value = TypeVar("_Value", bound=np.generic)
_TURNS = 4
_SURE = 1e-6


def mirrored(pictures: NDArray[_Value]) -> tuple[NDArray[_Value], ...]:
    """N pictures (N x H x W or N x H x W x 3) as they are and their three mirror images (views of the same memory)."""
    return pictures, pictures[:, ::-1], pictures[:, :, ::-1], pictures[:, ::-1, ::-1]


def mean_over_views(
    segment: Callable[[NDArray[np.uint8]], NDArray[np.float32]], image: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """H x W probability from the mean of the logits of `segment` over the four quarter turns of an H x W x 3 picture and
    their mirror images. What one view takes for a panel by chance the others seldom do; it costs eight times the work."""
    total = np.zeros(image.shape[:2], np.float32)
    for turn in range(_TURNS):
        turned = np.rot90(image, turn)
        plain = segment(np.ascontiguousarray(turned))
        mirrored = segment(np.ascontiguousarray(turned[:, ::-1]))[:, ::-1]
        for seen in (plain, mirrored):
            p = np.clip(seen, _SURE, 1 - _SURE)
            total += np.rot90(np.log(p / (1 - p)), -turn)
    return floats(1 / (1 + np.exp(-total / (2 * _TURNS))))
