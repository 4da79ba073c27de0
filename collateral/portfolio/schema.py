"""Every file and column of a portfolio folder, once: reading, checking, export and `collateral portfolio schema` follow it.

Column names are the field names of the dataclasses in `collateral.domain`. A geometry is a column of its own kind in CSV
(`corridor_wkt`) and the feature's geometry in GeoJSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from collateral.domain import (
    SLOT_KINDS,
    Asset,
    AssetKind,
    Borrower,
    Device,
    Holiday,
    Link,
    Loan,
    LoanSite,
    Price,
    Site,
    SiteKind,
    Slot,
    User,
)
from collateral.portfolio.kinds import (
    Amount,
    Area,
    Choice,
    Currency,
    Day,
    Flag,
    Identifier,
    Kind,
    Number,
    Text,
    Whole,
    Words,
    Zone,
)
from collateral.quantities import READING_QUANTITIES

MUST = object()
"""Default of a column that may not be empty."""


@dataclass(frozen=True)
class Column:
    """One column of a file."""

    name: str
    kind: Kind
    meaning: str
    default: object = MUST
    """Value of an empty cell; MUST when a cell may not be empty."""
    field: str = ""
    """Field of the dataclass where it has another name than the column."""

    @property
    def target(self) -> str:
        """Field of the dataclass."""
        return self.field or self.name

    @property
    def required(self) -> bool:
        """True when a cell may not be empty."""
        return self.default is MUST

    def text(self, value: object) -> str:
        """What the export writes for `value`."""
        return "" if value is None or value == "" else self.kind.format(value)


@dataclass(frozen=True)
class FileSpec:
    """One file of the folder."""

    name: str
    part: str
    """Field of `Portfolio`."""
    row: type[Any]
    key: tuple[str, ...]
    purpose: str
    columns: tuple[Column, ...]
    optional: bool = False
    """True when a missing file means that it holds nothing."""

    @property
    def is_map(self) -> bool:
        """True for GeoJSON, whose features carry the field `geometry`."""
        return self.name.endswith(".geojson")


_MONEY = Amount(2, 0, 1e17)
_ID = Identifier()


def _ref(part: str) -> Identifier:
    return Identifier(part)


FILES: tuple[FileSpec, ...] = (
    FileSpec("borrowers.csv", "borrowers", Borrower, ("borrower_id",), "Companies.", (
        Column("borrower_id", _ID, "own id"),
        Column("name", Text(), "name in the local language"),
        Column("name_en", Text(), "name in English", ""),
        Column("group_name", Text(), "group to which the company belongs", ""),
        Column("industry", Text(), "line of business", ""),
    )),
    FileSpec("loans.csv", "loans", Loan, ("loan_id",), "Facilities.", (
        Column("loan_id", _ID, "own id"),
        Column("borrower_id", _ref("borrowers"), "who owes it"),
        Column("branch", Text(64), "branch that keeps the loan; people of other branches do not see it"),
        Column("officer", Text(64), "username of the officer in charge"),
        Column("currency", Currency(), "of principal and outstanding"),
        Column("principal", Amount(2, 0.01, 1e17), "amount granted"),
        Column("outstanding", _MONEY, "principal still owed"),
        Column("granted_on", Day(), "first day"),
        Column("matures_on", Day(), "last day; after granted_on"),
        Column("covenant_min_coverage", Amount(4, 0, 1000),
               "smallest allowed collateral value / outstanding; empty when not agreed", None),
    )),
    FileSpec("sites.geojson", "sites", Site, ("site_id",), "Monitored places, one polygon each.", (
        Column("site_id", _ID, "own id"),
        Column("borrower_id", _ref("borrowers"), "who runs the place"),
        Column("name", Text(), "name in the local language"),
        Column("name_en", Text(), "name in English", ""),
        Column("kind", Choice(tuple(SiteKind), SiteKind), "what it is"),
        Column("time_zone", Zone(), "in which its days begin and end"),
        Column("utm_epsg", Whole(32601, 32760), "UTM zone for areas and lengths; empty: found from the polygon", 0),
        Column("roofed", Flag(), "true when goods stand under a roof and cannot be seen from above", False),
        Column("installed_kwp", Number(0, 1e7), "solar: peak power, kW at standard test conditions", None),
        Column("panel_area_m2", Number(0, 1e8), "solar: panel area pledged, m2", None),
        Column("vehicle_capacity", Whole(0, 100_000), "bays marked; empty: learnt from history", None),
    )),
    FileSpec("loan_sites.csv", "loan_sites", LoanSite, ("loan_id", "site_id"), "Which site secures which loan.", (
        Column("loan_id", _ref("loans"), "the loan"),
        Column("site_id", _ref("sites"), "the site"),
    )),
    FileSpec("assets.csv", "assets", Asset, ("asset_id",), "Pledged things. One row per thing: it is pledged to one loan.", (
        Column("asset_id", _ID, "own id"),
        Column("site_id", _ref("sites"), "where it stands, or where it is at home"),
        Column("loan_id", _ref("loans"), "the loan it is pledged to"),
        Column("kind", Choice(tuple(AssetKind), AssetKind), "what it is"),
        Column("name", Text(), "for people"),
        Column("serial", Text(),
               "serial, receipt or plate number; the same under two loans, however it is written, is a double pledge", ""),
        Column("commodity", Text(64), "key into prices; empty when valued by `value`", ""),
        Column("quantity", Number(0, 1e12), "pledged amount in the unit of the commodity's price, else number of pieces"),
        Column("value", _MONEY, "appraised value in the loan's currency, where there is no commodity", None),
        Column("pledged_on", Day(), "since when"),
        Column("corridor_wkt", Area(), "truck: allowed region; empty: none", None, "corridor"),
    )),
    FileSpec("slots.geojson", "slots", Slot, ("slot_id",), "Storage places, one polygon each.", (
        Column("slot_id", _ID, "own id"),
        Column("site_id", _ref("sites"), "where it is"),
        Column("name", Text(), "for people", ""),
        Column("kind", Choice((*SLOT_KINDS, "yard")),
               "what it is; parking bay: for vehicles, goods on it count little; yard: ground without marked places, on "
               "which goods may stand anywhere"),
        Column("asset_id", _ref("assets"), "stock lot that stands here; empty when none is assigned", ""),
        Column("capacity", Number(0, 1e9), "amount of the lot's commodity that one full slot holds", 0.0),
    )),
    FileSpec("devices.csv", "devices", Device, ("device_id",), "Sensors, meters, trackers: one MQTT identity each.", (
        Column("device_id", _ID, "own id, also in the MQTT topic"),
        Column("site_id", _ref("sites"), "where it is"),
        Column("asset_id", _ref("assets"), "what it measures; empty for the site as a whole", ""),
        Column("model", Text(), "make and model", ""),
        Column("owner", Choice(("borrower", "bank", "third_party")), "who can tamper with it"),
        Column("quantities", Words(tuple(READING_QUANTITIES)), "what it reports"),
        Column("interval_s", Number(0.1, 604_800), "expected seconds between messages"),
        Column("gateway_id", _ID, "gateway through which it publishes; empty when it has its own line", ""),
    )),
    FileSpec("prices.csv", "prices", Price, ("commodity", "currency", "valid_from"),
             "Prices of commodities, each from a day on.", (
        Column("commodity", Text(64), "key that assets use"),
        Column("currency", Currency(), "of the price"),
        Column("unit", Text(32),
               "what the price is for, e.g. t; scales verify what is priced per t or kg (tonne, 吨, 公吨, 千克, 公斤)"),
        Column("price", Amount(6, 0, 1e13), "currency per unit"),
        Column("haircut", Amount(4, 0, 1), "fraction the bank takes off"),
        Column("valid_from", Day(), "first day of this price"),
    )),
    FileSpec("links.csv", "links", Link, ("from_borrower_id", "to_borrower_id", "kind"), "Relations between borrowers.", (
        Column("from_borrower_id", _ref("borrowers"), "guarantor, supplier or parent"),
        Column("to_borrower_id", _ref("borrowers"), "who is guaranteed, supplied or held"),
        Column("kind", Choice(("guarantee", "supply", "group")), "what it is"),
        Column("amount", _MONEY, "empty when there is none", None),
        Column("currency", Currency(), "of the amount", ""),
    )),
    FileSpec("users.csv", "users", User, ("username",),
             "People who sign in; passwords are set by `collateral user password`.", (
        Column("username", _ID, "own id"),
        Column("display_name", Text(), "for people"),
        Column("role", Choice(("officer", "risk", "operator", "auditor", "admin")), "what the person may do"),
        Column("branch", Text(64), "branch whose loans the person sees; empty for all", ""),
        Column("locale", Choice(("zh", "en")), "language", "zh"),
    )),
    FileSpec("holidays.csv", "holidays", Holiday, ("calendar", "day"),
             "Days off, on which little is going on and nothing is wrong. The file may be missing: the stored days stay; "
             "one with only its header line ends them all.", (
        Column("calendar", Text(16), "which calendar, e.g. CN"),
        Column("day", Day(), "the day off"),
        Column("name", Text(), "for people"),
    ), optional=True),
)


def schema_json() -> list[dict[str, object]]:
    """Every file and column, for `portfolio schema --json`."""
    return [
        {
            "file": spec.name,
            "purpose": spec.purpose,
            "key": list(spec.key),
            "columns": [
                {"name": one.name, "required": one.required, "allowed": one.kind.says, "meaning": one.meaning}
                for one in spec.columns
            ],
        }
        for spec in FILES
    ]


_PREAMBLE = """# Files of a portfolio

A portfolio is a folder of these files. All but holidays.csv must be there; one that holds nothing keeps its header line
(CSV) or an empty `features` list (GeoJSON). CSV is UTF-8, with a header line; comma, semicolon or tab between the cells.
A byte order mark may stand before it; the export writes one, for Excel.
A cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-` or `@`) is written with an apostrophe before
it, which is left out when it is read.
The GeoJSON files say which coordinate system they are in, in a top-level member `"coordinate_system"`: `"WGS84"`, `"GCJ02"`
(AMap, Tencent) or `"BD09"` (Baidu), or by a GeoJSON `crs` member that names an EPSG code. Maps bought in China are usually
GCJ02 or BD09, which lie hundreds of metres off: both are converted on import, and the export is always WGS84.

The folder is the whole portfolio: what is no longer in it is ended; only a missing holidays.csv leaves what is stored as it
is. Nothing is overwritten; every change is a new revision.
This page is printed by `collateral portfolio schema`.
"""


def schema_text() -> str:
    """The same as a Markdown page."""
    lines = [_PREAMBLE]
    for spec in FILES:
        lines += [f"## {spec.name}", "", f"{spec.purpose} Key: {', '.join(f'`{name}`' for name in spec.key)}.", ""]
        lines += ["| column | may be empty | allowed | meaning |", "|---|---|---|---|"]
        for one in spec.columns:
            lines.append(f"| `{one.name}` | {'no' if one.required else 'yes'} | {one.kind.says} | {one.meaning} |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"
