"""The modules of one solar plant in one infrared orthomosaic: each cut out upright, brought to the grey levels that the
network knows, and judged; the share of faulty ones with its interval.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from collateral.progress import progress
from detection.arrays import Floats
from detection.infrared import InfraredMosaic
from detection.metrics import wilson
from detection.models.modules import CLASSES, COLUMNS, HEALTHY, ROWS
from detection.module_finish import SENSITIVITY_KEY, SPECIFICITY_KEY
from detection.module_outlines import Outlines
from detection.modules import ModuleClassifier
from detection.observe import Estimate
from detection.rectify import Upright, upright
from detection.weightfile import Card

LEAST_PX = 8.0
"""Short side of a module in the mosaic below which it is too coarse."""
LEAST_SEEN = 0.95
"""Share of a module that must hold data."""
LONGEST = 3.2
"""Long side over short side from which on an outline is no module."""
UNKNOWN = "unknown"
_LEVEL = 158.0
"""Median grey level of the sound modules the network was taught with."""
_SPREAD = 7.2
"""... and the spread (standard deviation) inside one of them, its frame left out."""
_INNER = (slice(4, -4), slice(3, -3))
FEW = 20
"""With fewer modules judged the share is doubtful, also because the plant's own grey levels say little."""
_MOST_GAIN = {"uint8": 3.0, "float32": 15.0, "float64": 15.0}
"""Grey levels per unit by type of the mosaic: 8 bit is coarse, floating point is taken for degrees."""
_DEFAULT_RATE = 0.9


@dataclass(frozen=True)
class ModuleReading:
    """What is said about one module."""

    module_id: str
    label: str
    """One of `CLASSES`, or unknown."""
    confidence: float
    """Of the label, calibrated; 0 where unknown."""
    fault: float | None
    """Calibrated probability of any fault; None where unknown."""
    faulty: bool
    reason: str = ""
    """Why it is unknown: outside, nodata, coarse or shape."""

    def as_dict(self) -> dict[str, object]:
        """For people and programs."""
        fault = None if self.fault is None else round(self.fault, 4)
        return {
            "module_id": self.module_id, "class": self.label, "confidence": round(self.confidence, 4),
            "fault_probability": fault, "faulty": self.faulty, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class PlantReading:
    """All modules of a plant."""

    modules: tuple[ModuleReading, ...]
    gain: float
    """Grey levels per unit of the mosaic."""
    level: float
    """In the mosaic's unit: what was made the middle grey."""

    @property
    def judged(self) -> list[ModuleReading]:
        """Modules that could be seen: the denominator."""
        return [module for module in self.modules if module.label != UNKNOWN]

    @property
    def unknown(self) -> Mapping[str, int]:
        """How many could not, by reason."""
        return dict(Counter(module.reason for module in self.modules if module.label == UNKNOWN))

    @property
    def by_class(self) -> Mapping[str, int]:
        """How many of each class were found."""
        return dict(Counter(module.label for module in self.judged))

    @property
    def faulty(self) -> int:
        """How many were found faulty."""
        return sum(module.faulty for module in self.modules)


def read_plant(mosaic: InfraredMosaic, outlines: Outlines, classifier: ModuleClassifier) -> PlantReading:
    """Judges every module of the outlines. Raises `RasterRejectedError` when pixels cannot be decoded."""
    crops: list[Floats] = []
    reasons: list[str] = []
    for module in progress(outlines.modules, "cutting out", unit="module"):
        corners = shapely.get_coordinates(module.polygon)
        pixels = mosaic.pixels_of(np.asarray(corners, np.float64), outlines.lonlat)
        values, reason = _cut(mosaic, pixels)
        reasons.append(reason)
        if not reason:
            crops.append(values)
    gain, level = grey_scale(crops, mosaic)
    grey = np.zeros((len(crops), ROWS, COLUMNS), np.uint8)
    for index, crop in enumerate(crops):
        grey[index] = np.clip(np.rint((crop - level) * gain + _LEVEL), 0, 255)
    judged = classifier.judge(grey)
    rows, at = [], 0
    for module, reason in zip(outlines.modules, reasons, strict=True):
        if reason:
            rows.append(ModuleReading(module.module_id, UNKNOWN, 0.0, None, False, reason))
            continue
        label, sure, fault = int(judged.label[at]), float(judged.confidence[at]), float(judged.fault[at])
        rows.append(ModuleReading(module.module_id, CLASSES[label], sure, fault, label != HEALTHY))
        at += 1
    return PlantReading(tuple(rows), gain, level)


def _cut(mosaic: InfraredMosaic, pixels: NDArray[np.float64]) -> tuple[Floats, str]:
    """The module upright and why it cannot be judged, if so."""
    nothing = np.zeros((ROWS, COLUMNS), np.float32)
    size = np.array([mosaic.facts.size.width, mosaic.facts.size.height])
    if not np.isfinite(pixels).all() or (pixels.min(axis=0) < -0.5).any() or (pixels.max(axis=0) > size + 0.5).any():
        return nothing, "outside"
    place = _upright(pixels)
    if place is None or place.width < LEAST_PX:
        return nothing, "coarse"
    if place.length > LONGEST * place.width:
        return nothing, "shape"
    crop = mosaic.crop(place, COLUMNS, ROWS)
    return (crop.values, "") if crop.seen >= LEAST_SEEN else (nothing, "nodata")


def _upright(pixels: NDArray[np.float64]) -> Upright | None:
    extent = pixels.max(axis=0) - pixels.min(axis=0)
    return upright([(float(x), float(y)) for x, y in pixels], "module") if float(extent.max()) >= 1 else None


def grey_scale(crops: Sequence[Floats], mosaic: InfraredMosaic) -> tuple[float, float]:
    """Gain and level that bring the plant's modules to the grey levels of the training data: most modules of a plant are
    sound, so the median module gives both. No more than `_MOST_GAIN`: what is left of an even plant is noise."""
    if not crops:
        return 1.0, 0.0
    level = float(np.median([np.median(crop) for crop in crops]))
    spread = float(np.median([crop[_INNER].std() for crop in crops]))
    gain = _SPREAD / spread if spread > 1e-9 else 1.0
    return min(gain, _MOST_GAIN.get(mosaic.dtype, gain)), level


def faulty_share(reading: PlantReading, card: Card) -> Estimate:
    """Faulty modules / modules judged, corrected for the network's error rates on held-out modules (Rogan and Gladen 1978,
    doi:10.1093/oxfordjournals.aje.a112510). The interval holds Wilson's 95 % interval of the share as found and the same
    corrected, because the error rates of another camera may be others.
    """
    found, n = reading.faulty, len(reading.judged)
    sensitivity, specificity = (
        float(str(card.config.get(key, _DEFAULT_RATE))) for key in (SENSITIVITY_KEY, SPECIFICITY_KEY)
    )

    def corrected(share: float) -> float:
        return min(max((share + specificity - 1) / max(sensitivity + specificity - 1, 0.05), 0.0), 1.0)

    low, high = wilson(found, n)
    value = corrected(found / n)
    return Estimate(value, min(low, corrected(low), value), max(high, corrected(high), value))
