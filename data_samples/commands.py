"""Commands `sample write`, `sample scenes` and `fleet`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.errors import InvalidInputError, UsageError
from collateral.services.local import fleet_url
from collateral.settings import Settings
from data_samples.fleet import run_fleet, stop_on_signals
from data_samples.scenes import write_scenes
from data_samples.series import write_series
from data_samples.world import config_for, load_world, make_config, plan_world, write_world


def _configure_write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to write into")
    parser.add_argument("--seed", type=int, default=1, help="another number gives another world (default 1)")
    parser.add_argument("--sites", type=int, default=24, help="number of sites, a third of each kind (default 24)")
    parser.add_argument("--years", type=float, default=1.0, help="years of history (default 1)")
    parser.add_argument("--strength", type=float, default=1.0, help="how strong the storylines are (default 1)")
    parser.add_argument("--end", default="", help="last moment, ISO 8601 with offset (default: now)")
    parser.add_argument("--scenes", choices=("none", "few", "thin", "all"), default="all",
                        help="pictures of each site: 0, 3, 7 or 15 (default all)")


def _write(args: argparse.Namespace, settings: Settings) -> Outcome:
    wished = make_config(args.seed, _moment(args.end), args.sites, args.years, args.strength)
    world = plan_world(config_for(args.directory, wished, bool(args.end)))
    report = write_world(world, args.directory)
    started = time.monotonic()
    scenes = write_scenes(world, args.directory, args.scenes)
    payload: dict[str, object] = {
        "directory": str(args.directory), "seed": world.config.seed, "end": world.config.end.isoformat(),
        "sites": report.sites, "devices": report.devices, "readings": report.readings,
        "storylines": {story.name: story.site_id for story in world.storylines},
        "scenes_written": scenes.written, "scenes_skipped": scenes.skipped, "scene_bytes": scenes.bytes,
        "seconds": round(report.seconds, 2), "scene_seconds": round(time.monotonic() - started, 1),
    }
    return Outcome(payload)


def _configure_scenes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to write into")
    parser.add_argument("--seed", type=int, default=1, help="another number gives other sites (default 1)")
    parser.add_argument("--sites", type=int, default=8, help="number of sites (default 8)")
    parser.add_argument("--dates", type=int, default=3, help="scenes of each site (default 3)")


def _scenes(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.sites < 1 or args.dates < 1:
        raise UsageError(f"--sites {args.sites} and --dates {args.dates} must be at least 1.")
    return Outcome(asdict(write_series(args.directory, args.seed, args.sites, args.dates)))


def _configure_fleet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--world", type=Path, required=True, metavar="DIR", help="folder of the sample world")
    parser.add_argument("--interval", type=float, default=60.0, metavar="S", help="seconds between messages (default 60)")
    parser.add_argument("--duration", type=float, default=None, metavar="S", help="stop after this time (default: never)")


def _fleet(args: argparse.Namespace, settings: Settings) -> Outcome:
    if not 0.1 <= args.interval <= 86_400:
        raise UsageError(f"--interval {args.interval} is out of range; use 0.1 to 86400 seconds.")
    world = load_world(args.world)
    url = fleet_url(settings.runtime, settings.require_mqtt())
    with stop_on_signals() as stop:
        report = run_fleet(world, args.world, url, args.interval, args.duration, stop)
    return Outcome(asdict(report), ok=report.unacknowledged == 0)


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(f"--end {text!r} is not a time; write it like 2026-06-30T16:00:00Z.") from None


COMMANDS: Mapping[str, Command] = {
    "sample write": Command(
        "write a sample world: portfolio, scenes, telemetry and truth, made from a seed",
        "collateral sample write /tmp/world --seed 7 --scenes few", _write, _configure_write,
    ),
    "sample scenes": Command(
        "render scenes of new sites with their truth, a few dates each, for `evaluate scenes`",
        "collateral sample scenes /tmp/scenes --seed 7 --sites 8 --dates 3", _scenes, _configure_scenes,
    ),
    "fleet": Command(
        "publish the present readings of a sample world's devices over MQTT until Ctrl-C",
        "collateral fleet --world /tmp/world --interval 10 --duration 60", _fleet, _configure_fleet,
    ),
}
