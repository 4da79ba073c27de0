"""Commands `sample write` and `fleet` (`demo up` and `demo check` are joined from `data_samples.demo`)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.errors import InvalidInputError
from collateral.settings import Settings
from data_samples.scenes import write_scenes
from data_samples.world import config_for, make_config, plan_world, write_world


def _configure_write(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", type=Path, metavar="DIR", help="folder to write into")
    parser.add_argument("--seed", type=int, default=1, help="another number gives another world (default 1)")
    parser.add_argument("--sites", type=int, default=24, help="number of sites, a third of each kind (default 24)")
    parser.add_argument("--years", type=float, default=1.0, help="years of history (default 1)")
    parser.add_argument("--strength", type=float, default=1.0, help="how strong the storylines are (default 1)")
    parser.add_argument("--end", default="", help="last moment, ISO 8601 with offset (default: now)")
    parser.add_argument("--scenes", choices=("none", "few", "all"), default="all", help="how many pictures (default all)")


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
}
