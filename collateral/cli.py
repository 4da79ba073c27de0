"""The command `collateral`: a static table of commands; a package is loaded only when one of its commands is chosen."""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import orjson

from collateral.command import Command, Outcome
from collateral.errors import CollateralError, ServiceError, UsageError
from collateral.log import configure_logging, mask_secrets
from collateral.settings import load_settings

FIRST_PARTY = frozenset(
    {"collateral", "imagery", "detection", "iot", "scoring", "dashboard", "data_samples", "benchmarks"}
)

TABLE: Mapping[tuple[str, str], tuple[str, str]] = {
    ("services", "up"): ("collateral.services.commands", "start the private database and broker"),
    ("services", "down"): ("collateral.services.commands", "stop them"),
    ("services", "status"): ("collateral.services.commands", "say what runs where"),
    ("database", "migrate"): ("collateral.commands", "bring the schema to the newest version"),
    ("status", ""): ("collateral.commands", "counts of the running system, services, lag, jobs"),
    ("schedule", ""): ("collateral.commands", "run scan, score and housekeeping on time"),
    ("housekeeping", ""): ("collateral.commands", "remove old job runs and their output"),
    ("portfolio", "import"): ("collateral.portfolio.commands", "validate and write a portfolio folder, all or nothing"),
    ("portfolio", "export"): ("collateral.portfolio.commands", "write the portfolio as files"),
    ("portfolio", "schema"): ("collateral.portfolio.commands", "describe every file and column"),
    ("user", "password"): ("collateral.portfolio.commands", "set a person's password"),
    ("scan", ""): ("detection.scan_command", "register scenes and run detectors on the sites in them"),
    ("modules", ""): ("detection.module_command", "faulty modules of a solar plant from an infrared orthomosaic"),
    ("train", ""): ("detection.commands", "train a detector"),
    ("evaluate", "vehicles"): ("detection.commands", "vehicle detector against labelled boxes"),
    ("evaluate", "solar-chips"): ("detection.commands", "panel detector against labelled chips"),
    ("evaluate", "panels"): ("detection.commands", "panel segmentation against masks"),
    ("evaluate", "slots"): ("detection.commands", "slot classifier against labelled slots"),
    ("evaluate", "modules"): ("detection.commands", "fault classes of PV modules against labelled crops"),
    ("evaluate", "scenes"): ("detection.commands", "all detectors against rendered scenes and their truth"),
    ("evaluate", "anomalies"): ("iot.anomaly_commands", "anomaly detectors against public benchmarks"),
    ("evaluate", "quality"): ("iot.quality_commands", "quality rules on labelled and injected faults"),
    ("evaluate", "tracks"): ("iot.routes_commands", "route deviations on real trips"),
    ("evaluate", "clouds"): ("data_samples.evaluate_clouds", "verdicts on pictures against known faults"),
    ("evaluate", "registration"): ("imagery.commands", "alignment against known motions across dates"),
    ("models", "list"): ("detection.commands", "the detectors that are installed"),
    ("models", "card"): ("detection.commands", "print one model card"),
    ("models", "verify"): ("detection.commands", "check every weights file against its card"),
    ("models", "export"): ("detection.export", "derive the files of the fast runtime from weights"),
    ("ingest", ""): ("iot.ingest_commands", "telemetry from the broker to the database"),
    ("backfill", ""): ("iot.commands", "load recorded telemetry with its original arrival times"),
    ("replay", ""): ("iot.commands", "play a recorded CSV through the broker"),
    ("simulate", ""): ("iot.simulate_commands", "speak for many devices, troubles of the field included"),
    ("devices", "add"): ("iot.devices_commands", "register a device"),
    ("devices", "commission"): ("iot.devices_commands", "give a device its password and passport"),
    ("devices", "rotate"): ("iot.devices_commands", "renew a device's password"),
    ("devices", "revoke"): ("iot.devices_commands", "take a device's password away"),
    ("devices", "passport"): ("iot.devices_commands", "note a calibration, another transformer or a move"),
    ("devices", "tell"): ("iot.devices_commands", "write all credentials to the private broker again"),
    ("devices", "list"): ("iot.devices_commands", "devices, passports, credentials"),
    ("devices", "export"): ("iot.devices_commands", "password file for a broker of your own"),
    ("devices", "check"): ("iot.devices_commands", "does a device speak as it should, for its maker"),
    ("security", "watch"): ("iot.devices_commands", "record what the broker refuses, bar floods"),
    ("security", "list"): ("iot.devices_commands", "what was refused"),
    ("geofences", "set"): ("iot.geofence_commands", "set areas for movables from GeoJSON"),
    ("geofences", "list"): ("iot.geofence_commands", "areas and since when they hold"),
    ("geofences", "export"): ("iot.geofence_commands", "write the areas as GeoJSON"),
    ("geofences", "remove"): ("iot.geofence_commands", "end areas from a day on"),
    ("observe", ""): ("iot.commands", "roll up readings and write daily observations"),
    ("anomalies", ""): ("iot.anomaly_commands", "keep what is unusual in new readings"),
    ("quarantine", "list"): ("iot.quarantine_commands", "rejected messages by reason, device and time"),
    ("quarantine", "show"): ("iot.quarantine_commands", "one rejected message, byte for byte"),
    ("quarantine", "retry"): ("iot.quarantine_commands", "try rejected messages again after a fix"),
    ("retention", ""): ("iot.ingest_commands", "drop and compress old telemetry by a policy file"),
    ("score", ""): ("scoring.commands", "score sites and raise alerts"),
    ("dashboard", ""): ("dashboard.commands", "serve the map dashboard"),
    ("sample", "write"): ("data_samples.commands", "write a sample world"),
    ("sample", "scenes"): ("data_samples.commands", "scenes of new sites with their truth, for `evaluate scenes`"),
    ("fleet", ""): ("data_samples.commands", "publish the sample world's devices, live, over MQTT"),
    ("demo", "up"): ("data_samples.demo_commands", "the whole system on a sample world until Ctrl-C"),
    ("demo", "check"): ("data_samples.demo_commands", "the same unattended, verified, as JSON"),
    ("bench", "fuzz"): ("benchmarks.commands", "broken messages by the million, all accounted for"),
    ("bench", "ingest"): ("benchmarks.commands", "measure ingest against a bare consumer"),
    ("bench", "scan"): ("benchmarks.commands", "measure a whole-scene scan against bare forward passes and SAHI"),
}

_NO_ROOM: Mapping[int, str] = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room within the quota",
    errno.EROFS: "make its disk writable",
    errno.EACCES: "give this account the right to it",
    errno.EPERM: "give this account the right to it",
}


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print and exit with, so that a caller who asked for JSON gets it then too."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help.")

    def print_help(self, file: object = None) -> None:
        """To standard output, whose reader may go away."""
        _write(self.format_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code: 0 done, 1 failed, 2 usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    configure_logging("--verbose" in words)
    try:
        return _answer(words)
    except KeyboardInterrupt:  # also while packages are loaded, which takes seconds
        return _fail("Interrupted.", "--json" in words, 1)


def _answer(words: Sequence[str]) -> int:
    key, rest = _choose(words)
    if key is None:
        return _overview(words)
    try:
        command = load_command(key)
    except ServiceError as error:
        return _fail(str(error), "--json" in rest, 1)
    parser = _parser(key, command)
    try:
        args = parser.parse_args(rest)
    except UsageError as error:
        return _fail(str(error), "--json" in rest, 2)
    try:
        outcome = command.run(args, load_settings(os.environ))
    except UsageError as error:
        return _fail(str(error), args.json, 2)
    except CollateralError as error:
        return _fail(str(error), args.json, 1)
    except OSError as error:
        told = _room(error)
        if told is None:
            return _mistake(error, args.json)
        return _fail(told, args.json, 1)
    except Exception as error:
        return _mistake(error, args.json)
    return 0 if _show(outcome, args.json) and outcome.ok else 1


def _mistake(error: Exception, as_json: bool) -> int:
    """A mistake in the program: the traceback for us, one JSON object for the caller all the same."""
    logging.getLogger("collateral").exception("Unexpected error")
    return _fail(f"{type(error).__name__}: {error}", as_json, 1)


def _room(error: OSError) -> str | None:
    """What to tell of a disk that is full or a folder that is closed to us; None of any other error."""
    remedy = _NO_ROOM.get(error.errno or 0)
    if remedy is None:
        return None
    place = f"{error.filename} cannot be used" if error.filename else "A file cannot be written"
    return f"{place} ({error.strerror}); {remedy}, or name another folder (the option that writes, or COLLATERAL_RUNTIME)."


def _choose(words: Sequence[str]) -> tuple[tuple[str, str] | None, list[str]]:
    if len(words) >= 2 and (words[0], words[1]) in TABLE:
        return (words[0], words[1]), list(words[2:])
    if words and (words[0], "") in TABLE:
        return (words[0], ""), list(words[1:])
    return None, []


def load_command(key: tuple[str, str]) -> Command:
    """The command of one row of TABLE; loads its package.

    Raises:
        ServiceError: a third-party package that it needs is not installed.
    """
    name = TABLE[key][0]
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in FIRST_PARTY:
            raise
        raise ServiceError(
            f"`collateral {' '.join(filter(None, key))}` needs the package {package!r}, which is not installed: "
            "install collateral-watch with the extra that brings it, or with [all]."
        ) from error
    command = module.COMMANDS[" ".join(filter(None, key))]
    assert isinstance(command, Command)
    return command


def _parser(key: tuple[str, str], command: Command) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=" ".join(filter(None, ("collateral", *key))),
        description=command.summary,
        epilog=f"example:\n  {command.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    parser.add_argument("--verbose", action="store_true", help="log more on standard error")
    command.configure(parser)
    return parser


def _overview(words: Sequence[str]) -> int:
    lines = ["usage: collateral COMMAND [options]   (COMMAND --help shows an example)", ""]
    lines += [f"  {' '.join(filter(None, key)):<22}{summary}" for key, (_, summary) in TABLE.items()]
    text = "\n".join(lines) + "\n"
    if words and words[0] in ("-h", "--help", "help"):
        return 0 if _write(text) else 1
    sys.stderr.write(text)
    asked = " ".join(word for word in words[:2] if not word.startswith("-"))
    problem = f"There is no command {asked!r}; `collateral --help` lists them." if asked else "No command was given."
    return _fail(problem, "--json" in words, 2)


def _fail(message: str, as_json: bool, code: int) -> int:
    message = mask_secrets(message)
    logging.getLogger("collateral").error("%s", message)
    if as_json:
        _write(orjson.dumps({"error": message}).decode() + "\n")
    return code


def _show(outcome: Outcome, as_json: bool) -> bool:
    """Whether the answer reached standard output."""
    if as_json:
        return _write(_one_object(outcome.payload) + "\n")
    text = outcome.text or "\n".join(f"{key}: {value}" for key, value in outcome.payload.items())
    return _write(text.rstrip("\n") + "\n")


def _one_object(payload: Mapping[str, object]) -> str:
    try:
        return orjson.dumps(dict(payload), default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    except TypeError:  # a whole number of more than 64 bits, as a seed may be
        return json.dumps(dict(payload), default=str)


def _fitting(text: str) -> str:
    """`text` with the letters that standard output's encoding lacks written as in JSON."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(one.encode(encoding, "ignore").decode(encoding) or json.dumps(one)[1:-1] for one in text)
    return text


def _write(text: str) -> bool:
    """Whether `text` reached standard output: its reader may be gone, its disk full, or there may be none."""
    if sys.stdout is None:
        return False
    try:
        sys.stdout.write(_fitting(text))
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            logging.getLogger("collateral").error("Standard output cannot be written: %s.", error.strerror)
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what is still held goes there: the interpreter writes it at its end
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return False
    return True


if __name__ == "__main__":
    raise SystemExit(main())
