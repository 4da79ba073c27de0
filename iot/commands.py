"""Commands of telemetry: backfill, replay, observe."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from collateral.command import Command, Outcome, parse_day, parse_time
from collateral.db.clock import check_clock
from collateral.db.pool import Pool, Role
from collateral.errors import InvalidInputError, UsageError
from collateral.services.local import fleet_url
from collateral.settings import Settings
from iot.backfill import backfill
from iot.judging import judging_stats
from iot.mqtt import with_password
from iot.observe import follow_present, observe
from iot.replay import Player, Recording, parse_map, parse_step, play


def _configure_backfill(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="world folder, or a folder of recordings (*.npz)")


def _backfill(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.INGEST, size=1) as pool:
        summary = backfill(pool, args.folder)
    payload: Mapping[str, object] = {
        **asdict(summary.counts),
        "files": summary.files,
        "series": summary.series,
        "refused": summary.refused,
        "seconds": round(summary.seconds, 2),
    }
    return Outcome(payload)


def _configure_replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("csv", type=Path)
    parser.add_argument("--map", required=True, metavar="COLUMN=quantity,...", help="which column is which quantity")
    parser.add_argument("--site", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--time-column", default="", help="column of times (ISO 8601, D/M/Y H:M or Y/M/D H:M)")
    parser.add_argument("--time-start", default="", metavar="ISO", help="rebuild times: the first row's time ...")
    parser.add_argument("--time-step", default="", metavar="900s", help="... and the step between rows")
    parser.add_argument("--time-zone", default="UTC", help="zone of times that carry no offset")
    parser.add_argument("--speed", default="max", help="max, or how many times faster than it was recorded")
    parser.add_argument("--broker", default="", metavar="URL", help="another broker than the settings name")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="password for --broker")


def _replay(args: argparse.Namespace, settings: Settings) -> Outcome:
    recording, speed = _recording(args), _speed(args.speed)
    if args.broker:
        url = with_password(args.broker, args.password_file)
    else:
        url = fleet_url(settings.runtime, settings.require_mqtt())
    try:
        player = Player(url, args.site, args.device)
    except InvalidInputError as error:  # an id or an address, not data
        raise UsageError(str(error)) from None
    summary = play(recording, player, speed)
    payload = {**asdict(summary), "messages_per_s": round(summary.rows / max(summary.seconds, 1e-9), 1)}
    return Outcome(payload)


def _recording(args: argparse.Namespace) -> Recording:
    if not args.csv.is_file():
        raise UsageError(f"{args.csv} is not a file; name a CSV.")
    rebuilt = bool(args.time_start or args.time_step)
    if rebuilt and not (args.time_start and args.time_step):
        raise UsageError("--time-start and --time-step go together.")
    if rebuilt == bool(args.time_column):
        raise UsageError("Say where times come from: either --time-column, or --time-start and --time-step.")
    try:
        zone = ZoneInfo(args.time_zone)
        start = datetime.fromisoformat(args.time_start) if rebuilt else None
    except (ValueError, OSError, KeyError) as error:
        raise UsageError(f"{error}; --time-zone is an IANA name such as Asia/Seoul, --time-start ISO 8601.") from None
    step = parse_step(args.time_step) if rebuilt else None
    return Recording(args.csv, parse_map(args.map), zone, args.time_column, start, step)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not speed > 0:
        raise UsageError(f"--speed {text!r} is neither max nor a number above 0.")
    return speed


def _configure_observe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=parse_day, metavar="DATE", help="look at all days from this local date on")
    parser.add_argument(
        "--until", default="", metavar="ISO", help="the present of a recorded history (default: now)"
    )
    parser.add_argument("--stats", action="store_true", help="print how far the judgement of readings is and end")
    parser.add_argument("--trackers", action="store_true", help="only trips and stops of the present days")


def _observe(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.stats:
        with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
            return Outcome(judging_stats(connection))
    if args.trackers and args.since:
        raise UsageError("--trackers looks at the present days only; leave --since away, or --trackers.")
    now = datetime.now(UTC)
    if args.until:
        until = parse_time(args.until, "--until")
        if until > now:  # it would be written of every day till then that nobody reported
            raise UsageError(f"--until {args.until!r} lies in the future; of days to come nothing can be observed.")
        now = until
    if args.since and args.since > (now + timedelta(days=1)).date():  # a day, for zones ahead of UTC
        raise UsageError(f"--since {args.since} lies in the future; of days to come nothing can be observed.")
    with Pool(settings.require_database(), Role.APP, size=2) as pool:
        with pool.connection() as connection:
            check_clock(connection)
        summary = follow_present(pool, now) if args.trackers else observe(pool, now, args.since)
    return Outcome({**asdict(summary), "seconds": round(summary.seconds, 2)}, ok=not summary.failed)


COMMANDS: Mapping[str, Command] = {
    "backfill": Command(
        "Loads recorded telemetry with its original arrival times; doing it again changes nothing.",
        "collateral backfill ./world",
        _backfill,
        _configure_backfill,
    ),
    "replay": Command(
        "Plays a recorded CSV through the broker as one device.",
        "collateral replay steel.csv --map Usage_kWh=energy_interval_kwh --site S1 --device S1-meter "
        "--time-start 2018-01-01T00:15 --time-step 900s --time-zone Asia/Seoul",
        _replay,
        _configure_replay,
    ),
    "observe": Command(
        "Rolls up what changed and writes the daily observations of telemetry.",
        "collateral observe --since 2026-10-01",
        _observe,
        _configure_observe,
    ),
}
