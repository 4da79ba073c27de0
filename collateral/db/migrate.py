"""Ordered, forward-only migrations: `migrations/NNNN_name.sql`, each in one transaction, checksummed once applied."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import psycopg2
import psycopg2.errors

from collateral.db.login import open_connection, outage
from collateral.errors import IntegrityError, ServiceError

_NAME = re.compile(r"^(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql$")
_LOCK_KEY = 7_203_511


@dataclass(frozen=True)
class Migration:
    """One SQL file."""

    version: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Checksum of the text, line ends normalised."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


def available() -> tuple[Migration, ...]:
    """The migrations shipped with the package, in order.

    Raises:
        IntegrityError: a version number is missing or used twice.
    """
    found: list[Migration] = []
    for entry in resources.files("collateral.db.migrations").iterdir():
        match = _NAME.match(entry.name)
        if match:
            found.append(Migration(int(match["version"]), match["name"], entry.read_text(encoding="utf-8")))
    found.sort(key=lambda migration: migration.version)
    for position, migration in enumerate(found, start=1):
        if migration.version != position:
            raise IntegrityError(
                f"Migration {migration.version:04d}_{migration.name} stands where {position:04d} was expected: "
                "numbers must run without gap or double; rename the file."
            )
    return tuple(found)


def migrate(url: str, migrations: Sequence[Migration] | None = None) -> tuple[str, ...]:
    """Brings the database at `url` to the newest version; returns the names applied now (empty when up to date).

    Safe to call from several processes at once: an advisory lock makes the others wait.

    Raises:
        IntegrityError: an applied file was edited afterwards, or the database is newer than this program.
        ServiceError: the server does not answer or goes away, or the login lacks the rights.
    """
    known = available() if migrations is None else tuple(migrations)
    connection = open_connection(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS schema_migration (version integer PRIMARY KEY, name text NOT NULL,"
                " sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            cursor.execute("SELECT version, name, sha256 FROM schema_migration ORDER BY version")
            applied = {int(version): (str(name), str(sha256)) for version, name, sha256 in cursor.fetchall()}
        _check_history(known, applied)
        done: list[str] = []
        for migration in known:
            if migration.version in applied:
                continue
            with connection, connection.cursor() as cursor:
                cursor.execute(migration.sql)
                cursor.execute(
                    "INSERT INTO schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.sha256),
                )
            done.append(f"{migration.version:04d}_{migration.name}")
        return tuple(done)
    except psycopg2.Error as error:
        told = outage(error, bool(connection.closed))
        if told is None and isinstance(error, psycopg2.errors.InsufficientPrivilege):
            told = ServiceError(
                f"The login of COLLATERAL_DATABASE_URL may not change the schema ({str(error).splitlines()[0]}): use the "
                "one that owns it; the first time it also needs the right to create roles and the extension timescaledb."
            )
        if told is not None:
            raise told from error
        raise
    finally:
        connection.close()  # also releases the session's advisory lock


def _check_history(known: Sequence[Migration], applied: dict[int, tuple[str, str]]) -> None:
    by_version = {migration.version: migration for migration in known}
    for version, (name, sha256) in applied.items():
        migration = by_version.get(version)
        if migration is None:
            raise IntegrityError(
                f"The database has migration {version:04d}_{name}, which this program does not know: "
                "it was made by a newer release; upgrade the program."
            )
        if migration.sha256 != sha256:
            raise IntegrityError(
                f"Migration {version:04d}_{name} was edited after it was applied (checksum {migration.sha256[:12]}, "
                f"applied {sha256[:12]}): restore the file and put the change into a new migration."
            )
