"""Verdicts of the scan on scenes of satellite bands, measured on painted ones. A part of `collateral evaluate clouds`.

Synthetic: no Sentinel-2 colours with an outlined cloud are at hand. `data_samples.spectral_scene` paints them by reflectance
and optical depth; the network (ukis-csmask) has never seen such scenes. Pixels between clear and covered are not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from collateral.progress import progress
from data_samples.spectral_scene import BANDS, Weather, paint_scene
from data_samples.spectral_scene import GSD_M as PAINTED_M
from imagery.coarse import TOO_COARSE, classes_of, haze_of, reason_of, shares_of
from imagery.grid import GridSpec, PixelSize
from imagery.reader import ReadCost, Reflectances
from imagery.sentinel2 import CLEAR, CLOUD, GSD_M, SHADOW, WINDOW_PX, model_for
from imagery.spectral import HELPFUL, NEEDED, Spectral

WEATHER: Mapping[str, Weather] = {
    "clear": Weather(),
    "cumulus": Weather(cover=0.35),
    "cumulus, low sun": Weather(cover=0.25, sun_elevation_deg=28, height_m=900),
    "cumulus, top of atmosphere": Weather(cover=0.35, level="l1c"),
    "thin": Weather(cover=0.5, depth=3, size_m=2500),
    "stratus": Weather(cover=1.0, depth=12, size_m=3000),
    "haze": Weather(haze=2.0),
    "haze, top of atmosphere": Weather(haze=2.0, level="l1c"),
}
VARIANTS = ("as delivered", "four bands", "offset not told")
"""How the same scene reaches the network: with all bands; without short-wave infrared; 0.1 too bright in every band."""
_DEPTHS = (0.5, 1.0, 3.0, 8.0, np.inf)
_FACTOR = round(GSD_M / PAINTED_M)
_SITE_PX = 14
_STEP_PX = 36
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Seen:
    """One scene as the network saw it, at `GSD_M`."""

    weather: str
    classes: NDArray[np.uint8]
    depth: Floats
    shade: Floats
    reasons: tuple[tuple[str, str], ...]
    """Of its sites: what is true (empty: undecided) and what was said."""


def evaluate_sky(seeds: Sequence[int]) -> dict[str, object]:
    """Figures by pixel, by optical depth, by window and by weather; what to install where the extra is missing."""
    model = model_for(BANDS, "l2a")
    note = "synthetic: painted reflectances and optical depths, no photographs"
    if model is None:
        return {"note": note, "not_measured": "install collateral-watch with the extra [sentinel2]"}
    told: dict[str, object] = {"note": note, "method": model.name, "gsd_m": GSD_M}
    for variant in VARIANTS:
        kinds = list(WEATHER) if variant == VARIANTS[0] else ["clear", "cumulus"]
        jobs = [(seed, kind) for seed in seeds for kind in kinds]
        seen = [_look(kind, seed, variant) for seed, kind in progress(jobs, variant, len(jobs), "scene")]
        told[variant] = {
            "scenes": len(seen), "pixels": pixel_figures(seen), "cloud_recall_by_depth": depth_figures(seen),
            "windows": window_figures(seen),
        }  # fmt: skip
        if variant == VARIANTS[0]:
            told["by_weather"] = {kind: pixel_figures([one for one in seen if one.weather == kind]) for kind in kinds}
    return told


def _look(kind: str, seed: int, variant: str) -> Seen:
    weather = WEATHER[kind]
    scene = paint_scene(WINDOW_PX * _FACTOR, weather, seed)
    names = NEEDED if variant == "four bands" else (*NEEDED, *HELPFUL)
    known = variant != "offset not told"
    grid = GridSpec(32651, Affine(GSD_M, 0, 350_000, 0, -GSD_M, 3_450_000), PixelSize(WINDOW_PX, WINDOW_PX))
    bands = {name: _small(scene.bands[name]) + np.float32(0 if known else 0.1) for name in names}
    pixels = Reflectances(grid, bands, np.ones((WINDOW_PX, WINDOW_PX), np.bool_), ReadCost())
    spectral = Spectral(dict.fromkeys(names, 1), 1e-4, 0.0, known, weather.level, True)
    classes = classes_of(pixels, spectral)
    assert classes is not None
    depth, shade = _small(scene.depth), _small(scene.shade)
    return Seen(kind, classes, depth, shade, tuple(_sites(kind, pixels, classes, spectral, depth, shade)))


def _small(layer: Floats) -> Floats:
    return np.asarray(cv2.resize(layer, (WINDOW_PX, WINDOW_PX), interpolation=cv2.INTER_AREA), np.float32)


def _sites(
    kind: str, pixels: Reflectances, classes: NDArray[np.uint8], spectral: Spectral, depth: Floats, shade: Floats
) -> Iterator[tuple[str, str]]:
    """Sites of 420 m all over the scene. Undecided: between a twentieth and the limit of a quarter hidden."""
    haze = haze_of(pixels, classes, spectral)
    for row in range(_STEP_PX, WINDOW_PX - _STEP_PX, _STEP_PX):
        for column in range(_STEP_PX, WINDOW_PX - _STEP_PX, _STEP_PX):
            site = slice(row, row + _SITE_PX), slice(column, column + _SITE_PX)
            inside = np.zeros(classes.shape, np.bool_)
            inside[site] = True
            said = reason_of(shares_of(pixels, inside, classes, haze), False)
            cloud = float((depth[site] > 1).mean())
            shadow = float((shade[site] > 0.5)[depth[site] <= 1].mean()) if cloud < 1 else 0.0
            hidden = float(((depth[site] > 0.3) | (shade[site] > 0.2)).mean())
            true = "cloud" if cloud > 0.35 else "shadow" if cloud < 0.05 and shadow > 0.35 else ""
            yield true or ("haze" if kind.startswith("haze") else TOO_COARSE if hidden < 0.05 else ""), said


def pixel_figures(seen: Sequence[Seen]) -> dict[str, Mapping[str, float | int | None]]:
    """Precision and recall by class; between clear and covered nothing is counted."""
    rows: dict[str, Mapping[str, float | int | None]] = {}
    classes = np.concatenate([one.classes.ravel() for one in seen])
    depth, shade = (np.concatenate([getattr(one, name).ravel() for one in seen]) for name in ("depth", "shade"))
    truth = np.full(depth.shape, 255, np.uint8)
    truth[(depth < 0.3) & (shade < 0.2)] = CLEAR
    truth[(depth < 0.3) & (shade > 0.5)] = SHADOW
    truth[depth > 1] = CLOUD
    for name, number in (("clear", CLEAR), ("cloud", CLOUD), ("shadow", SHADOW)):
        true, said = truth == number, (classes == number) & (truth != 255)
        if true.any():
            right = int((true & said).sum())
            rows[name] = {
                "n": int(true.sum()), "precision": round(right / int(said.sum()), 4) if said.any() else None,
                "recall": round(right / int(true.sum()), 4),
            }  # fmt: skip
    return rows


def depth_figures(seen: Sequence[Seen]) -> dict[str, float]:
    """Share called cloud by optical depth."""
    depth = np.concatenate([one.depth.ravel() for one in seen])
    found = np.concatenate([one.classes.ravel() for one in seen]) == CLOUD
    rows = {}
    for low, high in pairwise(_DEPTHS):
        where = (depth > low) & (depth <= high)
        if where.any():
            rows[f"{low:g}-{high:g}"] = round(float(found[where].mean()), 4)
    return rows


def window_figures(seen: Sequence[Seen]) -> dict[str, object]:
    """Precision and recall of the reasons of sites, false alarms on clear ones; `refused`: for any of these reasons."""
    pairs = [pair for one in seen for pair in one.reasons if pair[0]]
    rows: dict[str, object] = {}
    for kind in ("cloud", "shadow", "haze"):
        true, said = (sum(pair[place] == kind for pair in pairs) for place in (0, 1))
        right = sum(pair == (kind, kind) for pair in pairs)
        if true:
            rows[kind] = {
                "n": true, "precision": round(right / said, 4) if said else None, "recall": round(right / true, 4),
                "refused": round(sum(a == kind and b != TOO_COARSE for a, b in pairs) / true, 4),
            }  # fmt: skip
    sound = [said for true, said in pairs if true == TOO_COARSE]
    wrong = Counter(said for said in sound if said != TOO_COARSE)
    return {**rows, "false_alarms": {"n": len(sound), "rate": round(sum(wrong.values()) / max(len(sound), 1), 4), **wrong}}
