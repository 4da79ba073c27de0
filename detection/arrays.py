"""The float arrays that detection passes around."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]


def floats(values: ArrayLike) -> Floats:
    """`values` as float32."""
    return np.asarray(values, np.float32)
