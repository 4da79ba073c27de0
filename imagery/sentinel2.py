"""Clouds and their shadows in Sentinel-2 and Landsat pictures by DLR's ukis-csmask (Apache 2.0, ships its weights).

An optional extra: `pip install collateral-watch[sentinel2]`. The network (Wieland, Li & Martinis 2019,
doi:10.1016/j.rse.2019.05.022) wants reflectances of at least blue, green, red and near infrared, best with both short-wave
infrared bands and at about 30 m. It is not for pictures of a metre or finer: those are `imagery.quality`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError, ServiceError

CSmask: Any = None
with suppress(ImportError):
    CSmask = import_module("ukis_csmask.mask").CSmask

CLEAR, CLOUD, SHADOW = 0, 1, 2
NEEDED = ("blue", "green", "red", "nir")
HELPFUL = ("swir16", "swir22")
LEAST_PX = 64
_PADDED_PX = 256
"""Edge of the network's tiles: smaller pictures are mirrored to it."""


def installed() -> bool:
    """Whether the extra is there."""
    return CSmask is not None


def cloud_classes(
    bands: Mapping[str, NDArray[np.float32]], level: Literal["l1c", "l2a"] = "l2a", threads: int = 1
) -> NDArray[np.uint8]:
    """`CLEAR`, `CLOUD` or `SHADOW` for every pixel.

    Args:
        bands: reflectance (0 to 1) by name, rows x columns each: all of `NEEDED`, and of `HELPFUL` both or neither.
        level: top of the atmosphere (`l1c`) or corrected for it (`l2a`).
        threads: of the network.

    Raises:
        ServiceError: the extra is not installed.
        InvalidInputError: a band is missing, shapes differ, or the values are not reflectances.
    """
    if CSmask is None:
        missing = "onnxruntime" if find_spec("ukis_csmask") else "ukis-csmask"
        raise ServiceError(
            f"Clouds of Sentinel-2 need the package {missing!r}: install collateral-watch with the extra [sentinel2]."
        )
    order = [*NEEDED, *(HELPFUL if all(name in bands for name in HELPFUL) else ())]
    lacking = [name for name in order if name not in bands]
    if lacking:
        raise InvalidInputError(f"Band {lacking[0]!r} is missing; {', '.join(NEEDED)} are needed.")
    shapes = {bands[name].shape for name in order}
    if len(shapes) > 1 or min(next(iter(shapes))) < LEAST_PX:
        raise InvalidInputError(f"Bands of {sorted(shapes)} pixels; resample them to one grid of {LEAST_PX} or more a side.")
    stack = np.stack([np.asarray(bands[name], np.float32) for name in order], axis=-1)
    if not np.isfinite(stack).all() or np.percentile(stack, 99) > 2.5:
        raise InvalidInputError("The bands are no reflectances from 0 to 1; divide digital numbers by 10,000.")
    rows, columns = stack.shape[:2]
    padding = [(0, max(0, _PADDED_PX - edge)) for edge in (rows, columns)]
    padded = np.ascontiguousarray(np.pad(stack, [*padding, (0, 0)], mode="symmetric"))
    mask = CSmask(padded, order, level, intra_op_num_threads=threads, providers=["CPUExecutionProvider"])
    return np.asarray(mask.csm[:rows, :columns, 0], np.uint8)
