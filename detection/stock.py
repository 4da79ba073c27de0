"""Which share of a yard is covered by goods, from the pixels that show goods and the pixels that show roofs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detection.calibration import calibrated
from detection.infer import Segmenter
from detection.models.stock import StockNet
from detection.weightfile import default_path

GSD_M = 0.3
"""Grid on which goods are looked for."""
MIN_SEEN = 0.5
"""Smallest part of a yard that must be open to the sky and free of cloud."""
_DEFAULT_ERROR95 = 0.08
ROOF = "roof"
HIDDEN = "hidden"


@dataclass(frozen=True)
class Cover:
    """What is known of one yard."""

    value: float | None
    """Share of the open, visible part under goods, 0 to 1; None when it cannot be seen."""
    lower: float
    upper: float
    """95 % interval: error on held-out pictures, and whatever may stand in the part that is not seen."""
    seen: float
    """Share of the yard that is open to the sky and visible."""
    reason: str = ""
    """Why there is no value: `roof` or `hidden`."""


class StockSegmenter(Segmenter):
    """Finds the pixels that show goods and those that show roofs."""

    @classmethod
    def load(cls, weights: Path | None = None, cache: Path | None = None) -> StockSegmenter:
        """From a safetensors file beside its card; None takes the shipped `stock`. Raises as `read_weights`.

        With a `cache` folder the fastest engine installed runs it (see `runtime_openvino`), else torch.
        """
        return cls(StockNet.of, "stock", weights or default_path("stock"), cache)

    @property
    def error95(self) -> float:
        """95 % of held-out errors of the cover of small squares lie below, as a share."""
        return float(str(self.card.config.get("cover_error95", _DEFAULT_ERROR95)))

    def classes(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Picture (H x W x 3 uint8 RGB on the `gsd_m` grid) -> H x W probabilities of goods (calibrated) and of roof.

        Raises `InvalidInputError` for another shape or type.
        """
        raw = self.raw_probabilities(image)
        return calibrated(self.card, raw[0]), raw[1]


def cover_of(
    inside: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    goods: NDArray[np.float32],
    roof: NDArray[np.float32],
    error95: float = _DEFAULT_ERROR95,
    threshold: float = 0.5,
    min_seen: float = MIN_SEEN,
) -> Cover:
    """Cover of one yard; all arrays rows x columns on one grid.

    Args:
        inside: pixels of the yard.
        valid: pixels that show the ground: not cloud, not outside the scene.
        goods: calibrated probability of goods.
        roof: probability of a roof: what is under it is not seen, which is not the same as empty.
        error95: 95 % of errors on held-out pictures lie below.
        threshold: from the card.
        min_seen: smallest part of the yard that must be seen for a value.
    """
    area = max(int(inside.sum()), 1)
    roofed = inside & (roof >= 0.5) & (goods < threshold)
    seen = inside & valid & ~roofed
    share = float(seen.sum()) / area
    if share < min_seen:
        return Cover(None, 0.0, 1.0, share, ROOF if roofed.sum() >= (inside & ~valid).sum() else HIDDEN)
    value = float((goods[seen] >= threshold).mean())
    lower, upper = max(value - error95, 0.0) * share, min(value + error95, 1.0) * share + (1 - share)
    return Cover(value, min(lower, value), max(min(upper, 1.0), value), share)
