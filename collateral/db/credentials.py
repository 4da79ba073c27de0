"""Password hashes of the people in `app_user`, failed attempts and locks. Not versioned: no old hash stays behind."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts
from collateral.errors import InvalidInputError

MOST_FAILURES = 5
LOCKED_FOR = timedelta(minutes=15)


@dataclass(frozen=True)
class Credential:
    """What is kept of one person's password."""

    username: str
    password_hash: str
    """As `collateral.passwords` writes it."""
    failed_attempts: int
    """In a row, since the last success."""
    locked_until: datetime | None


def set_password_hash(connection: Connection, username: str, password_hash: str) -> None:
    """Replaces the hash, forgets failures and lifts a lock.

    Raises:
        InvalidInputError: no such person.
    """
    known = [row["username"] for row in fetch_dicts(connection, "SELECT username FROM app_user ORDER BY username")]
    if username not in known:
        some = ", ".join(known[:20]) or "nobody yet: import a portfolio first"
        raise InvalidInputError(f"There is no user {username!r}; known are {some}.")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO credential (username, password_hash) VALUES (%s, %s) ON CONFLICT (username) DO UPDATE"
            " SET password_hash = excluded.password_hash, changed_at = now(), failed_attempts = 0, locked_until = NULL",
            (username, password_hash),
        )


def credential(connection: Connection, username: str) -> Credential | None:
    """The stored hash of a person who is still in the portfolio; None when there is none."""
    rows = fetch_dicts(
        connection,
        "SELECT username, password_hash, failed_attempts, locked_until FROM credential JOIN app_user USING (username)"
        " WHERE username = %s",
        (username,),
    )
    return Credential(**rows[0]) if rows else None


def note_sign_in(connection: Connection, username: str, succeeded: bool) -> None:
    """Counts a failed attempt, locking for a quarter of an hour at the fifth in a row; a success forgets them."""
    with connection.cursor() as cursor:
        if succeeded:
            cursor.execute(
                "UPDATE credential SET failed_attempts = 0, locked_until = NULL WHERE username = %s", (username,)
            )
            return
        cursor.execute(
            "UPDATE credential SET failed_attempts = failed_attempts + 1, locked_until ="
            " CASE WHEN failed_attempts + 1 >= %(most)s THEN now() + %(time)s ELSE locked_until END"
            " WHERE username = %(username)s",
            {"most": MOST_FAILURES, "time": LOCKED_FOR, "username": username},
        )
