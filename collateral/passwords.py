"""Password hashes: scrypt (RFC 7914), its parameters and a random salt kept in the text, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db import credentials
from collateral.errors import InvalidInputError

SHORTEST = 10
_N, _R, _P = 2**14, 8, 1
"""16 MiB and about 50 ms, the interactive parameters of scrypt's author; kept in each hash, so they can be raised later."""
_LENGTH = 32
_MOST_MEMORY = 64 * 1024 * 1024


def check_strength(password: str) -> None:
    """Refuses what is too short to keep.

    Raises:
        InvalidInputError: fewer than 10 characters.
    """
    if len(password) < SHORTEST:
        raise InvalidInputError(f"The password has {len(password)} characters; use at least {SHORTEST}.")


def hash_password(password: str) -> str:
    """`scrypt$N$r$p$salt$key`, salt and key in base64."""
    salt = secrets.token_bytes(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, dklen=_LENGTH, maxmem=_MOST_MEMORY)
    return "$".join(["scrypt", str(_N), str(_R), str(_P), *(base64.b64encode(one).decode() for one in (salt, key))])


def verify_password(password: str, stored: str | None) -> bool:
    """True when `password` made `stored`. With None (no such person) the same time is spent and the answer is False."""
    if stored is None:
        hash_password(password)
        return False
    try:
        name, n, r, p, salt, key = stored.split("$")
        expected = base64.b64decode(key, validate=True)
        made = hashlib.scrypt(
            password.encode(), salt=base64.b64decode(salt, validate=True), n=int(n), r=int(r), p=int(p),
            dklen=len(expected), maxmem=_MOST_MEMORY,
        )
    except (ValueError, binascii.Error):
        return False
    return name == "scrypt" and hmac.compare_digest(made, expected)


def set_password(connection: Connection, username: str, password: str) -> None:
    """Keeps the hash of `password` for a person of the portfolio.

    Raises:
        InvalidInputError: the password is too short, or there is no such person.
    """
    check_strength(password)
    credentials.set_password_hash(connection, username, hash_password(password))


def generate_password() -> str:
    """Four groups of five unmistakable letters and digits: 98 bits."""
    alphabet = "23456789abcdefghijkmnpqrstuvwxyz"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(5)) for _ in range(4))
