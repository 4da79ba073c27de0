"""Is this site's window of this scene fit to be read? Figures and a verdict per window, never per scene.

Works on an overview of about `OVERVIEW_GSD_M`. Clouds are found by a rule for true-colour pictures of a metre or finer:
large, bright, colourless, smooth, and either not bright in the site's reference or without the hard edge of a roof or a
concrete yard. The rule does not see cloud shadow or thin cirrus; those show in the contrast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imagery.grid import GridSpec

OVERVIEW_GSD_M = 0.6
_CLOUD_LUMINANCE = 185
_CLOUD_CHROMA = 42
_CLOUD_TEXTURE = 7.0
_CLOUD_EDGE_GRADIENT = 26.0
"""Mean gradient (grey levels per metre) along the edge of a bright area from which on it is taken for a roof."""
_CLOUD_OPENING_M = 5.0
_CLOUD_FRINGE_M = 5.0
_CHANGE_FROM_REFERENCE = 35


@dataclass(frozen=True)
class Limits:
    """Where a window is refused, and where its observations become doubtful."""

    nodata_share: float = 0.10
    cloud_share: float = 0.25
    contrast: float = 22.0
    """Smallest spread (5th to 95th percentile) of luminance, grey levels."""
    brightness: float = 25.0
    """Smallest median luminance: sun too low or night."""
    sharpness: float = 0.215
    """Smallest fine detail / coarse detail of the overview (see `QualityFigures.sharpness`)."""
    doubtful_cloud_share: float = 0.05
    doubtful_haze: float = 88.0
    """Dark level from which on observations are doubtful, grey levels."""


LIMITS = Limits()


@dataclass(frozen=True)
class QualityFigures:
    """Measured inside the site's polygon."""

    nodata_share: float
    cloud_share: float
    contrast: float
    haze: float
    """Luminance of the darkest hundredth: what scattered light adds, grey levels."""
    brightness: float
    sharpness: float
    """Root mean square of what a blur of 1 px takes away, over that of what a blur of 3 px takes away."""

    def as_dict(self) -> Mapping[str, float]:
        """Rounded, for a database row."""
        return {key: round(value, 4) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Verdict:
    """What is done with the window."""

    reason: str
    """Empty when accepted; else `nodata`, `cloud`, `haze`, `dark` or `blur`."""
    doubtful: bool
    figures: QualityFigures

    @property
    def accepted(self) -> bool:
        """True when detectors may read the window."""
        return not self.reason


@dataclass(frozen=True)
class Overview:
    """A window averaged to about OVERVIEW_GSD_M for quality and registration."""

    grid: GridSpec
    rgb: NDArray[np.uint8]
    """Rows x columns x 3."""
    valid: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    """Rows x columns, True inside the site's polygon."""

    @property
    def luminance(self) -> NDArray[np.uint8]:
        """Rows x columns, 0 to 255."""
        return np.asarray(cv2.cvtColor(self.rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def assess(overview: Overview, covered: NDArray[np.bool_], limits: Limits = LIMITS) -> Verdict:
    """The verdict on one window.

    Args:
        overview: the window.
        covered: rows x columns, what `clouds` says.
        limits: thresholds.
    """
    inside = overview.inside
    seen = inside & overview.valid
    area = max(int(inside.sum()), 1)
    nodata = 1.0 - int(seen.sum()) / area
    cloud = int((covered & seen).sum()) / max(int(seen.sum()), 1)
    clear = seen & ~covered
    figures = _figures(overview, clear, nodata, cloud)
    if nodata > limits.nodata_share:
        reason = "nodata"
    elif cloud > limits.cloud_share:
        reason = "cloud"
    elif figures.brightness < limits.brightness:
        reason = "dark"
    elif figures.contrast < limits.contrast:
        reason = "haze"
    elif figures.sharpness < limits.sharpness:
        reason = "blur"
    else:
        reason = ""
    doubtful = cloud > limits.doubtful_cloud_share or figures.haze > limits.doubtful_haze
    return Verdict(reason, doubtful, figures)


def _figures(overview: Overview, clear: NDArray[np.bool_], nodata: float, cloud: float) -> QualityFigures:
    luminance = overview.luminance
    values = luminance[clear]
    if values.size < 16:
        return QualityFigures(nodata, cloud, 0.0, 0.0, 0.0, 0.0)
    dark, low, middle, high = (float(v) for v in np.percentile(values, (1, 5, 50, 95)))
    fine, coarse = (_detail(luminance, clear, sigma) for sigma in (1.0, 3.0))
    sharpness = fine / max(coarse, 1e-6)
    return QualityFigures(nodata, cloud, high - low, dark, middle, sharpness)


def _detail(luminance: NDArray[np.uint8], where: NDArray[np.bool_], sigma: float) -> float:
    values = luminance.astype(np.float32)
    rest = (values - cv2.GaussianBlur(values, (0, 0), sigma))[where]
    return float(np.sqrt(np.mean(np.square(rest, dtype=np.float64))))


def clouds(overview: Overview, reference: NDArray[np.uint8] | None = None) -> NDArray[np.bool_]:
    """Rows x columns, True where cloud hides the ground.

    Args:
        overview: the window.
        reference: luminance of the site's reference on the same grid (0 where it says nothing), or None.
    """
    gsd = overview.grid.gsd_m
    luminance = overview.luminance
    chroma = overview.rgb.max(axis=2) - overview.rgb.min(axis=2)
    smooth = _local_deviation(luminance, 3.0 / gsd) < _CLOUD_TEXTURE
    bright = (luminance > _CLOUD_LUMINANCE) & (chroma < _CLOUD_CHROMA) & smooth & overview.valid
    opened = cv2.morphologyEx(bright.astype(np.uint8), cv2.MORPH_OPEN, _disc(_CLOUD_OPENING_M / gsd))
    if not opened.any():
        return np.zeros(bright.shape, np.bool_)
    gradient = _gradient(luminance) / gsd
    count, labels = cv2.connectedComponents(opened)
    found = np.zeros(bright.shape, np.uint8)
    for label in range(1, count):
        blob = (labels == label).astype(np.uint8)
        if _is_cloud(blob, luminance, gradient, reference, gsd):
            found |= blob
    return np.asarray(cv2.dilate(found, _disc(_CLOUD_FRINGE_M / gsd)), np.uint8) > 0


def _is_cloud(
    blob: NDArray[np.uint8],
    luminance: NDArray[np.uint8],
    gradient: NDArray[np.float32],
    reference: NDArray[np.uint8] | None,
    gsd: float,
) -> bool:
    where = blob > 0
    if reference is not None:
        known = where & (reference > 0)
        if known.sum() > where.sum() / 2:
            change = luminance[known].astype(np.int16) - reference[known]
            return bool(np.mean(change > _CHANGE_FROM_REFERENCE) > 0.5)
    ring = cv2.dilate(blob, _disc(3.0 / gsd)) - blob
    edge = gradient[ring > 0]
    return edge.size > 0 and float(np.percentile(edge, 90)) < _CLOUD_EDGE_GRADIENT


def _local_deviation(image: NDArray[np.uint8], radius: float) -> NDArray[np.float32]:
    size = (2 * max(1, round(radius)) + 1,) * 2
    values = image.astype(np.float32)
    mean = cv2.blur(values, size)
    square = cv2.blur(values * values, size)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0)), np.float32)


def _gradient(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels per pixel."""
    values = image.astype(np.float32)
    dx = cv2.Sobel(values, cv2.CV_32F, 1, 0, scale=1 / 8)
    dy = cv2.Sobel(values, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(cv2.magnitude(dx, dy), np.float32)


def _disc(radius_px: float) -> NDArray[np.uint8]:
    edge = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge)), np.uint8)
