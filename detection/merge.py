"""What tiles found becomes what the picture shows: each object once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from detection.arrays import floats

SAME_OBJECT_IOU = 0.45
"""Boxes that overlap more are one vehicle: packed cars overlap less even when they stand obliquely."""


def merged(parts: Sequence[NDArray[np.float32]], threshold: float = SAME_OBJECT_IOU) -> NDArray[np.float32]:
    """Rows x0 y0 x1 y1 confidence ... of all tiles, strongest first, without those a stronger one overlaps (greedy).

    The same as `detection.metrics.suppress` over all rows, in time and memory that grow with their number only: pairs are
    found by a tree. Equal confidences are ordered by place, so that the order of the tiles does not matter.
    """
    rows = np.concatenate(parts) if parts else np.zeros((0, 6), np.float32)
    rows = rows[np.lexsort((rows[:, 0], rows[:, 1], -rows[:, 4]))]
    dropped = np.zeros(len(rows), np.bool_)
    for strong, weak in _overlapping(rows[:, :4], threshold):
        dropped[weak] |= not dropped[strong]
    return rows[~dropped]


def _overlapping(boxes: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Pairs i < j of boxes with an intersection over union above `threshold`, ordered by i."""
    shapes = np.asarray(shapely.box(*boxes.T), object).reshape(-1)
    first, second = shapely.STRtree(shapes).query(shapes)
    pairs = np.stack([first, second], axis=1)[first < second]
    a, b = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    inner = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None).prod(axis=1)
    union = _area(a) + _area(b) - inner
    pairs = pairs[inner > threshold * union]
    return np.asarray(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))], np.int64)


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return floats((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
