"""The shipped migrations: numbered without gaps, checksums that do not depend on line ends."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from collateral.db import migrate
from collateral.db.migrate import Migration, available
from collateral.errors import IntegrityError


def test_numbers_run_without_gap() -> None:
    found = available()
    assert [one.version for one in found] == list(range(1, len(found) + 1))


@pytest.mark.parametrize("files", [("0001_a.sql", "0003_c.sql"), ("0001_a.sql", "0002_b.sql", "0002_c.sql")])
def test_a_gap_or_a_double_is_refused(
    files: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*files, "notes.txt"):
        (tmp_path / name).write_text("SELECT 1;")
    monkeypatch.setattr(migrate.resources, "files", lambda package: tmp_path)
    with pytest.raises(IntegrityError, match="without gap or double"):
        available()


def test_checksum_ignores_line_ends_and_nothing_else() -> None:
    one = Migration(1, "x", "SELECT 1;\nSELECT 2;\n")
    assert replace(one, sql="SELECT 1;\r\nSELECT 2;\r\n").sha256 == one.sha256
    assert replace(one, sql="SELECT 1;\nSELECT 3;\n").sha256 != one.sha256


def test_every_role_has_what_the_pool_needs() -> None:
    text = available()[0].sql
    assert set(re.findall(r"'(cw_\w+)'", text)) == {"cw_owner", "cw_ingest", "cw_app", "cw_officer"}
