"""`collateral train`, `evaluate` of the detectors, `models`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import torch

from collateral.command import Command, Outcome
from collateral.errors import InvalidInputError, UsageError
from collateral.settings import Settings
from detection.card_page import page
from detection.evaluate import SUBFOLDERS, evaluate_panels, evaluate_slots, evaluate_solar_chips, evaluate_vehicles
from detection.evaluate_scenes import evaluate_scenes
from detection.recipes import RECIPES, Job, train_named
from detection.weightfile import default_path, read_card, read_weights, shipped, write_card

_Evaluate = Callable[[Path, argparse.Namespace, Path | None], dict[str, object]]


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
        if kind == "vehicles":
            parser.add_argument("--gsd", type=float, help="first resample to this many metres per pixel")

    def execute(args: argparse.Namespace, settings: Settings) -> Outcome:
        _threads(settings)
        weights = _weights(args)
        figures = run(_data(args, settings, kind), args, weights)
        if args.write_card:
            _keep(weights or default_path(network), _figure_key(kind, args), figures)
        return Outcome(figures)

    example = f"collateral evaluate {kind} --data DATA/{SUBFOLDERS[kind]} --split val --json"
    return Command(summary=summary, example=example, run=execute, configure=configure)


def _figure_key(kind: str, args: argparse.Namespace) -> str:
    seen = f" at {args.gsd} m" if getattr(args, "gsd", None) else ""
    return f"{kind} {args.split}{seen}"


def _keep(weights: Path, key: str, figures: Mapping[str, object]) -> None:
    card = read_card(weights)
    kept = {k: v for k, v in figures.items() if k not in ("model", "model_sha256")}
    write_card(weights, replace(card, figures={**card.figures, key: kept}))


def _configure_train(parser: argparse.ArgumentParser) -> None:
    names = "; ".join(f"{name}: {recipe.summary}" for name, recipe in RECIPES.items())
    parser.add_argument("name", help=names)
    parser.add_argument("--data", help="folder of labelled data; default: COLLATERAL_DATA")
    parser.add_argument("--rendered", help="folder of rendered scenes in the labelled formats")
    parser.add_argument("--out", help="weights file to write; default: the shipped one")
    parser.add_argument("--steps", type=int, help="instead of the recipe's number of steps")
    parser.add_argument("--seed", type=int, help="instead of the recipe's seed")


def _train(args: argparse.Namespace, settings: Settings) -> Outcome:
    _threads(settings)
    data = Path(args.data) if args.data else settings.data
    if data is None:
        raise InvalidInputError("No labelled data: name its folder with --data DIR or set COLLATERAL_DATA.")
    job = Job(
        data=data,
        rendered=Path(args.rendered) if args.rendered else None,
        work=settings.runtime / "train",
        out=Path(args.out) if args.out else None,
        steps=args.steps,
        seed=args.seed,
    )
    card = train_named(args.name, job)
    return Outcome({"name": card.name, "model_sha256": card.sha256, "threshold": card.threshold})


def _list(args: argparse.Namespace, settings: Settings) -> Outcome:
    cards = [read_card(default_path(name)) for name in shipped()]
    rows = [{"name": c.name, "network": c.network, "sha256": c.sha256, "gsd_m": c.gsd_m} for c in cards]
    text = "\n".join(f"{c.name:<16}{c.network:<10}{c.gsd_m:.2f} m  {c.sha256[:16]}" for c in cards)
    return Outcome({"models": rows}, text)


def _card(args: argparse.Namespace, settings: Settings) -> Outcome:
    card = read_card(default_path(args.name))
    if args.write is not None:
        if not Path(args.write).is_dir():
            raise UsageError(f"{args.write} is no folder; name an existing one for {card.name}.md.")
        (Path(args.write) / f"{card.name}.md").write_text(page(card), encoding="utf-8")
    return Outcome(asdict(card), page(card))


def _configure_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=f"name of shipped weights: {', '.join(shipped())}")
    parser.add_argument("--write", help="also write NAME.md into this folder (docs/model-cards)")


def _verify(args: argparse.Namespace, settings: Settings) -> Outcome:
    verified = {}
    for name in shipped():
        card = read_card(default_path(name))
        read_weights(default_path(name), card.network)
        verified[name] = card.sha256
    return Outcome({"verified": verified})


def _vehicles(data: Path, args: argparse.Namespace, weights: Path | None) -> dict[str, object]:
    return evaluate_vehicles(data, args.split, weights, args.gsd)


def _scenes(args: argparse.Namespace, settings: Settings) -> Outcome:
    _threads(settings)
    return Outcome(evaluate_scenes(Path(args.truth)))


def _configure_scenes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--truth", required=True, help="folder of NAME.tif with NAME.truth.json beside each")


COMMANDS: dict[str, Command] = {
    "train": Command(
        summary="train a detector, calibrate it on held-out groups, write weights and card",
        example="collateral train vehicles-real --data DATA",
        run=_train,
        configure=_configure_train,
    ),
    "evaluate vehicles": _evaluation(
        "vehicles", "vehicles", "vehicle detector against labelled boxes", _vehicles
    ),
    "evaluate solar-chips": _evaluation(
        "solar-chips", "panels", "panel detector against labelled roof chips",
        lambda data, args, weights: evaluate_solar_chips(data, args.split, weights),
    ),
    "evaluate panels": _evaluation(
        "panels", "panels", "panel segmentation against masks",
        lambda data, args, weights: evaluate_panels(data, args.split, weights),
    ),
    "evaluate slots": _evaluation(
        "slots", "slots", "slot classifier against labelled slots",
        lambda data, args, weights: evaluate_slots(data, args.split, weights),
    ),
    "evaluate scenes": Command(
        "all detectors against rendered scenes and their truth", "collateral evaluate scenes --truth world/scenes --json",
        _scenes, _configure_scenes,
    ),
    "models list": Command("the detectors that are installed", "collateral models list", _list),
    "models card": Command(
        "print one model card", "collateral models card vehicles", _card, _configure_card,
    ),
    "models verify": Command("check every weights file against its card", "collateral models verify", _verify),
}  # fmt: skip
