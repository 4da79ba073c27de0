"""Opening connections, and what a database that fails is told as: the value, the state and the remedy, no secret in it."""

from __future__ import annotations

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.errors import CollateralError, InvalidInputError, ServiceError

_REFUSED = ("authentication failed", "does not exist", "pg_hba.conf", "no password supplied", "not permitted to log in")
"""The server answers, and will say the same next time."""
_UNREADABLE = ("invalid integer value", "invalid port number", "invalid sslmode")
_RESOURCES = "53"
"""Class of the SQLSTATEs for a full disk, too little memory, too many connections."""
_READ_ONLY = "25006"


def open_connection(url: str, application: str = "collateral") -> Connection:
    """A connection as the login of `url`; `application` names it in the server's own lists.

    Raises:
        InvalidInputError: the address cannot be read; it is not repeated, a password may be in it.
        ServiceError: the server does not answer, or does not let the login in.
    """
    try:
        return psycopg2.connect(url, connect_timeout=10, application_name=application)
    except psycopg2.ProgrammingError:
        raise InvalidInputError(
            "COLLATERAL_DATABASE_URL cannot be read as an address: write a % of the password as %25, other signs of it as "
            "%40 and so on, and behind a ? only options that libpq has."
        ) from None
    except psycopg2.OperationalError as error:
        text = " ".join(str(error).split())
        if any(sign in text for sign in _UNREADABLE):
            raise InvalidInputError(f"COLLATERAL_DATABASE_URL cannot be read as an address ({text}); correct it.") from error
        if any(sign in text for sign in _REFUSED):
            raise ServiceError(
                f"The database refuses the connection ({text}); correct user, password or name in COLLATERAL_DATABASE_URL."
            ) from error
        raise ServiceError(
            f"The database does not answer ({text}); start it and try again, or correct COLLATERAL_DATABASE_URL."
        ) from error


def outage(error: BaseException, broken: bool) -> CollateralError | None:
    """What to tell of a statement that failed for no fault of its own; None of any other error.

    Args:
        error: what was raised.
        broken: the connection is gone.
    """
    if not isinstance(error, psycopg2.Error):
        return None
    said = " ".join(str(error).split())
    if broken and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        return ServiceError(
            f"The database went away in the middle of the work ({said}); what was committed is kept, the rest is undone. "
            "When it answers again, run the command again."
        )
    state = error.pgcode or ""
    if state.startswith(_RESOURCES):
        return ServiceError(
            f"The database cannot go on ({said}); what was committed is kept, the rest is undone. Make room on its machine "
            "and run the command again."
        )
    if state == _READ_ONLY:
        return ServiceError(
            f"The database takes no changes ({said}): it is a standby or was set to read only. Name the one that writes in "
            "COLLATERAL_DATABASE_URL."
        )
    return None
