"""Lengths of two-dimensional vectors, to the same bit in every run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def length(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[np.float32]:
    """Length of the vectors (across, down), in their unit, arrays of one shape.

    Not `cv2.magnitude`: its last bit depends on where in memory the arrays lie, which differs from run to run. A window that
    is aligned by it moved by 1e-7 of a pixel, and with it what stood at a detector's threshold.
    """
    return np.asarray(np.sqrt(across * across + down * down), np.float32)
