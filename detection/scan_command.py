"""`collateral scan`: where imagery and the detectors meet."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from collateral.command import Command, Outcome
from collateral.db import reference
from collateral.db.pool import Pool, Role
from collateral.db.scenes import SKY
from collateral.errors import UsageError
from collateral.settings import Settings
from detection.consumers import PanelConsumer, SlotConsumer, VehicleConsumer
from detection.everything import scan_all
from detection.ground_consumer import GroundConsumer
from detection.infer import PanelSegmenter, SlotClassifier, VehicleDetector
from detection.stock import StockSegmenter
from detection.weightfile import Card
from imagery.catalogue import find_scenes
from imagery.coarse import is_coarse, judges, scan_coarse
from imagery.reference import ReferenceStore
from imagery.scan import Scanner, WindowConsumer, open_scenes
from imagery.scan_store import DatabaseScanStore
from imagery.scan_summary import ScanSummary
from imagery.scenes import SceneFile
from imagery.seen import SeenFiles
from imagery.target import SiteTarget, site_targets


def run_scan(
    source: str,
    settings: Settings,
    pool: Pool,
    site_ids: tuple[str, ...] = (),
    history: bool = False,
    force: bool = False,
    weights: Path | None = None,
) -> ScanSummary:
    """Registers the scenes at `source` and lets every detector read the sites in them; of coarse ones the sky is judged.

    Args:
        source: file, folder or pattern.
        settings: evidence folder and threads are taken from here.
        pool: database, application role.
        site_ids: only these sites; empty for all.
        history: observations count as known when the scene became available, not now.
        force: also what is finished.
        weights: folder with vehicles, slots and panels (and stock) .safetensors and cards; None for the shipped ones.

    Raises:
        UsageError: nothing at `source`, or an unknown site.
    """
    started = time.monotonic()
    paths = find_scenes(source)
    targets = _targets(pool, site_ids)
    if not paths:  # an empty inbox is the rule: no detector is loaded for it
        return ScanSummary(seconds=time.monotonic() - started)
    store = DatabaseScanStore(pool)
    with SeenFiles(settings.runtime / "scan" / "seen.sqlite") as seen:
        scenes, opened = open_scenes(paths, store, seen.inspect)
    if not scenes:
        return opened + ScanSummary(seconds=time.monotonic() - started)
    summary = _coarse([scene for scene in scenes if is_coarse(scene)], targets, pool, force)
    fine = [scene for scene in scenes if not is_coarse(scene)]
    if fine:
        if settings.threads > 0:
            torch.set_num_threads(settings.threads)
        scanner = Scanner(store, ReferenceStore(settings.evidence / "reference"), history)
        consumers, cards = detectors(settings.evidence, weights, settings.runtime / "models")
        with pool.connection() as connection:
            for card in cards:
                reference.write_model(connection, card.name, card.sha256, asdict(card))
        summary += scanner.run(fine, targets, consumers, force)
    scan_s = summary.seconds
    return opened + summary + ScanSummary(seconds=time.monotonic() - started - scan_s)


def _coarse(scenes: Sequence[SceneFile], targets: Sequence[SiteTarget], pool: Pool, force: bool) -> ScanSummary:
    """What no detector can read: its sky is judged."""
    summary = ScanSummary()
    for judge, own in judges(scenes):
        if judge.model is not None:
            with pool.connection() as connection:
                reference.write_model(connection, SKY, judge.model_sha256, judge.model.card)
        summary += scan_coarse(own, targets, judge, DatabaseScanStore(pool), force)
    return summary


def detectors(
    evidence: Path, weights: Path | None = None, cache: Path | None = None
) -> tuple[list[WindowConsumer], list[Card]]:
    """All detectors, each of which knows the sites it wants, and their cards.

    With a `cache` folder they run on the fastest engine installed.

    Raises:
        InvalidInputError: weights or a card are missing.
        IntegrityError: weights that are not those of their card.
    """
    def file(name: str) -> Path | None:
        return None if weights is None else weights / f"{name}.safetensors"

    vehicles = VehicleDetector.load(file("vehicles"), cache)
    slots = SlotClassifier.load(file("slots"), cache)
    panels = PanelSegmenter.load(file("panels"), cache)
    own = file("stock")
    stock = StockSegmenter.load(own if own is not None and own.is_file() else None, cache)
    consumers: list[WindowConsumer] = [
        VehicleConsumer(vehicles, evidence), SlotConsumer(slots, evidence), PanelConsumer(panels, evidence),
        GroundConsumer(stock, vehicles, panels, evidence),
    ]
    return consumers, [vehicles.card, slots.card, panels.card, stock.card]


def _targets(pool: Pool, site_ids: tuple[str, ...]) -> list[SiteTarget]:
    with pool.connection() as connection:
        sites, slots = reference.sites(connection), reference.slots(connection)
    if not sites:
        raise UsageError("There is no site to look at; import a portfolio first (`collateral portfolio import DIR`).")
    known = {site.site_id for site in sites}
    unknown = sorted(set(site_ids) - known)
    if unknown:
        raise UsageError(f"Site {unknown[0]!r} is not in the portfolio; {len(known)} sites are, for example {min(known)!r}.")
    wanted = set(site_ids) or known
    return site_targets([site for site in sites if site.site_id in wanted], slots)


def _everything(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.out is None:
        raise UsageError("--everything writes files: say where with --out FILE.geojson (one scene) or --out FOLDER.")
    paths = find_scenes(args.source)
    out = Path(args.out)
    if out.suffix == ".geojson" and len(paths) > 1:
        raise UsageError(f"{len(paths)} scenes do not go into one file; name a folder with --out.")
    if settings.threads > 0:
        torch.set_num_threads(settings.threads)
    weights = None if args.weights_dir is None else args.weights_dir / "vehicles.safetensors"
    summary, rows = scan_all(paths, VehicleDetector.load(weights, settings.runtime / "models"), out)
    return Outcome({**summary.as_dict(), "found": rows}, summary.as_text(), ok=summary.done == len(paths))


def _run(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.everything:
        return _everything(args, settings)
    with Pool(settings.require_database(), Role.APP) as pool:
        summary = run_scan(
            args.source, settings, pool, tuple(args.site or ()), args.history, args.force, args.weights_dir
        )
    return Outcome(summary.as_dict(), summary.as_text(), ok=summary.failed == 0)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="GeoTIFF, folder or pattern")
    parser.add_argument(
        "--history", action="store_true",
        help="count observations as known when the scene became available (tag AVAILABLE_AT), not now",
    )
    parser.add_argument("--site", action="append", metavar="ID", help="only this site; may be given several times")
    parser.add_argument("--force", action="store_true", help="scan again what is finished")
    parser.add_argument(
        "--everything", action="store_true",
        help="vehicles of whole scenes (also a .vrt of GeoTIFFs beside it) as GeoJSON; no database, no observations",
    )
    parser.add_argument("--out", metavar="PATH", help="with --everything: FILE.geojson for one scene, else a folder")
    parser.add_argument(
        "--weights-dir", type=Path, metavar="DIR", help="folder with other vehicles, slots and panels .safetensors and cards"
    )


COMMANDS = {
    "scan": Command(
        "Register scenes and run the detectors on the sites in them; what is finished is skipped.",
        "collateral scan /data/scenes --history",
        _run,
        _configure,
    )
}
