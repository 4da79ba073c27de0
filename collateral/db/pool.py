"""A pool of psycopg2 connections that act under one of the schema's roles."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.login import open_connection, outage
from collateral.db.migrate import available
from collateral.errors import CollateralError, ServiceError


class Role(StrEnum):
    """Database roles; the rights of each are in migrations/0001."""

    OWNER = "cw_owner"
    INGEST = "cw_ingest"
    APP = "cw_app"
    OFFICER = "cw_officer"


@dataclass(frozen=True)
class PoolStats:
    """Counters of one pool."""

    role: str
    size: int
    idle: int
    in_use: int
    opened: int
    broken: int


class Connections(Protocol):
    """Whatever gives a connection for one transaction, or for a part of one."""

    def connection(self) -> AbstractContextManager[Connection]:
        """Committed when the block ends, rolled back when it raises."""


class Pool:
    """Hands out connections, at most `size` at a time, each with `SET ROLE` and UTC.

    A connection is committed when its block ends, rolled back when it raises, and replaced when the server went away:
    one that lay idle for `check_after_s` is asked first, so that a restarted server costs nobody an error.
    """

    def __init__(
        self, url: str, role: Role = Role.APP, size: int = 4, wait_s: float = 30.0, check_after_s: float = 5.0
    ) -> None:
        self._url = url
        self._role = role
        self._size = size
        self._wait_s = wait_s
        self._check_after_s = check_after_s
        self._condition = threading.Condition()
        self._idle: list[tuple[Connection, float]] = []
        """With the monotonic time of their return."""
        self._in_use = 0
        self._opened = 0
        self._broken = 0

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """One transaction.

        Raises:
            ServiceError: no connection became free in time; the server does not answer, went away, has no room or takes no
                changes; or its schema is older than this release.
        """
        held = self._take()
        try:
            yield held
            held.commit()
        except BaseException:
            if not held.closed:
                with suppress(psycopg2.Error):  # the connection may have died with the statement: the first error is told
                    held.rollback()
            with in_words(held):
                raise
        finally:
            self._give(held)

    def stats(self) -> PoolStats:
        """Counters since the pool was made."""
        with self._condition:
            return PoolStats(self._role, self._size, len(self._idle), self._in_use, self._opened, self._broken)

    def close(self) -> None:
        """Closes the idle connections."""
        with self._condition:
            for held, _ in self._idle:
                held.close()
            self._idle.clear()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take(self) -> Connection:
        deadline = time.monotonic() + self._wait_s
        with self._condition:
            while self._in_use >= self._size:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise ServiceError(
                        f"All {self._size} connections of the {self._role} pool were busy for {self._wait_s:.0f} s; "
                        "make the pool larger or the queries shorter."
                    )
                self._condition.wait(remaining)
            self._in_use += 1
        try:
            return self._rested() or self._open()
        except BaseException:
            with self._condition:
                self._in_use -= 1
                self._condition.notify()
            raise

    def _rested(self) -> Connection | None:
        """An idle connection that still works; those that do not are dropped."""
        while True:
            with self._condition:
                if not self._idle:
                    return None
                held, since = self._idle.pop()
            if time.monotonic() - since < self._check_after_s or _alive(held):
                return held
            held.close()
            with self._condition:
                self._broken += 1

    def _open(self) -> Connection:
        held = connect(self._url, self._role)
        with self._condition:
            self._opened += 1
        return held

    def _give(self, held: Connection) -> None:
        with self._condition:
            self._in_use -= 1
            if held.closed:
                self._broken += 1
            else:
                self._idle.append((held, time.monotonic()))
            self._condition.notify()


def _alive(held: Connection) -> bool:
    try:
        with held.cursor() as cursor:
            cursor.execute("SELECT 1")
        held.rollback()
    except psycopg2.Error:
        return False
    return True


def connect(url: str, role: Role) -> Connection:
    """One connection acting as `role`, in UTC. The login behind `url` must be a member of the role."""
    held = open_connection(url, f"collateral {role}")
    try:
        with held, held.cursor() as cursor:
            cursor.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role.value)))
            cursor.execute("SET TIME ZONE 'UTC'")
    except psycopg2.Error as error:
        told = outage(error, bool(held.closed))
        held.close()
        if told is None and error.pgcode in _NO_ROLE:
            told = ServiceError(
                f"The login of COLLATERAL_DATABASE_URL may not act as {role} ({str(error).strip()}): run `collateral "
                f"database migrate` with the login that owns the schema, or let that one say GRANT {role} TO this login."
            )
        if told is not None:
            raise told from error
        raise
    return held


_NO_ROLE = ("42501", "22023")
"""SQLSTATEs of a role that may not be set, and of one that does not exist."""
_NOT_THERE = (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn, psycopg2.errors.UndefinedFunction)


@contextmanager
def in_words(held: Connection) -> Iterator[None]:
    """Tells what is no fault of a statement as the state of the database and its remedy; other errors stay as they are.

    Raises:
        ServiceError: the server went away, has no room or takes no changes; or its schema is older than this release.
    """
    try:
        yield
    except psycopg2.Error as error:
        told = outage(error, bool(held.closed)) or _behind(error, held)
        if told is not None:
            raise told from error
        raise


def _behind(error: psycopg2.Error, held: Connection) -> CollateralError | None:
    """Where something is missing because the schema was not migrated; leaves `held` closed then."""
    if not isinstance(error, _NOT_THERE):
        return None
    newest, version = available()[-1].version, 0
    # Outside a transaction, or in one that was rolled back; nobody may go on under the rights of the login.
    with closing(held), suppress(psycopg2.Error), held.cursor() as cursor:
        cursor.execute("RESET ROLE")
        cursor.execute("SELECT coalesce(max(version), 0) FROM schema_migration")
        version = int((cursor.fetchone() or (0,))[0])
    if version >= newest:
        return None
    has = f"is at {version:04d}, this release needs {newest:04d}" if version else "is not there yet"
    return ServiceError(f"The schema of the database {has}; run `collateral database migrate`.")


def fetch_dicts(held: Connection, query: str | sql.Composable, parameters: Any = None) -> list[dict[str, Any]]:
    """Rows of `query` as dictionaries, for mapping to frozen dataclasses by keyword."""
    with held.cursor() as cursor:
        cursor.execute(query, parameters)
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
