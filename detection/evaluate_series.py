"""Stock cover and changes on rendered scenes of a site in time, registered as the scan registers them.

The yards' polygons are those of the map, not of the file: scenes are read through the same quality verdict, reference and
alignment as in a scan, so that haze, cloud and misregistration count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely import intersection_all
from shapely.affinity import translate
from shapely.geometry import box, shape
from shapely.geometry.base import BaseGeometry

from collateral.domain import Site, SiteKind
from detection.change import View, find_changes
from detection.change_truth import ChangeTally, Outline, true_changes
from detection.change_views import make_view
from detection.infer import PanelSegmenter, VehicleDetector
from detection.stock import Cover, StockSegmenter, cover_of
from imagery.quality import assess, clouds
from imagery.raster import RasterFacts
from imagery.reader import Pixels, moved_mask, read_pixels
from imagery.reference import build_reference, overview_of
from imagery.register import align
from imagery.scenes import SceneFile, open_scene
from imagery.target import MARGIN_M, SiteTarget, mask_inside, site_targets, to_lonlat

_CLEAR = 0.05
"""Dates with more cloud than this are not compared: a shadow of a cloud is not told from change."""


@dataclass(frozen=True)
class SceneTruth:
    """A scene file and its truth document."""

    path: Path
    facts: RasterFacts
    truth: Mapping[str, Any]


@dataclass
class SeriesTally:
    """Figures of stock cover and change while they grow."""

    cover_errors: list[float] = field(default_factory=list)
    inside_interval: int = 0
    unseen: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    refused: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    changes: ChangeTally = field(default_factory=ChangeTally)
    pairs: int = 0
    still_pairs: int = 0
    """Pairs of dates between which truly nothing but vehicles changed."""
    still_false: int = 0
    """Changes found on them that are not vehicles."""

    def figures(self) -> dict[str, object]:
        """Of `collateral evaluate scenes`."""
        errors = np.array(self.cover_errors)
        return {
            "stock_cover_error": float(errors.mean()) * 100 if len(errors) else None,
            "stock_cover_error95": float(np.quantile(errors, 0.95)) * 100 if len(errors) else None,
            "stock_cover_in_interval": self.inside_interval / len(errors) if len(errors) else None,
            "stock_yards": len(errors),
            "stock_not_seen": dict(self.unseen),
            "change": self.changes.figures() if self.pairs else {},
            "change_pairs": self.pairs,
            "change_false_per_still_pair": self.still_false / self.still_pairs if self.still_pairs else None,
            "change_still_pairs": self.still_pairs,
            "scenes_refused": dict(self.refused),
        }


def judge_series(
    scenes: Sequence[SceneTruth],
    segmenter: StockSegmenter,
    vehicles: VehicleDetector,
    panels: PanelSegmenter | None,
    tally: SeriesTally,
) -> None:
    """All dates of one site, any order: stock cover on each, changes between neighbours in time."""
    ordered = sorted(scenes, key=lambda item: str(item.truth["acquired_at"]))
    target = _target(ordered)
    files = [open_scene(item.path) for item in ordered]
    reference = build_reference(target, files)
    views: list[tuple[Mapping[str, Any], View]] = []
    for item, file in zip(ordered, files, strict=True):
        read = _read(target, file, None if reference is None else reference.luminance, vehicles.gsd_m)
        if isinstance(read, str):
            tally.refused[read] += 1
            continue
        pixels, cloud = read
        view = make_view(pixels, segmenter, vehicles, panels if item.truth["panels"] else None, item.facts.gsd_m)
        _judge_yards(item.truth, view, segmenter, tally)
        if cloud <= _CLEAR:
            views.append((item.truth, view))
    for (before, earlier), (after, later) in pairwise(views):
        truth = true_changes(before, after)
        if truth is None:
            continue
        changes = find_changes(earlier, later)
        found = [Outline(c.kind, c.geometry) for c in changes]
        found += [Outline(c.kind, c.moved_from) for c in changes if c.moved_from is not None]
        tally.changes.add(truth, found)
        tally.pairs += 1
        if all(item.kind == "vehicles" for item in truth.changed):
            tally.still_pairs += 1
            tally.still_false += sum(c.kind != "vehicles" for c in changes)


def _read(
    target: SiteTarget, file: SceneFile, reference: NDArray[np.uint8] | None, gsd_m: float
) -> tuple[Pixels, float] | str:
    """The registered window and its share of cloud, or why there is none."""
    overview, _ = overview_of(file, target)
    covered = clouds(overview, reference)
    verdict = assess(overview, covered)
    if not verdict.accepted:
        return verdict.reason
    if reference is None:
        return "no_reference"
    alignment = align(overview.luminance, reference, overview.grid, ~covered)
    if not alignment.aligned:
        return "not_aligned"
    pixels = read_pixels(file.facts, target.grid(gsd_m), alignment.shift)
    if covered.any():
        hidden = moved_mask(covered, overview.grid, pixels.grid, alignment.shift)
        pixels = replace(pixels, valid=pixels.valid & ~hidden)
    return pixels, verdict.figures.cloud_share


def _judge_yards(truth: Mapping[str, Any], view: View, segmenter: StockSegmenter, tally: SeriesTally) -> None:
    for yard in truth["stock_cover"].values():
        inside = mask_inside(_on_map(yard["polygon"], truth), view.grid)
        cover: Cover = cover_of(inside, view.valid, view.goods, view.roof, segmenter.error95, segmenter.threshold)
        if cover.value is None:
            tally.unseen[cover.reason] += 1
            continue
        tally.cover_errors.append(abs(cover.value - yard["cover"]))
        tally.inside_interval += int(cover.lower <= yard["cover"] <= cover.upper)


def _target(scenes: Sequence[SceneTruth]) -> SiteTarget:
    """The ground that all dates show, as a site of its own."""
    extents: list[BaseGeometry] = []
    for item in scenes:
        matrix, size = item.facts.affine, item.facts.size
        east, south = matrix.c + matrix.a * size.width, matrix.f + matrix.e * size.height
        extents.append(translate(box(matrix.c, south, east, matrix.f), *_back(item.truth)))
    ground = intersection_all(extents).buffer(-MARGIN_M - 2.0, join_style="mitre")
    epsg = scenes[0].facts.epsg
    site = Site(
        str(scenes[0].truth["site_ids"][0]), "", "", "", SiteKind.FACTORY, "UTC", epsg, to_lonlat(ground, epsg),
        False, None, None, None,
    )
    return replace(site_targets([site], [])[0], polygon=ground)


def _back(truth: Mapping[str, Any]) -> tuple[float, float]:
    return -truth["shift_m"]["east"], -truth["shift_m"]["north"]


def _on_map(geometry: Mapping[str, Any], truth: Mapping[str, Any]) -> BaseGeometry:
    return translate(shape(dict(geometry)), *_back(truth))
