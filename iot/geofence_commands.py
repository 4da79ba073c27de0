"""Commands of areas for movables: `geofences set|list|export|remove`."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import orjson
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.command import Command, Outcome, acting, parse_day
from collateral.db import audit, geofences, reference
from collateral.db.geofences import Spell, spells
from collateral.db.pool import Pool, Role
from collateral.errors import InvalidInputError, UsageError
from collateral.portfolio.fences import fences_json, read_fences
from collateral.portfolio.problems import as_json, as_text, errors
from collateral.settings import Settings

_AGAIN = "Days already observed keep what was said of them; `collateral observe --since {day}` judges them by these areas."


def _configure_set(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="GeoJSON file (*.geojson) of polygons, or of lines with width_m")
    parser.add_argument("--check", action="store_true", help="only say what is wrong; write nothing")
    parser.add_argument("--by", help="who does it, for the audit trail (default: the login name)")


def _configure_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--site", default="", metavar="ID", help="only areas of this site")
    parser.add_argument("--ended", action="store_true", help="days that are over too")


def _configure_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="GeoJSON file to write")
    parser.add_argument("--site", default="", metavar="ID", help="only areas of this site")


def _configure_remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("fence", nargs="+", help="id of an area")
    parser.add_argument(
        "--from", dest="first", type=parse_day, metavar="DATE",
        help="first local day on which it holds no more (default: today at the site)",
    )
    parser.add_argument("--by", help="who does it, for the audit trail (default: the login name)")


def _set(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.file.suffix != ".geojson":
        raise UsageError(f"{args.file} does not end in .geojson; name a GeoJSON file.")
    by = acting(args.by)
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        sites = {site.site_id: site for site in reference.sites(connection)}
        assets = {asset.asset_id: asset for asset in reference.assets(connection)}
        today = _todays(connection)
        found = read_fences(args.file, sites, assets, today)
        text = as_text(found.problems)
        listed = as_json(found.problems)
        if errors(found.problems):
            return Outcome({"written": 0, "problems": listed}, f"{text}\nNothing was written.", ok=False)
        written = geofences.write_geofences(connection, found.fences, by)
        if args.check:
            connection.rollback()
            payload = {"written": 0, "would_write": written, "problems": listed}
            return Outcome(payload, f"{text}\nNo error; {written} areas would be written, nothing was.".lstrip())
        audit.record(connection, by, "geofences set", args.file.name, {"written": written})
    past = [one.holds_from for one in found.fences if one.holds_from < today[one.site_id]]
    note = _AGAIN.format(day=min(past)) if written and past else ""
    payload = {"written": written, "areas": len(found.fences), "problems": listed, "note": note}
    return Outcome(payload, "\n".join(filter(None, [text, f"{written} of {len(found.fences)} areas written.", note])))


def _list(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        if args.site:
            reference.require_site(connection, args.site)
        found, today = spells(geofences.geofences_of_site(connection, args.site)), _todays(connection)
    rows = [_told(one, today[one.fence.site_id]) for one in found]
    areas = [row for row in rows if args.ended or not row["ended"]]
    return Outcome({"areas": areas, "count": len(areas)})


def _export(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        if args.site:
            reference.require_site(connection, args.site)
        holding = [one for one in geofences.newest_geofences(connection, args.site) if not one.ended]
    try:
        args.file.write_bytes(orjson.dumps(fences_json(holding), option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise UsageError(f"{args.file} cannot be written ({error.strerror}); name another file.") from None
    return Outcome({"file": str(args.file), "areas": len(holding)})


def _remove(args: argparse.Namespace, settings: Settings) -> Outcome:
    by = acting(args.by)
    with Pool(settings.require_database(), Role.APP, size=1) as pool, pool.connection() as connection:
        today = _todays(connection)
        found = spells(geofences.geofences_of_site(connection, ""))
        last = {one.fence.fence_id: one for one in found if not _over(one, today[one.fence.site_id])}
        missing = sorted(set(args.fence) - set(last))
        if missing:
            there = ", ".join(sorted(last)[:20]) or "none"
            raise InvalidInputError(f"Area {', '.join(missing)} does not hold; those that do: {there}.")
        ended = []
        for name in dict.fromkeys(args.fence):
            first, until = args.first or today[last[name].fence.site_id], last[name].until
            if until is not None and until <= first:
                raise InvalidInputError(f"Area {name} ends on {until} already; give an earlier day than {first} (--from).")
            ended.append(replace(last[name].fence, ended=True, holds_from=first))
        geofences.write_geofences(connection, ended, by)
        audit.record(connection, by, "geofences remove", " ".join(args.fence), {})
    return Outcome({"removed": [one.fence_id for one in ended], "from": str(min(one.holds_from for one in ended))})


def _today(zone: str) -> date:
    return datetime.now(UTC).astimezone(ZoneInfo(zone)).date()


def _todays(connection: Connection) -> Mapping[str, date]:
    """The present day at each site; in UTC at those that left the portfolio."""
    days = {site.site_id: _today(site.time_zone) for site in reference.sites(connection)}
    return defaultdict(lambda: _today("UTC"), days)


def _over(one: Spell, today: date) -> bool:
    return one.until is not None and one.until <= today


def _told(spell: Spell, today: date) -> Mapping[str, object]:
    one, over = spell.fence, _over(spell, today)
    return {
        "fence": one.fence_id, "site": one.site_id, "asset": one.asset_id, "kind": one.kind.value, "name": one.name,
        "state": "ended" if over else "holds" if spell.begins <= today else "planned",
        "holds_from": spell.begins.isoformat(), "until": None if spell.until is None else spell.until.isoformat(),
        "ended": over, "revision": one.revision, "bounds": [round(edge, 6) for edge in one.geometry.bounds],
    }


COMMANDS: Mapping[str, Command] = {
    "geofences set": Command(
        "Sets areas for movables from GeoJSON: region, corridor, forbidden, place; those not named stay.",
        "collateral geofences set areas.geojson --by officer_a",
        _set,
        _configure_set,
    ),
    "geofences list": Command(
        "Areas that hold and that are planned, with their days.", "collateral geofences list --site S1 --json", _list,
        _configure_list,
    ),
    "geofences export": Command(
        "Writes the areas without an end as GeoJSON, which `set` reads again.",
        "collateral geofences export areas.geojson --site S1",
        _export,
        _configure_export,
    ),
    "geofences remove": Command(
        "Ends areas from a day on; what was judged by them stays.",
        "collateral geofences remove S1-region --from 2026-11-01",
        _remove,
        _configure_remove,
    ),
}
