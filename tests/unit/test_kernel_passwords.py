"""Password hashes."""

from __future__ import annotations

import pytest

from collateral.errors import InvalidInputError
from collateral.passwords import check_strength, generate_password, hash_password, verify_password


def test_only_the_same_password_verifies() -> None:
    stored = hash_password("correct horse 电池")
    assert verify_password("correct horse 电池", stored)
    assert not verify_password("correct horse 电", stored)
    assert "horse" not in stored and stored.startswith("scrypt$16384$8$1$")


def test_the_same_password_is_stored_differently_each_time() -> None:
    assert hash_password("correct horse") != hash_password("correct horse")


@pytest.mark.parametrize(
    "stored", [None, "", "scrypt$1$2", "plain$16384$8$1$AA==$AA==", "scrypt$x$8$1$AA==$AA==", "scrypt$2$8$1$?$?"]
)
def test_nothing_verifies_against_what_is_no_hash(stored: str | None) -> None:
    assert not verify_password("anything at all", stored)


def test_short_passwords_are_refused_and_made_ones_are_not() -> None:
    with pytest.raises(InvalidInputError, match="at least 10"):
        check_strength("hunter2")
    made = {generate_password() for _ in range(50)}
    assert len(made) == 50
    for one in made:
        check_strength(one)
