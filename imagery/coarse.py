"""Pictures too coarse for every detector (Sentinel-2, Landsat): what hides each site in them is judged all the same.

A verdict per site window is a row like any other (`scan_result`, detector `clouds`): refused as `nodata`, `sun_low`,
`cloud`, `shadow` or `haze`, or, where the site is clear, as `too_coarse`. So such a scene is never a usable picture, and
never ends "no usable picture since". Cloud and shadow are found by `imagery.sentinel2` in 7.7 km around the site; without
that extra the row is `no_cloud_model` and says what to install, and the verdict is made when it is there. Haze is what
scattered light adds to blue over red (haze optimised transform, Zhang, Guindon & Cihlar 2002,
doi:10.1016/S0034-4257(02)00034-2) on the tenth of the clear ground that has the least of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import box

from collateral.db.scenes import SKY, ScanResult
from collateral.errors import InvalidInputError
from collateral.progress import progress
from imagery.grid import GridSpec, grid_over
from imagery.quality import LIMITS
from imagery.reader import ReadCost, Reflectances, WindowDamagedError, WindowUnreadableError, read_reflectances
from imagery.scan import ScanStore, WorkKey, said, windows_of
from imagery.scan_summary import ScanSummary
from imagery.scenes import SceneFile
from imagery.sentinel2 import CLEAR, CLOUD, GSD_M, LEAST_PX, SHADOW, WINDOW_PX, CloudModel, cloud_classes, model_for
from imagery.spectral import COARSE_M, Spectral
from imagery.target import SiteTarget, mask_inside

log = logging.getLogger(__name__)

NO_MODEL = "no_cloud_model"
NO_REFLECTANCE = "no_reflectance"
TOO_COARSE = "too_coarse"
REASONS = ("nodata", "sun_low", NO_MODEL, "cloud", "shadow", "haze", TOO_COARSE)
"""Why a coarse window is refused, the first that holds; besides `no_reflectance` and, as everywhere, `damaged`."""
HAZE_LIMIT = 0.04
"""Reflectance; what a cloud of optical depth 1.2 adds."""
_CLEAR_AIR = {"l2a": 0.015, "l1c": 0.075}
"""Blue minus half of red of dark ground in clear air."""
_EDGE_M = 30.0
"""Seen around the site's polygon: a pixel."""
_LEAST_CLEAR = 0.05
_PER_COMMIT = 16


@dataclass(frozen=True)
class SkyFigures:
    """What hides a site, by class of pixels inside its polygon and a pixel around it."""

    nodata_share: float
    cloud_share: float | None
    """Of what holds data; None when no model is installed or the scene around the site is too narrow for it."""
    shadow_share: float | None
    """Of what is not under cloud."""
    haze: float | None
    """Reflectance; None where nothing is clear or the bands' offset is not known."""


@dataclass(frozen=True)
class CoarseJudge:
    """Judges windows of scenes of one kind of bands."""

    model: CloudModel | None
    """None: not installed, or the scene has no bands to judge by."""

    @property
    def model_sha256(self) -> str:
        """Checksum of the weights; empty without: the work is due again when there is a model."""
        return "" if self.model is None else self.model.sha256

    def judge(self, scene: SceneFile, target: SiteTarget) -> tuple[str, Mapping[str, object], ReadCost]:
        """Reason (one of `REASONS`), figures and cost of one window."""
        gsd_m = scene.facts.gsd_m
        told: dict[str, object] = {"gsd_m": round(gsd_m, 2), "detectors_need_m": COARSE_M}
        told["detail"] = f"pixels of {gsd_m:.4g} m are too coarse for the detectors (finer than {COARSE_M:.0f} m)"
        spectral = scene.facts.spectral
        if spectral is None:
            return TOO_COARSE, told, ReadCost()
        sun = scene.acquisition
        pixels = read_reflectances(scene.facts, _grid(target))
        figures = sky(pixels, mask_inside(target.polygon.buffer(_EDGE_M), pixels.grid), spectral, self.model)
        reason = reason_of(figures, sun.sun_stated and sun.sun_elevation_deg < LIMITS.sun_elevation_deg)
        told |= {key: round(value, 4) for key, value in vars(figures).items() if value is not None}
        told |= {
            "sun_elevation_deg": round(sun.sun_elevation_deg, 2), "sun_stated": sun.sun_stated, "judged_gsd_m": GSD_M,
            "method": "none" if self.model is None else self.model.name, "bands": len(spectral.bands),
            "level": spectral.level, "level_stated": spectral.level_stated, "scale": spectral.scale,
            "offset": spectral.offset, "scaling_stated": spectral.scaling_stated,
        }
        if reason == NO_MODEL and self.model is not None:
            reason = "nodata"
            told["detail"] = f"less than {LEAST_PX * GSD_M:.0f} m of the scene around the site: too little to judge clouds"
        elif reason == NO_MODEL:
            told["detail"] = "clouds were not judged: install collateral-watch with the extra [sentinel2] and scan again"
        return reason, told, pixels.cost


def sky(pixels: Reflectances, inside: NDArray[np.bool_], spectral: Spectral, model: CloudModel | None) -> SkyFigures:
    """What hides the site.

    Args:
        pixels: a window around it, of `GSD_M`.
        inside: rows x columns, True on the site.
        spectral: of the scene.
        model: network for its bands, or None.
    """
    seen = pixels.valid & inside
    classes = classes_of(pixels, spectral) if model is not None and seen.any() else None
    if classes is None:
        return SkyFigures(1 - int(seen.sum()) / max(int(inside.sum()), 1), None, None, None)
    return shares_of(pixels, inside, classes, haze_of(pixels, classes, spectral))


def classes_of(pixels: Reflectances, spectral: Spectral) -> NDArray[np.uint8] | None:
    """What `cloud_classes` says of a window, `CLEAR` where it holds no data; None where too little of it does."""
    rows, columns = (np.flatnonzero(pixels.valid.any(axis=axis)) for axis in (1, 0))
    if not rows.size or min(np.ptp(rows), np.ptp(columns)) + 1 < LEAST_PX:
        return None
    held = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    known = pixels.valid[held]
    bands = {name: _filled(band[held], known) for name, band in pixels.bands.items()}
    classes = np.full(pixels.valid.shape, CLEAR, np.uint8)
    classes[held] = cloud_classes(bands, "l1c" if spectral.level == "l1c" else "l2a")
    return classes


def shares_of(
    pixels: Reflectances, inside: NDArray[np.bool_], classes: NDArray[np.uint8], haze: float | None
) -> SkyFigures:
    """The figures of a site in a window whose classes are known."""
    seen = pixels.valid & inside
    total = max(int(seen.sum()), 1)
    cloud = int((classes[seen] == CLOUD).sum())
    shadow = int((classes[seen] == SHADOW).sum()) / max(total - cloud, 1)
    return SkyFigures(1 - int(seen.sum()) / max(int(inside.sum()), 1), cloud / total, shadow, haze)


def _filled(band: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Gaps carry the usual value, so that the network sees no edge of black there."""
    return np.where(known, band, np.float32(np.median(band[known])))


def haze_of(pixels: Reflectances, classes: NDArray[np.uint8], spectral: Spectral) -> float | None:
    """As `SkyFigures.haze`; `classes`: what `cloud_classes` says of the window."""
    clear = pixels.valid & (classes == CLEAR)
    if not spectral.scaling_stated or clear.mean() < _LEAST_CLEAR:
        return None
    over = pixels.bands["blue"][clear] - 0.5 * pixels.bands["red"][clear]
    return max(0.0, float(np.percentile(over, 10)) - _CLEAR_AIR[spectral.level])


def reason_of(figures: SkyFigures, sun_low: bool) -> str:
    """One of `REASONS`; `sun_low`: the metadata say so."""
    failed = {
        "nodata": figures.nodata_share > LIMITS.nodata_share,
        "sun_low": sun_low,
        NO_MODEL: figures.cloud_share is None,
        "cloud": (figures.cloud_share or 0.0) > LIMITS.cloud_share,
        "shadow": (figures.shadow_share or 0.0) > LIMITS.shadow_share,
        "haze": (figures.haze or 0.0) > HAZE_LIMIT,
        TOO_COARSE: True,
    }
    return next(reason for reason in REASONS if failed[reason])


def _grid(target: SiteTarget) -> GridSpec:
    """The network's window with the site in its middle; larger where the site is."""
    west, south, east, north = target.polygon.bounds
    half = max((WINDOW_PX / 2 - 1) * GSD_M, (east - west) / 2 + 10 * GSD_M, (north - south) / 2 + 10 * GSD_M)
    middle = ((west + east) / 2, (south + north) / 2)
    around = box(middle[0] - half, middle[1] - half, middle[0] + half, middle[1] + half)
    return grid_over(around, target.site.utm_epsg, GSD_M)


def is_coarse(scene: SceneFile) -> bool:
    """Whether no detector can read it."""
    return scene.facts.gsd_m >= COARSE_M


def judges(scenes: Sequence[SceneFile]) -> list[tuple[CoarseJudge, list[SceneFile]]]:
    """Coarse scenes by the network that their bands ask for."""
    groups: dict[CloudModel | None, list[SceneFile]] = {}
    for scene in scenes:
        told = scene.facts.spectral
        model = None if told is None else model_for(list(told.bands), told.level)
        groups.setdefault(model, []).append(scene)
    return [(CoarseJudge(model), own) for model, own in groups.items()]


def scan_coarse(
    scenes: Sequence[SceneFile], targets: Sequence[SiteTarget], judge: CoarseJudge, store: ScanStore, force: bool = False
) -> ScanSummary:
    """Leaves a verdict for every site in every scene; what has one is skipped unless `force`."""
    started = time.monotonic()
    finished = set() if force else store.finished(scenes)
    windows = list(windows_of(scenes, targets))
    left = [window for window in windows if _key(*window, judge) not in finished]
    skipped = len(windows) - len(left)
    summary = ScanSummary(windows=skipped, skipped=skipped)
    results: list[ScanResult] = []
    for scene, target in progress(left, "coarse windows", len(left), "window"):
        result, cost = _verdict(scene, target, judge)
        rejected = {result.reason: 1} if result.status == "rejected" else {}
        summary += ScanSummary(windows=1, rejected=rejected, failed=int(not rejected), cost=cost)
        results.append(result)
        if len(results) >= _PER_COMMIT:
            store.save(results, ())
            results = []
    store.save(results, ())
    if NO_MODEL in summary.rejected:
        log.warning("Clouds of %d windows were not judged: install the extra [sentinel2].", summary.rejected[NO_MODEL])
    return summary + ScanSummary(seconds=time.monotonic() - started)


def _key(scene: SceneFile, target: SiteTarget, judge: CoarseJudge) -> WorkKey:
    return (scene.record.scene_id, target.site.site_id, SKY, judge.model_sha256)


def _verdict(scene: SceneFile, target: SiteTarget, judge: CoarseJudge) -> tuple[ScanResult, ReadCost]:
    key = _key(scene, target, judge)
    try:
        reason, figures, cost = judge.judge(scene, target)
    except WindowDamagedError as error:  # the same bytes will not become better: not tried again
        log.warning("%s", error)
        return ScanResult(*key, "rejected", "damaged", {"detail": str(error)}), ReadCost()
    except WindowUnreadableError as error:  # perhaps next time
        log.warning("%s", error)
        return ScanResult(*key, "failed", said(error), {}), ReadCost()
    except InvalidInputError as error:
        log.warning("%s: %s", scene.facts.path.name, error)
        return ScanResult(*key, "rejected", NO_REFLECTANCE, {"detail": str(error)}), ReadCost()
    except Exception as error:  # one window must not stop the others; the row says what happened
        log.warning("%s", said(error))
        return ScanResult(*key, "failed", said(error), {}), ReadCost()
    return ScanResult(*key, "rejected", reason, figures), cost
