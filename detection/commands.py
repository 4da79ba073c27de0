"""`collateral train`, `evaluate` of the detectors, `models`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import torch

from collateral.command import Command, Outcome
from collateral.errors import InvalidInputError
from collateral.settings import Settings
from detection.dataset import is_rendered
from detection.evaluate import evaluate_vehicles
from detection.evaluate_modules import evaluate_modules
from detection.evaluate_pictures import evaluate_panels, evaluate_slots, evaluate_solar_chips
from detection.evaluate_scenes import SceneDetectors, evaluate_scenes
from detection.gallery import Gallery
from detection.model_commands import MODEL_COMMANDS
from detection.recipes import RECIPES, Job, train_named
from detection.reliability import write_reliability
from detection.train import keep_freed_memory
from detection.train_config import TrainConfig, checked_schedule, read_train_config
from detection.weightfile import default_path, read_card, shipped, write_card

SUBFOLDERS = {"vehicles": "vehicles", "solar-chips": "solar_chips", "panels": "panels", "slots": "slot_occupancy",
              "modules": "pv_modules"}  # fmt: skip
"""Where each data set lies below COLLATERAL_DATA."""
_Evaluate = Callable[[Path, argparse.Namespace, Path | None, Gallery | None], dict[str, object]]


def _threads(settings: Settings) -> None:
    if settings.threads:
        torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)


def _data(args: argparse.Namespace, settings: Settings, kind: str) -> Path:
    if args.data is not None:
        return Path(args.data)
    if settings.data is None:
        raise InvalidInputError(
            "No labelled data: name a folder with --data DIR, or set COLLATERAL_DATA to the folder that holds "
            f"{SUBFOLDERS[kind]}/."
        )
    return settings.data / SUBFOLDERS[kind]


def _weights(args: argparse.Namespace) -> Path | None:
    """--weights: a file, 'default', or the suffix of shipped weights such as 'research'."""
    if args.weights in (None, "default"):
        return None
    path = Path(args.weights)
    if path.suffix == ".safetensors":
        return path
    named = args.weights if args.weights in shipped() else f"{args.network}-{args.weights}"
    if named not in shipped():
        raise InvalidInputError(f"No shipped weights {args.weights!r} ({named}); there are {', '.join(shipped())}.")
    return default_path(named)


def _evaluation(kind: str, network: str, summary: str, run: _Evaluate) -> Command:
    def configure(parser: argparse.ArgumentParser) -> None:
        parser.set_defaults(network=network)
        parser.add_argument("--data", help=f"labelled folder; default: COLLATERAL_DATA/{SUBFOLDERS[kind]}")
        parser.add_argument("--split", default="val", help="rows of index.csv to use; default val")
        parser.add_argument("--weights", help="safetensors file, or name of shipped weights; default: the shipped ones")
        parser.add_argument("--write-card", action="store_true", help="keep the figures in the weights' card")
        parser.add_argument("--gallery", type=Path, metavar="DIR", help="write pages of the errors into this new folder")
        parser.add_argument("--reliability", type=Path, metavar="FILE.svg", help="write the reliability plot")
        if kind == "vehicles":
            parser.add_argument("--gsd", type=float, help="first resample to this many metres per pixel")

    def execute(args: argparse.Namespace, settings: Settings) -> Outcome:
        _threads(settings)
        weights = _weights(args)
        data = _data(args, settings, kind)
        gallery = Gallery(f"{kind}: {data.name}, split {args.split}") if args.gallery else None
        figures = run(data, args, weights, gallery)
        if args.write_card:
            _keep(weights or default_path(network), _figure_key(kind, args), figures)
        if args.reliability is not None:
            write_reliability(args.reliability, f"{figures['model']}, {kind} {args.split}", figures)
        if gallery is not None:
            return Outcome({**figures, "gallery": gallery.write(args.gallery, figures, is_rendered(data, args.split))})
        return Outcome(figures)

    example = f"collateral evaluate {kind} --data DATA/{SUBFOLDERS[kind]} --split val --gallery errors --json"
    return Command(summary=summary, example=example, run=execute, configure=configure)


def _figure_key(kind: str, args: argparse.Namespace) -> str:
    seen = f" at {args.gsd} m" if getattr(args, "gsd", None) else ""
    return f"{kind} {args.split}{seen}"


def _keep(weights: Path, key: str, figures: Mapping[str, object]) -> None:
    card = read_card(weights)
    kept = {k: v for k, v in figures.items() if k not in ("model", "model_sha256", "reliability", "problems")}
    write_card(weights, replace(card, figures={**card.figures, key: kept}))


def _configure_train(parser: argparse.ArgumentParser) -> None:
    names = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
    parser.add_argument("name", help=names)
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML with data, rendered, out, start and [schedule]; "
                        "words given here go before it (docs: detection/train_config.py)")  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder of labelled data; default: COLLATERAL_DATA")
    parser.add_argument("--rendered", type=Path, help="folder of rendered scenes in the labelled formats")
    parser.add_argument("--out", type=Path, help="weights file to write; default: the shipped one")
    parser.add_argument("--start", type=Path, help="weights to begin with instead of the recipe's own")
    parser.add_argument("--calibrate-only", action="store_true",
                        help="keep the weights that are there: threshold, calibration and counting anew")  # fmt: skip
    parser.add_argument("--steps", type=int, help="instead of the recipe's number of steps")
    parser.add_argument("--seed", type=int, help="instead of the recipe's seed")


def _train(args: argparse.Namespace, settings: Settings) -> Outcome:
    _threads(settings)
    keep_freed_memory()
    file = read_train_config(args.config) if args.config is not None else TrainConfig()
    given = {key: value for key in ("steps", "seed") if (value := getattr(args, key)) is not None}
    data = args.data or file.data or settings.data
    if data is None:
        raise InvalidInputError("No labelled data: name its folder with --data DIR or set COLLATERAL_DATA.")
    job = Job(
        data=data,
        rendered=args.rendered or file.rendered,
        work=settings.runtime / "train",
        out=args.out or file.out,
        schedule={**file.schedule, **checked_schedule(given, "the command line")},
        start=args.start or file.start,
        calibrate_only=args.calibrate_only,
    )
    started = time.monotonic()
    card = train_named(args.name, job)
    return Outcome({
        "name": card.name, "model_sha256": card.sha256, "threshold": card.threshold,
        "weights": str(job.out or default_path(args.name)), "seconds": round(time.monotonic() - started, 1),
        "config": dict(card.config), "held_out": card.held_out, "data_digest": dict(card.data_digest),
        "versions": dict(card.versions),
    })  # fmt: skip


def _vehicles(
    data: Path, args: argparse.Namespace, weights: Path | None, gallery: Gallery | None
) -> dict[str, object]:
    return evaluate_vehicles(data, args.split, weights, args.gsd, gallery=gallery)


def _scenes(args: argparse.Namespace, settings: Settings) -> Outcome:
    _threads(settings)
    gallery = Gallery(f"rendered scenes: {Path(args.truth).name}") if args.gallery else None
    tools = SceneDetectors.shipped(settings.runtime / "models")
    figures = evaluate_scenes(Path(args.truth), tools, gallery)
    shown = {} if gallery is None else {"gallery": gallery.write(args.gallery, figures, rendered=True)}
    return Outcome({**figures, **shown})


def _configure_scenes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--truth", required=True, help="folder of NAME.tif with NAME.truth.json beside each")
    parser.add_argument("--gallery", type=Path, metavar="DIR", help="write pages of the errors into this new folder")


COMMANDS: dict[str, Command] = {
    "train": Command(
        summary="train a detector, calibrate it on held-out groups, write weights and card",
        example="collateral train vehicles-real --data DATA --config short.toml --json",
        run=_train,
        configure=_configure_train,
    ),
    "evaluate vehicles": _evaluation(
        "vehicles", "vehicles", "vehicle detector against labelled boxes", _vehicles
    ),
    "evaluate solar-chips": _evaluation(
        "solar-chips", "panels", "panel detector against labelled roof chips",
        lambda data, args, weights, gallery: evaluate_solar_chips(data, args.split, weights, gallery),
    ),
    "evaluate panels": _evaluation(
        "panels", "panels", "panel segmentation against masks",
        lambda data, args, weights, gallery: evaluate_panels(data, args.split, weights, gallery),
    ),
    "evaluate slots": _evaluation(
        "slots", "slots", "slot classifier against labelled slots",
        lambda data, args, weights, gallery: evaluate_slots(data, args.split, weights, gallery),
    ),
    "evaluate modules": _evaluation(
        "modules", "modules", "fault classes of PV modules against labelled infrared crops",
        lambda data, args, weights, gallery: evaluate_modules(data, args.split, weights, gallery),
    ),
    "evaluate scenes": Command(
        "all detectors against rendered scenes and their truth", "collateral evaluate scenes --truth world/scenes --json",
        _scenes, _configure_scenes,
    ),
    **MODEL_COMMANDS,
}  # fmt: skip
