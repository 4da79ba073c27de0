"""How well known motions between dates are recovered, and whether what cannot be aligned is refused.

Pictures are GeoTIFFs of one place at several dates. For every ordered pair the second picture is moved by a known shift,
turn and stretch and aligned with the first. Files of one place do not lie exactly on each other as delivered (several metres
for aerial surveys); what the unmoved pair is found to be off by is taken out and reported by itself. How true it is
shows in the closure: A to B to C and back to A must lead to where it began.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from imagery.gdal_env import DRIVER, gdal_environment
from imagery.grid import GridSpec, PixelSize, apply_affine, compose
from imagery.register import Alignment, align

CROP_PX = 512
_SHIFT_PX, _TURN_DEG, _STRETCH = 20.0, 4.0, 0.015
_REACH_PX = 40.0
_LATTICE = 5
"""The error of a pair is the largest over this many points a side, from corner to corner."""
_SUBFOLDER = Path("time_series/naip")
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class _Series:
    """Luminance of each date on one grid (0: nothing), and of the same dates at another place."""

    grid: GridSpec
    here: tuple[Grey, ...]
    elsewhere: tuple[Grey, ...]


def evaluate_registration(folder: Path, seed: int = 0) -> dict[str, object]:
    """Figures over all pairs of dates; errors in pixels, the largest over the picture.

    Args:
        folder: GeoTIFFs of one place, or a folder with `time_series/naip` in it.
        seed: of the motions.

    Raises:
        InvalidInputError: fewer than two pictures, or they do not cover a common square of `CROP_PX`.
    """
    files = sorted(folder.glob("*.tif")) or sorted((folder / _SUBFOLDER).glob("*.tif"))
    if len(files) < 2:
        raise InvalidInputError(f"{folder} holds {len(files)} .tif; two or more dates of one place are needed.")
    rng = np.random.default_rng(seed)
    motions = {pair: _motion(rng) for pair in permutations(range(len(files)), 2)}
    still = Affine.identity()
    series = _series(files)
    base = {
        (i, j): _pixels(_aligned(series, series.here[i], series.here[j]), series.grid)
        for i, j in progress(list(motions), "unmoved", len(motions), "pair")
    }
    errors, own, kept, refused = [], [], [], []
    for (i, j), motion in progress(list(motions.items()), "moved", len(motions), "pair"):
        found = _aligned(series, series.here[i], _warped(files[j], series.grid, motion))
        wanted = compose(motion, base[i, j])
        own.append(_apart(base[i, j], still))
        if found.aligned:
            errors.append(_apart(_pixels(found, series.grid), wanted))
            kept.append(found)
        else:
            refused.append(f"{files[i].stem} {files[j].stem}")
    impostors = list(_impostors(series, rng))
    told = [(kind, _aligned(series, *pair)) for kind, *pair in progress(impostors, "impostors", len(impostors), "pair")]
    closure = [
        _apart(compose(base[k, i], base[j, k], base[i, j]), still) for i, j, k in combinations(range(len(files)), 3)
    ]
    return {
        "pairs": len(motions), "max_error_px": _rounded(errors, 100), "median_error_px": _rounded(errors, 50),
        "p90_error_px": _rounded(errors, 90),
        "refused": len(refused), "refused_pairs": refused, "impostors": len(impostors),
        "impostors_accepted": sum(found.aligned for _, found in told),
        "least_matched_share": min((found.matched_share for found in kept), default=None),
        "impostors_most_matched_share": max(found.matched_share for _, found in told),
        "least_agreement": min((found.agreement for found in kept), default=None),
        "impostors_most_agreement": max(found.agreement for _, found in told), "as_delivered_median_px": _rounded(own, 50),
        "as_delivered_max_px": _rounded(own, 100), "closure_median_px": _rounded(closure, 50),
        "closure_max_px": _rounded(closure, 100), "gsd_m": series.grid.gsd_m, "motion": _limits(),
    }


def _limits() -> Mapping[str, float]:
    return {"shift_px": _SHIFT_PX, "turn_deg": _TURN_DEG, "stretch": _STRETCH}


def _rounded(values: Sequence[float], percent: float) -> float | None:
    return round(float(np.percentile(values, percent)), 3) if values else None


def _motion(rng: np.random.Generator) -> Affine:
    """Pixels (corner origin) of the reference -> pixels of the moved picture."""
    turn, scale = rng.uniform(-_TURN_DEG, _TURN_DEG), 1 + rng.uniform(-_STRETCH, _STRETCH)
    columns, rows = rng.uniform(-_SHIFT_PX, _SHIFT_PX, 2)
    pivot = Affine.translation(CROP_PX / 2, CROP_PX / 2)
    shift = Affine.translation(columns, rows)
    return compose(shift, pivot, Affine.rotation(float(turn)), Affine.scale(float(scale)), ~pivot)


def _series(files: Sequence[Path]) -> _Series:
    with gdal_environment(), rasterio.open(files[0], driver=DRIVER) as dataset:
        gsd = dataset.transform.a
        west = dataset.transform.c + (dataset.width - CROP_PX) // 2 * gsd
        north = dataset.transform.f - (dataset.height - CROP_PX) // 2 * gsd
        epsg, spare = dataset.crs.to_epsg(), min(dataset.width, dataset.height) - CROP_PX
    if spare < 0:
        raise InvalidInputError(f"{files[0].name} is smaller than {CROP_PX} px a side; give larger pictures.")
    grid = GridSpec(epsg, Affine(gsd, 0, west, 0, -gsd, north), PixelSize(CROP_PX, CROP_PX))
    still = Affine.identity()
    far = Affine.translation(-CROP_PX * 0.4, CROP_PX * 0.2)
    return _Series(grid, tuple(_warped(f, grid, still) for f in files), tuple(_warped(f, grid, far) for f in files))


def _warped(file: Path, grid: GridSpec, motion: Affine) -> Grey:
    """Luminance of a file on the grid, its content moved by `motion` (grid pixels); 0 outside the file."""
    with gdal_environment(), rasterio.open(file, driver=DRIVER) as dataset:
        rgb = dataset.read([1, 2, 3]).transpose(1, 2, 0)
        to_file = compose(~dataset.transform, grid.affine, ~motion)
    luminance = np.maximum(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), 1)
    centres = Affine.translation(-0.5, -0.5)
    matrix = np.array(tuple(compose(centres, to_file, ~centres))[:6]).reshape(2, 3)
    size = (grid.size.width, grid.size.height)
    return np.asarray(cv2.warpAffine(luminance, matrix, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP), np.uint8)


def _aligned(series: _Series, reference: Grey, picture: Grey) -> Alignment:
    return align(picture, reference, series.grid, reach_m=_REACH_PX * series.grid.gsd_m)


def _pixels(found: Alignment, grid: GridSpec) -> Affine:
    return compose(~grid.affine, found.shift.affine, grid.affine)


def _apart(one: Affine, other: Affine) -> float:
    steps = np.linspace(0.0, CROP_PX, _LATTICE)
    points = np.stack([axis.ravel() for axis in np.meshgrid(steps, steps)], axis=1)
    return float(np.hypot(*(apply_affine(one, points) - apply_affine(other, points)).T).max())


def _impostors(series: _Series, rng: np.random.Generator) -> Iterator[tuple[str, Grey, Grey]]:
    """(kind, reference, picture) of what must be refused."""
    count = len(series.here)
    for i, j in combinations(range(count), 2):
        yield "another place", series.here[i], series.elsewhere[j]
    shape = series.here[0].shape
    for i in range(count):
        noise = rng.normal(0, 1, shape)
        grain = np.clip(120 + 40 * noise, 1, 255).astype(np.uint8)
        soft = cv2.GaussianBlur(noise, (0, 0), 12.0)
        cloud = np.clip(215 + 25 * soft / soft.std() + 2 * noise, 1, 255).astype(np.uint8)
        yield "noise", series.here[i], grain
        yield "cloud", series.here[i], cloud
        yield "upside down", series.here[i], np.ascontiguousarray(series.here[i][::-1])
