"""Commands of the quarantine: list, show, retry."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime

from collateral.command import Command, Outcome, parse_time
from collateral.db import quarantine
from collateral.db.pool import Pool, Role
from collateral.db.quarantine import Selection
from collateral.errors import InvalidInputError, UsageError
from collateral.settings import Settings
from iot.quarantine import hex_dump, readable, retry_quarantined
from iot.sparkplug import Packet, number_of, parse_packet, parse_place
from iot.writer import BatchWriter

TEXT_CHARACTERS = 2_000
"""Of a payload printed for people; the hexadecimal dump is whole."""


def _configure_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", action="append", default=[], metavar="NAME", help="only this reason; may be repeated")
    parser.add_argument("--device", action="append", default=[], metavar="ID", help="only this device; may be repeated")
    parser.add_argument("--since", default="", metavar="ISO", help="only what arrived at or after this time")
    parser.add_argument("--until", default="", metavar="ISO", help="only what arrived before this time")


def _selection(args: argparse.Namespace, ids: tuple[int, ...] = (), closed: bool = False) -> Selection:
    since, until = (_moment(name, getattr(args, name)) for name in ("since", "until"))
    return Selection(ids, tuple(args.reason), tuple(args.device), since, until, closed)


def _moment(name: str, text: str) -> datetime | None:
    if not text:
        return None
    return parse_time(text, f"--{name}")


def _configure_list(parser: argparse.ArgumentParser) -> None:
    _configure_selection(parser)
    parser.add_argument("--closed", action="store_true", help="also what was tried again and is done")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="rows of a page (default 50)")
    parser.add_argument("--before", type=int, metavar="ID", help="the page after the one that said next: ID")


def _list(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.limit < 0:
        raise UsageError(f"--limit {args.limit} is below 0.")
    selection = _selection(args, closed=args.closed)
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        counts = {f"by_{by}": quarantine.counted(connection, selection, by) for by in ("reason", "device", "day")}
        total = quarantine.total(connection, selection)
        found = quarantine.page(connection, selection, args.before, args.limit)
    rows = [_row(row) for row in found]
    following = rows[-1]["id"] if args.limit and len(rows) == args.limit else None
    lines = [f"{total} in quarantine: " + (", ".join(f"{key} {n}" for key, n in counts["by_reason"].items()) or "nothing")]
    lines += [
        f"{row['id']:>8}  {row['received_at']}  {row['reason']:<20} {row['device_id'] or '-':<20} {row['bytes']:>7} bytes"
        f"  {row['detail']}"
        for row in rows
    ]
    if following is not None:
        lines.append(f"more: --before {following}")
    return Outcome({"total": total, **counts, "rows": rows, "next": following}, "\n".join(lines))


def _row(row: Mapping[str, object]) -> dict[str, object]:
    topic = row["topic"]
    assert isinstance(topic, memoryview | bytes)
    retried = row["retried_at"]
    return {
        "id": row["quarantine_id"], "received_at": _iso(row["received_at"]), "reason": row["reason"],
        "detail": row["detail"], "device_id": row["device_id"], "topic": readable(bytes(topic)), "bytes": row["bytes"],
        "attempts": row["attempts"], "retried_at": None if retried is None else _iso(retried), "outcome": row["outcome"],
    }  # fmt: skip


def _iso(moment: object) -> str:
    assert isinstance(moment, datetime)
    return moment.isoformat()


def _configure_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, help="as `quarantine list` shows it")


def _show(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        row = quarantine.whole(connection, args.id)
    if row is None:
        raise InvalidInputError(f"There is no quarantine row {args.id}; `collateral quarantine list` shows what there is.")
    topic, payload = bytes(row["topic"]), bytes(row["payload"])
    metrics = _metrics(topic, payload)
    shown = {
        **_row(row), "topic_hex": topic.hex(), "payload_hex": payload.hex(), "payload_text": readable(payload),
        "metrics": metrics,
    }  # fmt: skip
    heading = [f"{key}: {shown[key]}" for key in ("id", "received_at", "reason", "detail", "device_id", "topic", "attempts")]
    text = readable(payload)[:TEXT_CHARACTERS]
    return Outcome(shown, "\n".join([*heading, "", text, *map(str, metrics or []), "", hex_dump(payload)]))


def _metrics(topic: bytes, payload: bytes) -> list[dict[str, object]] | None:
    """What a Sparkplug payload says, without knowing any birth; None for anything else."""
    packet = parse_packet(payload) if parse_place(topic) is not None else None
    if not isinstance(packet, Packet):
        return None
    return [
        {
            "name": metric.name, "alias": metric.alias, "time_ms": metric.time_ms, "datatype": metric.datatype,
            "value": number_of(metric.value, metric.datatype) if metric.datatype else metric.value,
        }
        for metric in packet.metrics
    ]  # fmt: skip


def _configure_retry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", type=int, nargs="*", help="these rows only")
    parser.add_argument("--all", action="store_true", help="everything in quarantine")
    _configure_selection(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="at most this many rows, the oldest first")


def _retry(args: argparse.Namespace, settings: Settings) -> Outcome:
    narrowed = bool(args.id or args.reason or args.device or args.since or args.until)
    if narrowed == args.all:
        raise UsageError("Say what to try again: ids, --reason, --device, --since or --until; or --all.")
    selection = _selection(args, tuple(args.id))
    with Pool(settings.require_database(), Role.INGEST, size=1) as pool:
        summary = retry_quarantined(pool, selection, BatchWriter, limit=args.limit)
    return Outcome(
        {
            "tried": summary.tried, "released": summary.released, "requarantined": summary.requarantined,
            "unchanged": summary.unchanged, "stored": summary.stored, "duplicates": summary.duplicates,
            "conflicts": summary.conflicts, "refused": dict(summary.refused),
            "observe_since": None if summary.since is None else summary.since.isoformat(),
            "seconds": round(summary.seconds, 2),
        }
    )  # fmt: skip


COMMANDS: Mapping[str, Command] = {
    "quarantine list": Command(
        "Rejected messages, newest first, with counts by reason, device and day of arrival.",
        "collateral quarantine list --reason range --since 2026-10-01T00:00:00Z --json",
        _list,
        _configure_list,
    ),
    "quarantine show": Command(
        "One rejected message: every byte, as text as far as it is some, and the metrics of a Sparkplug payload.",
        "collateral quarantine show 4711",
        _show,
        _configure_show,
    ),
    "quarantine retry": Command(
        "Tries rejected messages again with their original time of arrival. Afterwards: collateral observe --since DATE.",
        "collateral quarantine retry --reason unknown_device --device S1-meter",
        _retry,
        _configure_retry,
    ),
}
