"""Clouds and their shadows in Sentinel-2 and Landsat pictures by DLR's ukis-csmask (Apache 2.0, ships its weights).

An optional extra: `pip install collateral-watch[sentinel2]`. The network (Wieland, Li & Martinis 2019,
doi:10.1016/j.rse.2019.05.022) wants reflectances of at least blue, green, red and near infrared, best with both short-wave
infrared bands and at about `GSD_M`. It has three classes: no haze, snow or water. It is not for pictures of a metre or
finer: those are `imagery.quality`'s business.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from collateral.errors import InvalidInputError, ServiceError
from imagery.spectral import HELPFUL, NEEDED

CLEAR, CLOUD, SHADOW = 0, 1, 2
GSD_M = 30.0
"""Pixel of the pictures it was taught with, metres."""
WINDOW_PX = 256
"""Edge of its tiles."""
LEAST_PX = 16
Level = Literal["l1c", "l2a"]


@dataclass(frozen=True)
class CloudModel:
    """One of the networks that ukis-csmask ships."""

    file: Path
    """ONNX."""
    name: str
    """Package, version and network."""

    @property
    def sha256(self) -> str:
        """Checksum of its weights."""
        return _sha256(self.file)

    @property
    def card(self) -> Mapping[str, object]:
        """What it is, for the table of models."""
        return {
            "name": "clouds", "sha256": self.sha256, "package": self.name, "licence": "Apache-2.0", "gsd_m": GSD_M,
            "classes": ["clear", "cloud", "shadow"], "source": "https://github.com/dlr-eoc/ukis-csmask",
            "paper": "doi:10.1016/j.rse.2019.05.022",
        }  # fmt: skip


def model_for(bands: Sequence[str], level: str) -> CloudModel | None:
    """The network for these bands and this level; None when the extra is not installed.

    Nothing is loaded.
    """
    spec = find_spec("ukis_csmask")
    if spec is None or spec.origin is None or find_spec("onnxruntime") is None:
        return None
    network = f"{len(_order(bands))}b_{level}"
    file = Path(spec.origin).parent / f"model_{network}.onnx"
    return CloudModel(file, f"ukis-csmask {version('ukis-csmask')} {network}") if file.is_file() else None


@lru_cache(maxsize=4)
def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _order(bands: Sequence[str] | Mapping[str, object]) -> list[str]:
    return [*NEEDED, *(HELPFUL if all(name in bands for name in HELPFUL) else ())]


def cloud_classes(bands: Mapping[str, NDArray[np.float32]], level: Level = "l2a", threads: int = 1) -> NDArray[np.uint8]:
    """`CLEAR`, `CLOUD` or `SHADOW` for every pixel.

    Args:
        bands: reflectance (0 to 1) by name, rows x columns each: all of `NEEDED`, and of `HELPFUL` both or neither.
        level: top of the atmosphere (`l1c`) or corrected for it (`l2a`).
        threads: of the network.

    Raises:
        ServiceError: the extra is not installed.
        InvalidInputError: a band is missing, shapes differ, or the values are not reflectances.
    """
    order = _order(bands)
    lacking = [name for name in order if name not in bands]
    if lacking:
        raise InvalidInputError(f"Band {lacking[0]!r} is missing; {', '.join(NEEDED)} are needed.")
    shapes = {bands[name].shape for name in order}
    if len(shapes) > 1 or min(next(iter(shapes))) < LEAST_PX:
        raise InvalidInputError(f"Bands of {sorted(shapes)} pixels; resample them to one grid of {LEAST_PX} or more a side.")
    stack = np.stack([np.asarray(bands[name], np.float32) for name in order], axis=-1)
    if not np.isfinite(stack).all() or np.percentile(stack, 99) > 2.5 or stack.min() < -1:
        raise InvalidInputError(
            "The bands are no reflectances from 0 to 1; divide digital numbers by 10,000, and say which value is no data."
        )
    return _run(stack, tuple(order), level, threads)


_loaded: dict[tuple[tuple[str, ...], str, int], Any] = {}
"""Networks in use: the package loads its network anew for every picture, which takes longer than to run it."""


def _run(stack: NDArray[np.float32], order: tuple[str, ...], level: Level, threads: int) -> NDArray[np.uint8]:
    csmask = _package()
    key = (order, level, threads)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Your input image is smaller")  # the package mirrors it to a tile's size
        if key in _loaded:
            mask = _loaded[key]
            mask.img = mask.normalize(stack.copy(), mask.band_mean, mask.band_std)
            classes = mask._csm()
        else:
            mask = csmask(
                stack.copy(), list(order), level, intra_op_num_threads=threads, inter_op_num_threads=threads,
                providers=["CPUExecutionProvider"],
            )  # fmt: skip
            classes = mask.csm
            _loaded[key] = mask
    return np.asarray(classes[..., 0], np.uint8)


def _package() -> Any:
    """The package, imported when it is first needed."""
    with suppress(ImportError):
        return import_module("ukis_csmask.mask").CSmask
    missing = "onnxruntime" if find_spec("ukis_csmask") else "ukis-csmask"
    raise ServiceError(
        f"Clouds of Sentinel-2 need the package {missing!r}: install collateral-watch with the extra [sentinel2]."
    )
