"""Is this site's window of this scene fit to be read? Figures and a verdict per window, never per scene.

Works on an overview of about `OVERVIEW_GSD_M`. Clouds are found by a rule for true-colour pictures of a metre or finer:
large, bright, colourless, smooth, and either not bright in the site's reference or without the hard edge of a roof or a
concrete yard most of the way round. Cloud shadow is seen only against the reference: large, and much darker than
there. Thin cirrus shows in the contrast. What the rules find and miss is measured by `collateral evaluate clouds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from imagery.acquisition import Acquisition
from imagery.grid import GridSpec
from imagery.vectors import length

OVERVIEW_GSD_M = 0.6
_CLOUD_LUMINANCE = 185
_CLOUD_CHROMA = 42
_CLOUD_TEXTURE = 7.0
_CLOUD_EDGE_GRADIENT = 26.0
"""Gradient (grey levels per metre) from which on the edge of a bright area is hard."""
_CLOUD_FALL = 12.0
"""A bright area is followed so many grey levels below its smooth middle: over a roof to its eaves, of a cloud not down its
fringe, where the ground shows through."""
_CLOUD_CRISP = 0.6
"""Share of an area's outline that must be hard for a roof or a yard."""
_CLOUD_OPENING_M = 5.0
_CLOUD_FRINGE_M = 5.0
_CHANGE_FROM_REFERENCE = 35
_SHADOW_RATIO = 0.68
"""Ground under a cloud has at most this share of the light of the day."""
_SHADOW_MEAN_M = 4.0
_MOST_LIGHT = 1.3
"""More light than in the reference is a new white roof, not the day."""
_SHADOW_OPENING_M = 6.0
_SHADOW_GROUND = 40
"""Ground that is darker in the reference (water, panels, shade of halls) says nothing."""
_SHADOW_PATTERN = 0.3
"""Smallest correlation of the ground's pattern under a shadow with the reference's."""
_SATURATED = 253


@dataclass(frozen=True)
class Limits:
    """Where a window is refused, and where its observations become doubtful."""

    nodata_share: float = 0.10
    cloud_share: float = 0.25
    contrast: float = 22.0
    """Smallest spread (5th to 95th percentile) of luminance, grey levels."""
    contrast_kept: float = 0.5
    """Smallest share of the reference's contrast, where the darkest ground is grey besides."""
    veil: float = 125.0
    """Dark level from which on a weak contrast (`veiled_contrast`) is the air's, without a reference."""
    veiled_contrast: float = 60.0
    veil_brightness: float = 205.0
    """A picture without contrast that is brighter than this shows the top of a cloud, not air."""
    shadow_share: float = 0.25
    brightness: float = 25.0
    """Smallest median luminance, where `highlight` fails too: night, twilight."""
    highlight: float = 60.0
    """Smallest bright level (95th percentile)."""
    saturated_share: float = 0.20
    sharpness: float = 0.45
    """Smallest fine detail over coarse detail (see `QualityFigures.sharpness`)."""
    sharpness_kept: float = 0.75
    """Smallest share of the reference's sharpness."""
    sun_elevation_deg: float = 10.0
    """A lower sun, as the metadata state it, leaves most of a yard in the shade of its own halls. One computed from the time
    told only makes doubtful: where the picture is bright all the same, the time is wrong."""
    off_nadir_deg: float = 35.0
    """Beyond it walls hide yards and heights displace roofs by more than half of themselves."""
    doubtful_off_nadir_deg: float = 25.0
    doubtful_cloud_share: float = 0.05
    doubtful_haze: float = 88.0
    """Dark level from which on observations are doubtful, grey levels."""


LIMITS = Limits()
REASONS = ("nodata", "sun_low", "oblique", "dark", "saturation", "haze", "cloud", "shadow", "blur")
"""Why a window is refused, the first that holds; the scan adds `not_aligned` (another place) and `damaged`."""


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
    """Detail between blurs of 1 and 2 px over that between blurs of 2 and 5 px (root mean squares). Finer detail is left
    out: grain and the scan's own interpolation decide it."""
    highlight: float = 255.0
    """95th percentile of luminance."""
    saturated_share: float = 0.0
    """Share of clear pixels with two colours or more at the upper end."""
    shadow_share: float = 0.0
    """Share of the clear ground under the shadow of a cloud."""
    contrast_kept: float | None = None
    """Contrast over the reference's at the same pixels; None without a reference."""
    sharpness_kept: float | None = None
    """Sharpness over the reference's."""
    seen_contrast: float = 255.0
    """Spread of luminance with what is called cloud."""
    seen_brightness: float = 0.0
    """Median luminance with what is called cloud."""
    sun_elevation_deg: float | None = None
    sun_stated: bool = False
    """True when the metadata say it."""
    off_nadir_deg: float | None = None

    def as_dict(self) -> Mapping[str, float]:
        """Rounded, for a database row."""
        return {key: round(value, 4) for key, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Verdict:
    """What is done with the window."""

    reason: str
    """Empty when accepted; else one of `REASONS`."""
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


def assess(
    overview: Overview,
    covered: NDArray[np.bool_],
    limits: Limits = LIMITS,
    reference: NDArray[np.uint8] | None = None,
    shaded: NDArray[np.bool_] | None = None,
    acquisition: Acquisition | None = None,
) -> Verdict:
    """The verdict on one window.

    Args:
        overview: the window.
        covered: rows x columns, what `clouds` says.
        limits: thresholds.
        reference: luminance of the site's reference on the same grid (0 where it says nothing), or None.
        shaded: rows x columns, what `cloud_shadows` says, or None.
        acquisition: angles of the scene, or None.
    """
    figures = _figures(overview, covered, reference, shaded, acquisition)
    return Verdict(_reason(figures, limits), _doubtful(figures, limits), figures)


def _reason(figures: QualityFigures, limits: Limits) -> str:
    sun, off_nadir = figures.sun_elevation_deg, figures.off_nadir_deg
    failed = {
        "nodata": figures.nodata_share > limits.nodata_share,
        "sun_low": figures.sun_stated and _below(sun, limits.sun_elevation_deg),
        "oblique": off_nadir is not None and off_nadir > limits.off_nadir_deg,
        "cloud": figures.cloud_share > limits.cloud_share,
        "shadow": figures.shadow_share > limits.shadow_share,
        "dark": figures.brightness < limits.brightness and figures.highlight < limits.highlight,
        "saturation": figures.saturated_share > limits.saturated_share,
        "haze": _hazy(figures, limits),
        "blur": figures.sharpness < limits.sharpness or _below(figures.sharpness_kept, limits.sharpness_kept),
    }
    return next((reason for reason in REASONS if failed[reason]), "")


def _hazy(figures: QualityFigures, limits: Limits) -> bool:
    cloud_top = figures.seen_brightness > limits.veil_brightness or figures.cloud_share > 1 - limits.cloud_share
    return not cloud_top and (
        min(figures.contrast, figures.seen_contrast) < limits.contrast
        or (figures.haze > limits.veil and figures.seen_contrast < limits.veiled_contrast)
        or (figures.haze > limits.doubtful_haze and _below(figures.contrast_kept, limits.contrast_kept))
    )


def _below(value: float | None, limit: float) -> bool:
    return value is not None and value < limit


def _doubtful(figures: QualityFigures, limits: Limits) -> bool:
    return (
        figures.cloud_share + figures.shadow_share > limits.doubtful_cloud_share
        or figures.haze > limits.doubtful_haze
        or (figures.off_nadir_deg or 0.0) > limits.doubtful_off_nadir_deg
        or _below(figures.sun_elevation_deg, limits.sun_elevation_deg)
    )


def _figures(
    overview: Overview,
    covered: NDArray[np.bool_],
    reference: NDArray[np.uint8] | None,
    shaded: NDArray[np.bool_] | None,
    acquisition: Acquisition | None,
) -> QualityFigures:
    seen = overview.inside & overview.valid
    clear = seen & ~covered
    luminance = overview.luminance
    sun, stated, off_nadir = None, False, None
    if acquisition is not None:
        sun, stated, off_nadir = acquisition.sun_elevation_deg, acquisition.sun_stated, acquisition.off_nadir_deg
    nodata = 1.0 - int(seen.sum()) / max(int(overview.inside.sum()), 1)
    cloud = int((covered & seen).sum()) / max(int(seen.sum()), 1)
    if seen.sum() < 16:
        return QualityFigures(
            nodata, cloud, 0.0, 0.0, 0.0, 0.0, sun_elevation_deg=sun, sun_stated=stated, off_nadir_deg=off_nadir
        )
    whole = luminance[seen]
    values = luminance[clear] if clear.sum() >= 16 else whole
    dark, low, middle, high = (float(v) for v in np.percentile(values, (1, 5, 50, 95)))
    contrast_kept, sharpness_kept = _kept(luminance, reference, clear, overview.valid)
    return QualityFigures(
        nodata, cloud, high - low, dark, middle, _sharpness(luminance, clear, overview.valid), high,
        float(np.mean(np.sort(overview.rgb[seen], axis=1)[:, 1] >= _SATURATED)),
        float(np.mean(shaded[clear])) if shaded is not None and clear.any() else 0.0,
        contrast_kept, sharpness_kept, float(np.subtract(*np.percentile(whole, (95, 5)))), float(np.median(whole)),
        sun, stated, off_nadir,
    )


def _kept(
    luminance: NDArray[np.uint8], reference: NDArray[np.uint8] | None, clear: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> tuple[float | None, float | None]:
    """Contrast and sharpness over the reference's, where both show clear ground."""
    if reference is None or (both := clear & (reference > 0)).sum() < 256:
        return None, None
    known = valid & (reference > 0)
    now, then = (float(np.subtract(*np.percentile(image[both], (95, 5)))) for image in (luminance, reference))
    sharp, usual = (_sharpness(image, both, known) for image in (luminance, reference))
    return now / max(then, 1.0), sharp / max(usual, 1e-6)


def _sharpness(luminance: NDArray[np.uint8], where: NDArray[np.bool_], known: NDArray[np.bool_]) -> float:
    """See `QualityFigures.sharpness`; measured `where`, from known pixels alone: a hole's edge is no detail."""
    if where.sum() < 16:
        return 0.0
    soft, softer, softest = (_blurred(luminance, known, sigma) for sigma in (1.0, 2.0, 5.0))
    fine, coarse = (part[where].astype(np.float64) for part in (soft - softer, softer - softest))
    return float(np.sqrt(np.mean(fine * fine)) / max(float(np.sqrt(np.mean(coarse * coarse))), 1e-6))


def _blurred(image: NDArray[np.uint8], known: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Gaussian mean of the known pixels around each."""
    if known.all():
        return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)
    total, share = (
        cv2.GaussianBlur(layer.astype(np.float32), (0, 0), sigma) for layer in (np.where(known, image, 0), known)
    )
    return np.asarray(total / np.maximum(share, 1e-6), np.float32)


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
    changed = luminance.astype(np.int16) - (luminance if reference is None else reference)
    brighter = ((changed > _CHANGE_FROM_REFERENCE) & (reference is not None and reference > 0)).astype(np.uint8)
    found = np.zeros(bright.shape, np.uint8)
    for label in range(1, count):
        blob = (labels == label).astype(np.uint8)
        if reference is not None and _was_as_bright(blob, luminance, reference):
            continue
        body = _body(blob, overview)
        if not _is_crisp(body, overview, gradient):
            found |= blob | (body & brighter)
    return np.asarray(cv2.dilate(found, _disc(_CLOUD_FRINGE_M / gsd)), np.uint8) > 0


def cloud_shadows(
    overview: Overview, reference: NDArray[np.uint8], covered: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Rows x columns, True where a cloud outside or inside the window shades the ground.

    Args:
        overview: the window, lying within some metres of the reference.
        reference: luminance of the site's reference on the same grid, 0 where it says nothing.
        covered: what `clouds` says.
    """
    gsd = overview.grid.gsd_m
    known = overview.valid & ~covered & (reference > 0)
    if known.sum() < 256:
        return np.zeros(known.shape, np.bool_)
    # The brightest part of the picture lies in the sun whatever else is shaded, and tells the light of the day.
    now, then = (_local_mean(image, known, _SHADOW_MEAN_M / gsd) for image in (overview.luminance, reference))
    ratio = now / np.maximum(then, 1.0)
    light = min(float(np.percentile(ratio[known], 90)), _MOST_LIGHT)
    dim = known & (ratio < _SHADOW_RATIO * light) & (then > _SHADOW_GROUND)
    opened = cv2.morphologyEx(dim.astype(np.uint8), cv2.MORPH_OPEN, _disc(_SHADOW_OPENING_M / gsd))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, _disc(_SHADOW_OPENING_M / gsd))
    count, labels = cv2.connectedComponents(closed)
    patterns = _pattern(overview.luminance, gsd), _pattern(reference, gsd)
    same = [label for label in range(1, count) if _same_pattern(*patterns, (labels == label) & known, gsd)]
    return np.isin(labels, same) & known


def _pattern(image: NDArray[np.uint8], gsd: float) -> NDArray[np.float32]:
    """Structures of some metres, whatever the light."""
    values = np.log(image.astype(np.float32) + 8)
    fine, coarse = (cv2.GaussianBlur(values, (0, 0), metres / gsd) for metres in (1.2, 6.0))
    return np.asarray(fine - coarse, np.float32)


def _same_pattern(now: NDArray[np.float32], then: NDArray[np.float32], where: NDArray[np.bool_], gsd: float) -> bool:
    """Whether the ground under a shadow is the reference's: a new asphalt yard is dark as well. Some metres of displacement
    are allowed for."""
    step = max(1, round(1.5 / gsd))
    moved = (np.roll(then, (rows, columns), (0, 1)) for rows in (-step, 0, step) for columns in (-step, 0, step))
    best = max(float(np.corrcoef(now[where], other[where])[0, 1]) for other in moved)
    return best > _SHADOW_PATTERN


def _local_mean(image: NDArray[np.uint8], known: NDArray[np.bool_], radius_px: float) -> NDArray[np.float32]:
    """Mean of the known pixels around each."""
    size = (2 * max(1, round(radius_px)) + 1,) * 2
    total = cv2.blur(np.where(known, image, 0).astype(np.float32), size)
    return np.asarray(total / np.maximum(cv2.blur(known.astype(np.float32), size), 1e-3), np.float32)


def _was_as_bright(blob: NDArray[np.uint8], luminance: NDArray[np.uint8], reference: NDArray[np.uint8]) -> bool:
    """Whether the reference, where it says something, shows most of a bright area about as bright."""
    where = blob > 0
    known = where & (reference > 0)
    if known.sum() <= where.sum() / 2:
        return False
    change = luminance[known].astype(np.int16) - reference[known]
    return bool(np.mean(change > _CHANGE_FROM_REFERENCE) <= 0.5)


def _body(blob: NDArray[np.uint8], overview: Overview) -> NDArray[np.uint8]:
    """The bright area of which a blob is the smooth middle: about as bright, as colourless, connected with it.

    Whatever its texture: the blob's own outline lies metres inside, where a roof has seams or a cloud is ragged.
    """
    luminance = overview.luminance
    chroma = overview.rgb.max(axis=2) - overview.rgb.min(axis=2)
    low = float(np.percentile(luminance[blob > 0], 10)) - _CLOUD_FALL
    wide = ((luminance > low) & (chroma < _CLOUD_CHROMA) & overview.valid) | (blob > 0)
    _, labels = cv2.connectedComponents(wide.astype(np.uint8))
    return np.isin(labels, np.unique(labels[blob > 0])).astype(np.uint8)


def _is_crisp(body: NDArray[np.uint8], overview: Overview, gradient: NDArray[np.float32]) -> bool:
    """Whether a bright area ends at a hard edge most of the way round: a roof, a part covered anew, a concrete yard."""
    kernel = np.ones((3, 3), np.uint8)
    steepest = cv2.dilate(gradient, kernel)[(cv2.dilate(body, kernel) > body) & overview.valid]
    return steepest.size > 0 and float(np.mean(steepest > _CLOUD_EDGE_GRADIENT)) > _CLOUD_CRISP


def _local_deviation(image: NDArray[np.uint8], radius: float) -> NDArray[np.float32]:
    size = (2 * max(1, round(radius)) + 1,) * 2
    values = image.astype(np.float32)
    mean = cv2.blur(values, size)
    square = cv2.blur(values * values, size)
    return np.asarray(np.sqrt(np.maximum(square - mean * mean, 0.0)), np.float32)


def _gradient(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Grey levels per pixel."""
    values = image.astype(np.float32)
    across, down = (np.asarray(cv2.Sobel(values, cv2.CV_32F, *order, scale=1 / 8), np.float32) for order in ((1, 0), (0, 1)))
    return length(across, down)


def _disc(radius_px: float) -> NDArray[np.uint8]:
    edge = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge)), np.uint8)
