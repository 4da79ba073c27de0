"""Versioned reference data: borrowers, loans, sites, assets, slots, devices, prices, links, people, policies, models.

Rows map to the frozen dataclasses of `collateral.domain` by field name. Nothing is ever changed: `write_portfolio` compares
what it is given with the latest revisions inside the database and appends a revision only where the content differs; what
is no longer there gets a revision marked deleted. Readers take `as_known`: None means what holds now, a time means what was
known then. Geometry is stored as WKB with bounding-box columns for sites.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

import orjson
import shapely
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812
from shapely.geometry.base import BaseGeometry

from collateral.db.pool import fetch_dicts
from collateral.domain import (
    Asset,
    AssetKind,
    Borrower,
    Device,
    Holiday,
    Link,
    Loan,
    LoanSite,
    Portfolio,
    Price,
    Site,
    SiteKind,
    Slot,
    User,
)
from collateral.errors import IntegrityError, InvalidInputError

T = TypeVar("T")

_WRITE_LOCK = 7_203_515
"""Advisory lock: two imports at the same moment would count the same revision numbers. No other module's number."""


def _geometry(value: object) -> BaseGeometry:
    assert isinstance(value, (bytes, memoryview))
    read: BaseGeometry = shapely.from_wkb(bytes(value))
    return read


def _geometry_or_none(value: object) -> BaseGeometry | None:
    return None if value is None else _geometry(value)


def _texts(value: object) -> tuple[str, ...]:
    assert isinstance(value, list)
    return tuple(str(item) for item in value)


_MANY_REMOVED = 5

_BOX = ("lon_min", "lat_min", "lon_max", "lat_max")


@dataclass(frozen=True)
class Table(Generic[T]):
    """How one dataclass lies in the database: `NAME_version`, `NAME` (view) and `NAME_as_known(time)`."""

    name: str
    part: str
    """Field of `Portfolio`."""
    row: type[T]
    key: tuple[str, ...]
    readers: Mapping[str, Callable[[Any], object]] = field(default_factory=dict)
    """Column -> conversion from the driver's value, where it is not the field's own type."""
    boxed: bool = False
    """True when the bounds of `geometry` are written too, as columns that a search can use."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the dataclass fields."""
        return tuple(one.name for one in fields(self.row))  # type: ignore[arg-type]


BORROWER = Table("borrower", "borrowers", Borrower, ("borrower_id",))
LOAN = Table("loan", "loans", Loan, ("loan_id",))
SITE = Table("site", "sites", Site, ("site_id",), {"kind": SiteKind, "geometry": _geometry}, boxed=True)
LOAN_SITE = Table("loan_site", "loan_sites", LoanSite, ("loan_id", "site_id"))
ASSET = Table("asset", "assets", Asset, ("asset_id",), {"kind": AssetKind, "corridor": _geometry_or_none})
SLOT = Table("slot", "slots", Slot, ("slot_id",), {"geometry": _geometry})
DEVICE = Table("device", "devices", Device, ("device_id",), {"quantities": _texts})
PRICE = Table("price", "prices", Price, ("commodity", "currency", "valid_from"))
LINK = Table("link", "links", Link, ("from_borrower_id", "to_borrower_id", "kind"))
USER = Table("app_user", "users", User, ("username",))
HOLIDAY = Table("holiday", "holidays", Holiday, ("calendar", "day"))

TABLES: tuple[Table[Any], ...] = (BORROWER, LOAN, SITE, LOAN_SITE, ASSET, SLOT, DEVICE, PRICE, LINK, USER, HOLIDAY)


def borrowers(connection: Connection, as_known: datetime | None = None) -> list[Borrower]:
    """Companies, by id."""
    return _read(connection, BORROWER, as_known)


def loans(connection: Connection, as_known: datetime | None = None) -> list[Loan]:
    """Facilities, by id."""
    return _read(connection, LOAN, as_known)


def sites(connection: Connection, as_known: datetime | None = None) -> list[Site]:
    """Monitored places, by id; geometry in WGS 84."""
    return _read(connection, SITE, as_known)


def require_site(connection: Connection, site_id: str) -> None:
    """Nothing, where the site is or ever was in the portfolio: lists of one that left it are answered too.

    Raises:
        InvalidInputError: it never was.
    """
    if not fetch_dicts(connection, "SELECT 1 FROM site_version WHERE site_id = %s LIMIT 1", (site_id,)):
        raise InvalidInputError(f"Site {site_id} is not in the portfolio; import it, or name a site that is.")


def loan_sites(connection: Connection, as_known: datetime | None = None) -> list[LoanSite]:
    """Which site secures which loan, by loan and site."""
    return _read(connection, LOAN_SITE, as_known)


def assets(connection: Connection, as_known: datetime | None = None) -> list[Asset]:
    """Pledged things, by id."""
    return _read(connection, ASSET, as_known)


def slots(connection: Connection, as_known: datetime | None = None) -> list[Slot]:
    """Storage places, by id; geometry in WGS 84."""
    return _read(connection, SLOT, as_known)


def devices(connection: Connection, as_known: datetime | None = None) -> list[Device]:
    """MQTT identities, by id."""
    return _read(connection, DEVICE, as_known)


def prices(connection: Connection, as_known: datetime | None = None) -> list[Price]:
    """Prices, by commodity, currency and the date they hold from."""
    return _read(connection, PRICE, as_known)


def links(connection: Connection, as_known: datetime | None = None) -> list[Link]:
    """Relations between borrowers."""
    return _read(connection, LINK, as_known)


def users(connection: Connection, as_known: datetime | None = None) -> list[User]:
    """People who may sign in, by name."""
    return _read(connection, USER, as_known)


def holidays(connection: Connection, as_known: datetime | None = None) -> list[Holiday]:
    """Days off, by calendar and day."""
    return _read(connection, HOLIDAY, as_known)


def portfolio(connection: Connection, as_known: datetime | None = None) -> Portfolio:
    """Everything at once, each part ordered by its key."""
    return Portfolio(**{table.part: tuple(_read(connection, table, as_known)) for table in TABLES})


def revisions(connection: Connection, part: str, as_known: datetime | None = None) -> dict[str, int]:
    """Latest revision of each object of one part of the portfolio, for scores that store what they used.

    Args:
        connection: an open transaction.
        part: field of `Portfolio`, e.g. `"sites"`.
        as_known: None for now.

    Returns:
        Key to revision; keys of several columns are joined by `|`.
    """
    table = next((one for one in TABLES if one.part == part), None)
    if table is None:
        raise InvalidInputError(f"Part {part!r} is unknown; use one of {', '.join(one.part for one in TABLES)}.")
    rows = fetch_dicts(connection, *_select(table, (*table.key, "revision"), as_known))
    return {"|".join(str(row[name]) for name in table.key): int(row["revision"]) for row in rows}


def hold_portfolio(connection: Connection) -> None:
    """Nobody else writes the portfolio until this transaction ends; for who reads it and writes it back."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_WRITE_LOCK,))


def write_portfolio(
    connection: Connection, given: Portfolio, known_at: datetime, by: str, allow_removal: bool = True,
    untouched: Collection[str] = (),
) -> dict[str, int]:  # fmt: skip
    """Makes `given` the whole portfolio: appends revisions for what is new, changed or gone; writes nothing else.

    Sites touched by a change are marked in `dirty_site`, so that they are scored again.

    Args:
        connection: an open transaction; all or nothing is the caller's commit.
        given: the full portfolio; what is missing from it is ended.
        known_at: when the bank's system knew this, at most now.
        by: who did it.
        allow_removal: False refuses to end more than half of a part at once (five or more): a wrong folder would.
        untouched: parts of which `given` says nothing; what is stored of them stays.

    Returns:
        Revisions written per part of the portfolio, and under `deleted` how many of them end an object.

    Raises:
        InvalidInputError: `known_at` has no zone, lies in the future, or before the known_at of a revision it would follow;
            too much would be removed.
    """
    if known_at.tzinfo is None:
        raise InvalidInputError(f"known_at {known_at.isoformat()} names no time zone; add one, e.g. a trailing Z.")
    if known_at > datetime.now(UTC):
        raise InvalidInputError(f"known_at {known_at.isoformat()} lies in the future; nothing can be known then already.")
    hold_portfolio(connection)
    written: dict[str, int] = {}
    deleted = 0
    for table in TABLES:
        if table.part in untouched:
            written[table.part] = 0
            continue
        total, ended = _write_part(connection, table, getattr(given, table.part), known_at, by)
        if not allow_removal:
            _check_removal(connection, table, ended)
        written[table.part] = total
        deleted += ended
    if any(written.values()):
        _mark_dirty(connection)
    return {**written, "deleted": deleted}


def write_policy(connection: Connection, version: str, sha256: str, body: str, by: str = "collateral") -> bool:
    """Keeps the text of a policy under its version; returns False when it is there already.

    Raises:
        IntegrityError: another text was kept under the same version: scores that name it could not be replayed.
    """
    found = fetch_dicts(connection, "SELECT sha256 FROM policy WHERE policy_version = %s", (version,))
    if found:
        if found[0]["sha256"] != sha256:
            raise IntegrityError(
                f"Policy {version!r} is stored with checksum {found[0]['sha256'][:12]}, given is {sha256[:12]}: "
                "give the changed policy a new version."
            )
        return False
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO policy_version (policy_version, revision, recorded_by, sha256, body) VALUES (%s, 1, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (version, by, sha256, body),
        )
        return cursor.rowcount == 1


def policy_body(connection: Connection, version: str) -> str:
    """Text of the policy kept under `version`.

    Raises:
        InvalidInputError: there is none.
    """
    found = fetch_dicts(connection, "SELECT body FROM policy WHERE policy_version = %s", (version,))
    if not found:
        raise InvalidInputError(f"Policy {version!r} is not stored; score once with it, or name a stored version.")
    return str(found[0]["body"])


def write_model(
    connection: Connection, name: str, sha256: str, card: Mapping[str, object], by: str = "collateral"
) -> bool:
    """Keeps the card of the weights `sha256` of detector `name`; returns False when the same card is there already."""
    text = orjson.dumps(dict(card), default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO model_version (name, sha256, revision, recorded_by, card)
            SELECT %(name)s, %(sha256)s, coalesce(max(revision), 0) + 1, %(by)s, %(card)s::jsonb
            FROM model_version WHERE name = %(name)s AND sha256 = %(sha256)s
            HAVING NOT EXISTS (
                SELECT FROM model WHERE name = %(name)s AND sha256 = %(sha256)s AND card = %(card)s::jsonb)
            ON CONFLICT DO NOTHING
            """,
            {"name": name, "sha256": sha256, "by": by, "card": text},
        )
        return cursor.rowcount == 1


def _select(table: Table[T], columns: Sequence[str], as_known: datetime | None) -> tuple[sql.Composed, tuple[object, ...]]:
    source: sql.Composable = sql.Identifier(table.name)
    parameters: tuple[object, ...] = ()
    if as_known is not None:
        source = sql.SQL("{}(%s)").format(sql.Identifier(f"{table.name}_as_known"))
        parameters = (as_known,)
    query = sql.SQL("SELECT {} FROM {} ORDER BY {}").format(_names(columns), source, _names(table.key))
    return query, parameters


def _names(columns: Iterable[str], prefix: str | None = None) -> sql.Composed:
    if prefix is None:
        return sql.SQL(", ").join(sql.Identifier(name) for name in columns)
    return sql.SQL(", ").join(sql.Identifier(prefix, name) for name in columns)


def _read(connection: Connection, table: Table[T], as_known: datetime | None) -> list[T]:
    rows = fetch_dicts(connection, *_select(table, table.columns, as_known))
    for row in rows:
        for column, convert in table.readers.items():
            row[column] = convert(row[column])
    return [table.row(**row) for row in rows]


_APPEND = """
WITH latest AS (
    SELECT DISTINCT ON ({key}) * FROM {versions} ORDER BY {key}, revision DESC
), change AS (
    SELECT {staged}, coalesce(l.revision, 0) + 1 AS revision, false AS deleted
    FROM {stage} s LEFT JOIN latest l USING ({key})
    WHERE l.revision IS NULL OR l.deleted OR ({staged}) IS DISTINCT FROM ({held})
    UNION ALL
    SELECT {held}, l.revision + 1, true
    FROM latest l LEFT JOIN {stage} s USING ({key})
    WHERE NOT l.deleted AND s.present IS NULL
), appended AS (
    INSERT INTO {versions} ({columns}, revision, deleted, known_at, recorded_by)
    SELECT {columns}, revision, deleted, %(known_at)s, %(by)s FROM change
    RETURNING deleted
)
SELECT count(*), count(*) FILTER (WHERE deleted) FROM appended
"""

_OUT_OF_ORDER = """
SELECT concat_ws('|', {new_key}), earlier.known_at
FROM {versions} new JOIN {versions} earlier USING ({key})
WHERE new.recorded_at = now() AND earlier.revision = new.revision - 1 AND earlier.known_at > new.known_at
ORDER BY 1 LIMIT 1
"""


def _write_part(
    connection: Connection, table: Table[T], rows: Sequence[T], known_at: datetime, by: str
) -> tuple[int, int]:
    columns = (*table.columns, *(_BOX if table.boxed else ()))
    stage = sql.Identifier(f"stage_{table.name}")
    versions = sql.Identifier(f"{table.name}_version")
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {}, true AS present FROM {} WITH NO DATA"
            ).format(stage, _names(columns), versions)
        )
        cursor.copy_expert(sql.SQL("COPY {} FROM STDIN").format(stage), _copy_text(table, rows))
        parts = {
            "key": _names(table.key),
            "versions": versions,
            "stage": stage,
            "columns": _names(columns),
            "staged": _names(columns, "s"),
            "held": _names(columns, "l"),
            "new_key": _names(table.key, "new"),
        }
        cursor.execute(sql.SQL(_APPEND).format(**parts), {"known_at": known_at, "by": by})
        counted = cursor.fetchone()
        assert counted is not None
        cursor.execute(sql.SQL("DROP TABLE {}").format(stage))
        cursor.execute(sql.SQL(_OUT_OF_ORDER).format(**parts))
        late = cursor.fetchone()
    if late is not None:
        raise InvalidInputError(
            f"{table.part}: {late[0]!r} has a revision known at {late[1].isoformat()}, after {known_at.isoformat()}: "
            "import history in the order in which it became known, or name a later time."
        )
    return int(counted[0]), int(counted[1])


def _check_removal(connection: Connection, table: Table[T], ended: int) -> None:
    if ended < _MANY_REMOVED:
        return
    query = sql.SQL("SELECT count(*) AS n FROM {} WHERE recorded_at < now()").format(sql.Identifier(table.name))
    left = int(fetch_dicts(connection, query)[0]["n"])
    changed = sql.SQL("SELECT count(*) AS n FROM {} WHERE recorded_at = now() AND revision > 1").format(
        sql.Identifier(table.name)
    )
    left += int(fetch_dicts(connection, changed)[0]["n"])
    if ended > left:
        raise InvalidInputError(
            f"The import would end {ended} of {ended + left} {table.part} that are there now; is it the right folder? "
            "If it is meant, import with --allow-removal."
        )


def _copy_text(table: Table[T], rows: Sequence[T]) -> io.StringIO:
    names = table.columns
    lines = []
    for row in rows:
        values = [getattr(row, name) for name in names]
        if table.boxed:
            values += row.geometry.bounds  # type: ignore[attr-defined]
        lines.append("\t".join([*map(_copy_value, values), "t\n"]))
    return io.StringIO("".join(lines))


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_value(value: object) -> str:
    """One field in PostgreSQL's COPY text format; floats by repr, which is exact."""
    if value is None:
        return "\\N"
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, StrEnum):
        return str(value.value)
    if isinstance(value, BaseGeometry):
        return "\\\\x" + value.wkb_hex
    if isinstance(value, tuple):
        quoted = ('"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"' for item in value)
        return ("{" + ",".join(quoted) + "}").translate(_ESCAPES)
    return str(value).translate(_ESCAPES)


_MARK_DIRTY = """
WITH touched AS (
    SELECT site_id FROM site_version WHERE recorded_at = now()
    UNION SELECT site_id FROM asset_version WHERE recorded_at = now()
    UNION SELECT site_id FROM slot_version WHERE recorded_at = now()
    UNION SELECT site_id FROM device_version WHERE recorded_at = now()
    UNION SELECT site_id FROM loan_site_version WHERE recorded_at = now()
    UNION SELECT ls.site_id FROM loan_site ls JOIN loan_version l USING (loan_id) WHERE l.recorded_at = now()
    UNION SELECT a.site_id FROM asset a JOIN price_version p USING (commodity) WHERE p.recorded_at = now()
)
INSERT INTO dirty_site (site_id, reason)
SELECT site_id, 'portfolio' FROM touched JOIN site USING (site_id)
ON CONFLICT (site_id) DO UPDATE SET marked_at = now(), reason = 'portfolio'
"""


def _mark_dirty(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_MARK_DIRTY)
