"""`collateral modules`: the share of faulty modules of a solar plant from drone thermography."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import shapely
import torch
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from collateral.command import Command, Outcome, parse_time
from collateral.db import reference
from collateral.db.observations import write_observations
from collateral.db.pool import Pool, Role
from collateral.db.scenes import write_scene
from collateral.domain import Observation, Quality
from collateral.errors import InvalidInputError, UsageError
from collateral.settings import Settings
from detection.consumers import method_of
from detection.evidence import EvidenceFiles, write_evidence
from detection.infrared import InfraredMosaic, open_infrared
from detection.locate import Located
from detection.module_outlines import Outlines, read_outlines
from detection.module_site import FEW, UNKNOWN, PlantReading, faulty_share, read_plant
from detection.modules import ModuleClassifier
from detection.observe import observation
from imagery.grid import NO_SHIFT, grid_over
from imagery.reader import Pixels, ReadCost
from imagery.scan import SiteWindow
from imagery.scenes import SceneFile, scene_of
from imagery.target import SiteTarget, site_targets, to_utm

_MOST_UNKNOWN = 0.2
"""Share of modules that could not be judged from which on the share is doubtful."""
_PICTURE_PX = 2400
_MARGIN_M = 2.0


@dataclass(frozen=True)
class PlantScan:
    """What one flight over a plant gave."""

    reading: PlantReading
    outlines: Outlines
    polygons: tuple[BaseGeometry, ...]
    """Of the modules, in longitude and latitude."""
    observation: Observation | None
    """None where not one module could be judged."""
    files: EvidenceFiles
    written: int


def scan_modules(
    mosaic_path: Path,
    outlines_path: Path,
    site_id: str,
    settings: Settings,
    pool: Pool,
    weights: Path | None = None,
    taken_at: datetime | None = None,
) -> PlantScan:
    """Judges the modules of a site in an infrared orthomosaic and writes the share of faulty ones as an observation.

    Args:
        mosaic_path: GeoTIFF of one band, degrees or counts.
        outlines_path: GeoJSON, one polygon for each module.
        site_id: the solar plant.
        settings: evidence folder and folder of derived models.
        pool: database, application role.
        weights: other weights than the shipped `modules`.
        taken_at: where the file does not say it.

    Raises:
        RasterRejectedError: the orthomosaic cannot be read, or holds no temperatures.
        InvalidInputError: wrong outlines, or none of them on the site.
        UsageError: no such site.
    """
    target = _target(pool, site_id)
    classifier = ModuleClassifier.load(weights, settings.runtime / "models")
    with open_infrared(mosaic_path) as mosaic:
        outlines = read_outlines(outlines_path, mosaic.facts.crs)
        polygons = _lonlat(outlines, mosaic)
        _check_place(target, polygons, outlines_path)
        scene = _scene(mosaic, taken_at)
        reading = read_plant(mosaic, outlines, classifier)
        window = _window(mosaic, scene, target, polygons, reading)
    method = method_of(classifier.name, classifier.model_sha256)
    files = write_evidence(settings.evidence, window, method, _located(target, polygons, reading), window.pixels.grid.gsd_m)
    found = _observation(window, method, reading, classifier, files) if reading.judged else None
    with pool.connection() as connection:
        reference.write_model(connection, classifier.card.name, classifier.card.sha256, asdict(classifier.card))
        write_scene(connection, scene.record, scene.available_at)
        written = write_observations(connection, [found], "modules").written if found is not None else 0
    return PlantScan(reading, outlines, tuple(polygons), found, files, written)


def _target(pool: Pool, site_id: str) -> SiteTarget:
    with pool.connection() as connection:
        sites = reference.sites(connection)
    site = next((site for site in sites if site.site_id == site_id), None)
    if site is None:
        some = f"; there are {len(sites)}, for example {sites[0].site_id!r}" if sites else "; import a portfolio first"
        raise UsageError(f"There is no site {site_id!r}{some}.")
    return site_targets([site], [])[0]


def _lonlat(outlines: Outlines, mosaic: InfraredMosaic) -> list[BaseGeometry]:
    shapes = [module.polygon for module in outlines.modules]
    if outlines.lonlat:
        return shapes
    transformer = Transformer.from_crs(mosaic.facts.crs, "EPSG:4326", always_xy=True)

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    return [shapely.transform(shape, move) for shape in shapes]


def _check_place(target: SiteTarget, polygons: Sequence[BaseGeometry], path: Path) -> None:
    on_site = sum(bool(polygon.centroid.within(target.site.geometry)) for polygon in polygons)
    if on_site * 2 < len(polygons):
        raise InvalidInputError(
            f"{on_site} of {len(polygons)} modules of {path} lie on site {target.site.site_id!r}; name the site they belong "
            "to, or correct its polygon or the outlines' coordinates."
        )


def _scene(mosaic: InfraredMosaic, taken_at: datetime | None) -> SceneFile:
    facts = mosaic.facts
    if taken_at is not None:
        facts = type(facts)(**{**vars(facts), "tags": {**facts.tags, "ACQUIRED_AT": taken_at.isoformat()}})
    return scene_of(facts)


def _window(
    mosaic: InfraredMosaic, scene: SceneFile, target: SiteTarget, polygons: Sequence[BaseGeometry], reading: PlantReading
) -> SiteWindow:
    """The modules' surroundings as a picture: the coldest to the warmest twentieth of a thousand from black to white."""
    ground = to_utm(shapely.union_all([polygon.envelope for polygon in polygons]).envelope, target.site.utm_epsg)
    west, south, east, north = ground.bounds
    gsd = max(mosaic.facts.gsd_m, max(east - west, north - south) / _PICTURE_PX)
    grid = grid_over(ground, target.site.utm_epsg, gsd, _MARGIN_M)
    values, valid = mosaic.view(grid)
    low, high = np.percentile(values[valid], (0.5, 99.8)) if valid.any() else (0.0, 1.0)
    grey = np.where(valid, np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255, 0).astype(np.uint8)
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    unknown = 1 - len(reading.judged) / len(reading.modules)
    doubtful = unknown > _MOST_UNKNOWN or len(reading.judged) < FEW
    quality = Quality.DOUBTFUL if doubtful else Quality.GOOD
    figures = {"gain": reading.gain, "level": reading.level, "shift_m": NO_SHIFT.length_m}
    return SiteWindow(
        scene, target, Pixels(grid, rgb, valid, ReadCost()), unknown, quality, datetime.now(UTC), figures,
    )  # fmt: skip


def _located(target: SiteTarget, polygons: Sequence[BaseGeometry], reading: PlantReading) -> list[Located]:
    epsg = target.site.utm_epsg
    rows = []
    for polygon, module in zip(polygons, reading.modules, strict=True):
        label = UNKNOWN if module.label == UNKNOWN else "faulty" if module.faulty else "sound"
        rows.append(Located(to_utm(polygon, epsg), epsg, module.confidence, label, None, module.module_id, "module"))
    return rows


def _observation(
    window: SiteWindow, method: str, reading: PlantReading, classifier: ModuleClassifier, files: EvidenceFiles
) -> Observation:
    judged = len(reading.judged)
    evidence: dict[str, object] = {
        "scene_id": window.scene.record.scene_id, "gsd_m": round(window.scene.record.gsd_m, 4), **files.as_dict(),
        "faulty": reading.faulty, "denominator": judged, "modules": len(reading.modules), "unknown": reading.unknown,
        "share_found": round(reading.faulty / judged, 4), "by_class": reading.by_class,
        "grey_levels_per_unit": round(reading.gain, 4), "level": round(reading.level, 3),
    }  # fmt: skip
    return observation(window, "faulty_module_share", method, faulty_share(reading, classifier.card), evidence)


def geojson(scan: PlantScan) -> dict[str, object]:
    """The modules in longitude and latitude with what is said about each."""
    features = [
        {
            "type": "Feature", "properties": module.as_dict(),
            "geometry": shapely.geometry.mapping(shapely.set_precision(polygon, 1e-9, mode="pointwise")),
        }
        for module, polygon in zip(scan.reading.modules, scan.polygons, strict=True)
    ]  # fmt: skip
    return {"type": "FeatureCollection", "features": features}


def _run(args: argparse.Namespace, settings: Settings) -> Outcome:
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    if args.out is not None and not args.out.parent.is_dir():
        raise UsageError(f"{args.out.parent} is no folder; create it, or name another file with --out.")
    taken_at = parse_time(args.time, "--time") if args.time else None
    with Pool(settings.require_database(), Role.APP) as pool:
        scan = scan_modules(args.mosaic, args.modules, args.site, settings, pool, args.weights, taken_at)
    if args.out is not None:
        args.out.write_text(json.dumps(geojson(scan)) + "\n", encoding="utf-8")
    reading, share = scan.reading, scan.observation
    payload: dict[str, object] = {
        "site": args.site, "modules": len(reading.modules), "judged": len(reading.judged), "faulty": reading.faulty,
        "unknown": dict(reading.unknown), "by_class": dict(reading.by_class), "observations": scan.written,
        "faulty_module_share": None if share is None else share.value,
        "interval95": None if share is None else [share.lower, share.upper],
        "quality": None if share is None else share.quality.value, **scan.files.as_dict(),
        "rows": [module.as_dict() for module in reading.modules],
    }  # fmt: skip
    return Outcome(payload, _text(args.site, scan), ok=share is not None)


def _text(site_id: str, scan: PlantScan) -> str:
    reading, share = scan.reading, scan.observation
    unknown = ", ".join(f"{count} {reason}" for reason, count in sorted(reading.unknown.items())) or "none"
    if share is None:
        return f"{site_id}: not one of {len(reading.modules)} modules could be judged (unknown: {unknown})."
    rows = [f"  {label:<16}{count}" for label, count in sorted(reading.by_class.items(), key=lambda row: -row[1])]
    return "\n".join([
        f"{site_id}: {reading.faulty} of {len(reading.judged)} modules judged are faulty; corrected share {share.value:.1%} "
        f"(95 %: {share.lower:.1%} to {share.upper:.1%}); unknown: {unknown}.", *rows,
    ])  # fmt: skip


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("mosaic", type=Path, metavar="IR_ORTHOMOSAIC.tif", help="one band of temperatures or counts")
    parser.add_argument("--modules", type=Path, required=True, metavar="FILE", help="GeoJSON, one polygon for each module")
    parser.add_argument("--site", required=True, metavar="ID", help="the solar plant")
    parser.add_argument("--time", metavar="ISO", help="when it was flown, where the file has no ACQUIRED_AT")
    parser.add_argument("--out", type=Path, metavar="FILE", help="also write the modules as GeoJSON")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="other weights than the shipped ones")


COMMANDS = {
    "modules": Command(
        "Judge the modules of a solar plant in an infrared orthomosaic; the share of faulty ones becomes an observation.",
        "collateral modules flight.tif --modules outlines.geojson --site S1",
        _run,
        _configure,
    )
}
