"""`collateral evaluate clouds`: verdicts on windows whose fault is known, rendered and real.

Rendered sites of seeds used nowhere else, each judged against a reference of another date. Real pictures (COLLATERAL_DATA:
vehicles, land_use, roofs, panels) are all fit to be read: as they are they measure false alarms. No real picture of a metre
or finer with a cloud and its outline is at hand, so faults are put on: clouds of the renderer, their
shadow, a veil, a blur, an exposure. The ground is real, white roofs, sand and concrete included; the cloud is not.
Sentinel-2 (time_series/sentinel2) has cloud masks and NDVI, no colours: what can be measured is how well a fall of NDVI
against the months around tells cloud. Scenes of satellite bands are painted (`data_samples.evaluate_sky`).
"""

from __future__ import annotations

import argparse
import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from collateral.command import Command, Outcome
from collateral.errors import UsageError
from collateral.progress import progress
from collateral.settings import Settings
from data_samples.evaluate_sky import evaluate_sky
from data_samples.layout import make_layout
from data_samples.render import render_image
from data_samples.render_light import add_cloud, cloud_alpha
from data_samples.scene_model import SceneState, SiteKind, SiteLayout, SunPosition
from imagery.grid import GridSpec, PixelSize
from imagery.quality import OVERVIEW_GSD_M, REASONS, Overview, assess, cloud_shadows, clouds
from imagery.target import mask_inside

KINDS = ("cloud", "shadow", "haze", "blur", "saturation", "dark")
_SITES: tuple[SiteKind, ...] = ("factory", "warehouse", "solar")
_WHEN = (datetime(2026, 4, 10, 2, 30, tzinfo=UTC), datetime(2026, 9, 20, 2, 30, tzinfo=UTC))
_SUN = SunPosition(48.0, 140.0)
_GSD_M = {"land_use": 0.3, "roofs": 0.25, "panels": 0.26}
_PER_SOURCE = 120
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """A window and what is wrong with it."""

    source: str
    kind: str
    """Empty: nothing."""
    overview: Overview
    reference: Picture | None


def evaluate_clouds(data: Path | None, seeds: Sequence[int]) -> dict[str, object]:
    """Precision and recall of every kind of fault, over all and by source; false alarms on sound windows by source.

    Args:
        data: folder of labelled data; None for rendered pictures only.
        seeds: of the rendered sites.
    """
    cases = list(_rendered(seeds)) + (list(_real(data)) if data is not None else [])
    told = [(case, _verdict(case)) for case in progress(cases, "windows", len(cases), "window")]
    sources = sorted({case.source for case in cases})
    figures: dict[str, object] = {
        "n": len(cases), "precision": {}, "recall": {}, "kinds": _by_kind(told),
        "false_alarms": {source: _false_alarms([pair for pair in told if pair[0].source == source]) for source in sources},
        "by_source": {source: _by_kind([pair for pair in told if pair[0].source == source]) for source in sources},
    }
    for name in ("precision", "recall"):
        figures[name] = {kind: row[name] for kind, row in _by_kind(told).items()}
    if data is not None and (data / "time_series/sentinel2/CLM.npy").is_file():
        figures["sentinel2_ndvi"] = ndvi_clouds(data / "time_series/sentinel2")
    return figures


def _verdict(case: Case) -> str:
    covered = clouds(case.overview, case.reference)
    shaded = None if case.reference is None else cloud_shadows(case.overview, case.reference, covered)
    return assess(case.overview, covered, reference=case.reference, shaded=shaded).reason


def _by_kind(told: Sequence[tuple[Case, str]]) -> dict[str, Mapping[str, float | int | None]]:
    rows: dict[str, Mapping[str, float | int | None]] = {}
    for kind in KINDS:
        true = [reason for case, reason in told if case.kind == kind]
        if not true:
            continue
        right, named = true.count(kind), sum(reason == kind for _, reason in told)
        rows[kind] = {
            "n": len(true), "precision": round(right / named, 4) if named else None,
            "recall": round(right / len(true), 4), "refused": round(sum(map(bool, true)) / len(true), 4),
        }
    return rows


def _false_alarms(told: Sequence[tuple[Case, str]]) -> dict[str, object]:
    sound = [reason for case, reason in told if not case.kind]
    counts = Counter(reason for reason in sound if reason)
    assert set(counts) <= set(REASONS)
    return {"n": len(sound), "rate": round(sum(counts.values()) / max(len(sound), 1), 4), "reasons": dict(counts)}


def _rendered(seeds: Sequence[int]) -> Iterator[Case]:
    """Per site: sound windows in clear and in thick air, and one or two of each fault, with and without a reference."""
    for seed in seeds:
        for kind in _SITES:
            layout = make_layout(f"Q{seed}", kind, 118.8, 32.0, seed)
            rng = np.random.default_rng([seed, *kind.encode()])
            air = float(rng.uniform(0.03, 0.2))
            base = SceneState(_WHEN[1], gsd_m=OVERVIEW_GSD_M, cars=10, heavy=3, seed=seed, haze=air)
            reference = _overview(layout, replace(base, acquired_at=_WHEN[0], seed=seed + 1, haze=0.08)).luminance
            sound = _overview(layout, base)
            cover = float(rng.uniform(0.45, 0.9))
            windows = [
                ("", sound), ("", _overview(layout, replace(base, haze=0.35))),
                ("cloud", _overview(layout, replace(base, cloud_cover=cover))),
                ("haze", _overview(layout, replace(base, haze=float(rng.uniform(0.95, 1.0))))),
            ]
            windows += [(fault, spoiled(sound, fault, rng)) for fault in ("shadow", "blur", "saturation", "dark")]
            for fault, window in windows:
                yield Case(f"rendered {kind}", fault, window, reference)
                if fault != "shadow":  # not to be told without a reference
                    yield Case(f"rendered {kind}, no reference", fault, window, None)


def _overview(layout: SiteLayout, state: SceneState) -> Overview:
    rendered = render_image([layout], [state], "q")
    height, width = rendered.image.shape[:2]
    grid = GridSpec(layout.utm_epsg, Affine(*rendered.truth.transform), PixelSize(width, height))
    inside = mask_inside(layout.boundary, grid)
    return Overview(grid, _warped(rendered.image), np.ones(inside.shape, np.bool_), inside)


def _warped(rgb: Picture) -> Picture:
    """As the scan's warp reads at its worst, half a pixel from the centres: softer."""
    matrix = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]])
    size = (rgb.shape[1], rgb.shape[0])
    moved = cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


def spoiled(overview: Overview, fault: str, rng: np.random.Generator) -> Overview:
    """A sound window with one fault put on."""
    rgb = overview.rgb.astype(np.float32)
    gsd = overview.grid.gsd_m
    if fault in ("cloud", "shadow"):
        alpha = cloud_alpha(rgb.shape[:2], float(rng.uniform(0.45, 0.9)), gsd, rng)
        rgb = add_cloud(rgb, alpha, gsd, _SUN) if fault == "cloud" else rgb * (1 - 0.5 * alpha[..., None])
    elif fault == "haze":
        kept = float(rng.uniform(0.08, 0.15))
        rgb = rgb * kept + np.array([176, 184, 194], np.float32) * (1 - kept)
    elif fault == "blur":
        rgb = np.asarray(cv2.GaussianBlur(rgb, (0, 0), float(rng.uniform(2.0, 3.5))), np.float32)
    elif fault == "saturation":
        rgb = rgb * float(rng.uniform(2.6, 3.5))
    elif fault == "dark":
        rgb = rgb * float(rng.uniform(0.05, 0.12))
    grain = rng.normal(0, 1.2, rgb.shape[:2])[..., None]
    return replace(overview, rgb=np.clip(rgb + grain + 0.5, 0, 255).astype(np.uint8))


def _real(data: Path) -> Iterator[Case]:
    """Every picture as it is, and every fifth with each fault that can be told without a reference."""
    for number, (source, file, gsd_m) in enumerate(_pictures(data)):
        overview = _window(file, gsd_m)
        if overview is None:
            continue
        yield Case(source, "", overview, None)
        if number % 5 == 0:
            rng = np.random.default_rng(number)
            # The picture itself, in other light, is its reference where one is needed.
            reference = np.clip(overview.luminance * 0.92 + 9, 1, 255).astype(np.uint8)
            for fault in KINDS:
                yield Case(f"{source}, fault put on", fault, spoiled(overview, fault, rng), reference)


def _pictures(data: Path) -> Iterator[tuple[str, Path, float]]:
    index = data / "vehicles" / "index.csv"
    if index.is_file():
        with index.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for source in sorted({row["source"] for row in rows}):
            own = [row for row in rows if row["source"] == source]
            for row in own[:: max(1, len(own) // _PER_SOURCE)]:
                found = sorted((data / "vehicles" / "images").glob(f"{row['name']}.*"))
                yield from ((f"vehicles {source}", path, float(row["gsd_m"])) for path in found[:1])
    for source, gsd_m in _GSD_M.items():
        files = sorted(path for path in (data / source).rglob("*") if path.suffix in (".webp", ".jpg", ".png", ".tif"))
        files = [path for path in files if "masks" not in path.parts]
        for path in files[:: max(1, len(files) // (3 * _PER_SOURCE))]:
            yield source, path, gsd_m


def _window(file: Path, gsd_m: float) -> Overview | None:
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    factor = gsd_m / OVERVIEW_GSD_M
    width, height = (max(16, round(edge * factor)) for edge in (picture.shape[1], picture.shape[0]))
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), (width, height), interpolation=cv2.INTER_AREA)
    grid = GridSpec(32651, Affine(OVERVIEW_GSD_M, 0, 350_000, 0, -OVERVIEW_GSD_M, 3_450_000), PixelSize(width, height))
    everywhere = np.ones((height, width), np.bool_)
    return Overview(grid, _warped(np.asarray(small, np.uint8)), everywhere, everywhere)


def ndvi_clouds(folder: Path) -> dict[str, object]:
    """How well a low NDVI, against the pixel's own third quartile within 60 days, tells the cloud mask of the series.

    Args:
        folder: CLM.npy (1: cloud), NDVI.npy (dates x rows x columns x 1), timestamps.json.
    """
    mask, ndvi = (np.load(folder / f"{name}.npy")[..., 0] for name in ("CLM", "NDVI"))
    times = [datetime.fromisoformat(text) for text in _timestamps(folder)]
    days = np.array([time.timestamp() / 86_400 for time in times])
    found = np.zeros(mask.shape, np.bool_)
    for number, day in enumerate(days):
        near = (np.abs(days - day) <= 60) & (np.arange(len(days)) != number)
        if near.sum() >= 3:
            usual = np.percentile(ndvi[near], 75, axis=0)
            found[number] = ndvi[number] < 0.6 * usual - 0.02
    cloudy = mask.astype(np.bool_)
    right = int((found & cloudy).sum())
    return {
        "pixels": int(mask.size), "cloudy": int(cloudy.sum()), "precision": round(right / max(int(found.sum()), 1), 4),
        "recall": round(right / max(int(cloudy.sum()), 1), 4),
        "note": "truth is the mask delivered with the series (itself a model's); no colours, so no network can be run",
    }


def _timestamps(folder: Path) -> list[str]:
    return list(json.loads((folder / "timestamps.json").read_text()))


def seeds_of(said: str) -> range:
    """Both ends of FIRST-LAST and what lies between, or one number. Raises `UsageError` for anything else."""
    told = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", said)
    if told is None or int(told[2] or told[1]) < int(told[1]):
        raise UsageError(f"--seeds {said!r} is no row of seeds; give FIRST-LAST like 960-967, or one number.")
    return range(int(told[1]), int(told[2] or told[1]) + 1)


def _run(args: argparse.Namespace, settings: Settings) -> Outcome:
    seeds = seeds_of(args.seeds)
    if args.data and not Path(args.data).is_dir():
        raise UsageError(f"{args.data} is not a folder; name that of the labelled data, or leave --data away.")
    figures: dict[str, object] = {}
    if args.only != "satellite":
        figures = evaluate_clouds(Path(args.data) if args.data else settings.data, seeds)
    if args.only != "pictures":
        figures["satellite"] = evaluate_sky(seeds)
    return Outcome(figures)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", help="labelled data; default: COLLATERAL_DATA, without it rendered pictures only")
    parser.add_argument("--seeds", default="960-967", help="of the rendered sites, first-last; default 960-967")
    parser.add_argument("--only", choices=("pictures", "satellite"), help="pictures of a metre, or satellite bands")


COMMANDS = {
    "evaluate clouds": Command(
        "Verdicts on pictures (cloud, shadow, haze, blur, light) and on satellite bands against windows with known faults.",
        "collateral evaluate clouds --data DATA --json",
        _run,
        _configure,
    ),
}
