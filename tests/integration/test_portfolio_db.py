"""The versioned reference tables: what is written, what is not, and what was known when."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psycopg2
import pytest

from collateral.cli import main
from collateral.db import credentials, reference
from collateral.db.pool import Pool, Role, fetch_dicts
from collateral.domain import Holiday, Portfolio
from collateral.errors import IntegrityError, InvalidInputError
from collateral.passwords import set_password, verify_password
from collateral.portfolio.folder import read_folder, write_folder
from tests.portfolio_support import small_portfolio

FIRST = datetime(2025, 1, 20, tzinfo=UTC)
LATER = datetime(2025, 6, 1, tzinfo=UTC)


def write(database: str, given: Portfolio, known_at: datetime = FIRST) -> dict[str, int]:
    with Pool(database) as pool, pool.connection() as connection:
        return reference.write_portfolio(connection, given, known_at, "tester")


def ordered(given: Portfolio) -> Portfolio:
    return Portfolio(
        **{
            table.part: tuple(sorted(getattr(given, table.part), key=lambda row: [getattr(row, k) for k in table.key]))
            for table in reference.TABLES
        }
    )


def test_what_is_written_is_read_back_unchanged(database: str) -> None:
    given = small_portfolio()
    written = write(database, given)
    assert written == {table.part: len(getattr(given, table.part)) for table in reference.TABLES} | {"deleted": 0}
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.portfolio(connection) == ordered(given)
        assert reference.sites(connection, FIRST) == list(given.sites)
        assert reference.sites(connection, FIRST - timedelta(seconds=1)) == []
        boxes = fetch_dicts(connection, "SELECT lon_min, lat_min, lon_max, lat_max FROM site WHERE site_id = 'S1'")[0]
    assert tuple(boxes.values()) == given.sites[0].geometry.bounds


def test_same_content_writes_nothing(database: str) -> None:
    write(database, small_portfolio())
    assert set(write(database, small_portfolio(), LATER).values()) == {0}


def test_change_and_removal_append_revisions_and_history_stays(database: str) -> None:
    before = small_portfolio()
    write(database, before)
    after = replace(
        before,
        loans=(replace(before.loans[0], outstanding=Decimal("20000000.00")), before.loans[1]),
        devices=before.devices[:1],
    )
    written = write(database, after, LATER)
    assert (written["loans"], written["devices"], written["deleted"], written["sites"]) == (1, 1, 1, 0)
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.loans(connection, FIRST)[0].outstanding == Decimal("21500000.50")
        assert reference.loans(connection, LATER)[0].outstanding == Decimal("20000000.00")
        assert [one.device_id for one in reference.devices(connection)] == ["D1"]
        assert [one.device_id for one in reference.devices(connection, FIRST)] == ["D1", "D2"]
        assert reference.revisions(connection, "loans") == {"L1": 2, "L2": 1}
        assert reference.revisions(connection, "prices", FIRST)["copper_plate|CNY|2025-06-01"] == 1
    back = write(database, before, LATER + timedelta(days=1))
    assert (back["devices"], back["deleted"]) == (1, 0)
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.revisions(connection, "devices") == {"D1": 1, "D2": 3}


def test_a_missing_optional_file_leaves_its_part_untouched(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    given = small_portfolio()
    write_folder(given, tmp_path)

    def imported() -> list[Holiday]:
        assert main(["portfolio", "import", str(tmp_path), "--by", "me", "--json"]) == 0
        with Pool(database) as pool, pool.connection() as connection:
            return reference.holidays(connection)

    assert given.holidays and imported() == list(given.holidays)
    header = (tmp_path / "holidays.csv").read_text(encoding="utf-8").splitlines()[0]
    (tmp_path / "holidays.csv").unlink()
    assert imported() == list(given.holidays)
    (tmp_path / "holidays.csv").write_text(header + "\n", encoding="utf-8")
    assert imported() == []


def test_changed_sites_are_marked_for_scoring(database: str) -> None:
    before = small_portfolio()
    write(database, before)
    with Pool(database) as pool:
        with pool.connection() as connection:
            rows = fetch_dicts(connection, "SELECT site_id FROM dirty_site ORDER BY site_id")
            assert [row["site_id"] for row in rows] == ["S1", "S2", "S3"]
            with connection.cursor() as cursor:
                cursor.execute("DELETE FROM dirty_site")
        dearer = tuple(replace(one, price=one.price + 1) for one in before.prices)
        write(database, replace(before, prices=dearer), LATER)
        with pool.connection() as connection:
            assert [row["site_id"] for row in fetch_dicts(connection, "SELECT site_id FROM dirty_site")] == ["S3"]


def test_history_must_be_imported_in_order(database: str) -> None:
    before = small_portfolio()
    write(database, before, LATER)
    with pytest.raises(InvalidInputError, match=r"L1.*order in which it became known"):
        write(database, replace(before, loans=(replace(before.loans[0], branch="x"), before.loans[1])), FIRST)
    with pytest.raises(InvalidInputError, match="future"):
        write(database, before, datetime.now(UTC) + timedelta(days=1))
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.portfolio(connection) == ordered(before)


def test_text_of_every_kind_survives(database: str) -> None:
    before = small_portfolio()
    odd = 'tab\there "quoted", back\\slash \\N {a,b} 中文\nnext line'
    given = replace(before, borrowers=(replace(before.borrowers[0], name=odd, group_name="\\."), before.borrowers[1]))
    write(database, given)
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.borrowers(connection)[0] == given.borrowers[0]


def test_versions_cannot_be_changed_or_deleted(database: str) -> None:
    write(database, small_portfolio())
    for statement in ("UPDATE site_version SET name = 'x'", "DELETE FROM loan_version", "TRUNCATE asset_version"):
        refused = pytest.raises(psycopg2.Error, match=r"append-only|permission denied")
        with Pool(database, Role.OWNER) as pool, refused, pool.connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement)


def test_policy_text_never_changes_under_its_version(database: str) -> None:
    with Pool(database) as pool:
        with pool.connection() as connection:
            assert reference.write_policy(connection, "2026-01", "a" * 64, "weights: 1")
            assert not reference.write_policy(connection, "2026-01", "a" * 64, "weights: 1")
            assert reference.policy_body(connection, "2026-01") == "weights: 1"
        with pytest.raises(IntegrityError, match="new version"), pool.connection() as connection:
            reference.write_policy(connection, "2026-01", "b" * 64, "weights: 2")


def test_model_card_is_kept_once_and_versioned(database: str) -> None:
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.write_model(connection, "vehicles", "c" * 64, {"f1": 0.83})
        assert not reference.write_model(connection, "vehicles", "c" * 64, {"f1": 0.83})
        assert reference.write_model(connection, "vehicles", "c" * 64, {"f1": 0.84})
        rows = fetch_dicts(connection, "SELECT card, revision FROM model")
    assert rows == [{"card": {"f1": 0.84}, "revision": 2}]


@pytest.fixture
def command_line(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`main` against this test's database; the log of the whole process is put back."""
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", database)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], root.level = before[0], before[1]


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    answer = json.loads(capsys.readouterr().out)
    assert isinstance(answer, dict)
    return answer


def test_import_and_export_give_the_same_files_back(
    command_line: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, back = tmp_path / "given", tmp_path / "back"
    write_folder(small_portfolio(), given)
    assert main(["portfolio", "import", str(given), "--known-at", "2025-02-01T08:00:00+08:00", "--by", "me", "--json"]) == 0
    answer = told(capsys)
    assert answer["problems"] == []
    assert answer["written"] == {
        table.part: len(getattr(small_portfolio(), table.part)) for table in reference.TABLES
    } | {"deleted": 0}
    assert main(["portfolio", "export", str(back), "--json"]) == 0
    for path in given.iterdir():
        assert (back / path.name).read_bytes() == path.read_bytes()
    assert main(["portfolio", "import", str(back), "--json"]) == 0
    capsys.readouterr()
    assert main(["portfolio", "export", str(back), "--as-known", "2025-01-31T23:59:59Z", "--json"]) == 0
    assert read_folder(back).portfolio == Portfolio()


def test_one_error_writes_nothing_at_all(
    database: str, command_line: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = small_portfolio()
    write_folder(replace(before, loans=(replace(before.loans[0], borrower_id="B9"), before.loans[1])), tmp_path)
    assert main(["portfolio", "import", str(tmp_path), "--json"]) == 1
    answer = told(capsys)
    assert answer["written"] == {}
    assert [(one["file"], one["row"], one["severity"]) for one in answer["problems"]] == [("loans.csv", 2, "error")]  # type: ignore[attr-defined]
    assert main(["portfolio", "import", str(tmp_path)]) == 1
    assert "loans.csv:2: borrower_id 'B9' is not in borrowers.csv." in capsys.readouterr().out
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.portfolio(connection) == Portfolio()


def test_check_writes_nothing_and_an_audit_row_tells_who_imported(
    database: str, command_line: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(small_portfolio(), tmp_path)
    assert main(["portfolio", "import", str(tmp_path), "--check", "--json"]) == 0
    with Pool(database) as pool, pool.connection() as connection:
        assert reference.portfolio(connection) == Portfolio()
    assert main(["portfolio", "import", str(tmp_path), "--by", "Zhang San", "--json"]) == 0
    with Pool(database) as pool, pool.connection() as connection:
        assert fetch_dicts(connection, "SELECT actor, action FROM audit") == [
            {"actor": "Zhang San", "action": "portfolio import"}
        ]
        assert fetch_dicts(connection, "SELECT DISTINCT recorded_by FROM site_version") == [{"recorded_by": "Zhang San"}]


@pytest.mark.parametrize("text", ["yesterday", "2025-02-01T08:00:00"])
def test_a_time_without_a_zone_is_a_usage_error(
    text: str, command_line: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["portfolio", "import", str(tmp_path), "--known-at", text, "--json"]) == 2
    assert "--known-at" in str(told(capsys)["error"])


def test_a_wrong_folder_cannot_end_most_of_a_portfolio(
    command_line: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = small_portfolio()
    many = tuple(replace(before.devices[0], device_id=f"D{number}") for number in range(12))
    write_folder(replace(before, devices=many), tmp_path)
    assert main(["portfolio", "import", str(tmp_path), "--json"]) == 0
    capsys.readouterr()
    write_folder(replace(before, devices=many[:5]), tmp_path)
    assert main(["portfolio", "import", str(tmp_path), "--json"]) == 1
    assert "would end 7 of 12 devices" in str(told(capsys)["error"])
    assert main(["portfolio", "import", str(tmp_path), "--allow-removal", "--json"]) == 0
    assert told(capsys)["written"]["deleted"] == 7  # type: ignore[index]


def test_password_is_read_from_standard_input_and_kept_as_a_hash(
    database: str, command_line: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, small_portfolio())
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert main(["user", "password", "risk_a", "--json"]) == 0
    shown = capsys.readouterr()
    assert "horse" not in shown.out + shown.err
    assert main(["user", "password", "officer_a", "--generate", "--json"]) == 0
    made = str(told(capsys)["password"])
    with Pool(database) as pool, pool.connection() as connection:
        risk = credentials.credential(connection, "risk_a")
        officer = credentials.credential(connection, "officer_a")
        logged = fetch_dicts(connection, "SELECT subject, detail FROM audit ORDER BY audit_id")
    assert risk is not None and verify_password("correct horse battery", risk.password_hash)
    assert officer is not None and verify_password(made, officer.password_hash)
    assert logged == [{"subject": "risk_a", "detail": {}}, {"subject": "officer_a", "detail": {}}]
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    assert main(["user", "password", "risk_a", "--json"]) == 1
    assert "at least 10" in str(told(capsys)["error"])
    assert main(["user", "password", "nobody", "--generate", "--json"]) == 1
    assert "known are officer_a, officer_b, risk_a" in str(told(capsys)["error"])


def test_five_failures_lock_an_account_and_a_new_password_opens_it(database: str) -> None:
    write(database, small_portfolio())
    with Pool(database) as pool, pool.connection() as connection:
        set_password(connection, "risk_a", "correct horse battery")
        for _ in range(credentials.MOST_FAILURES - 1):
            credentials.note_sign_in(connection, "risk_a", succeeded=False)
        found = credentials.credential(connection, "risk_a")
        assert found is not None and (found.failed_attempts, found.locked_until) == (4, None)
        credentials.note_sign_in(connection, "risk_a", succeeded=False)
        found = credentials.credential(connection, "risk_a")
        assert found is not None and found.locked_until is not None
        assert timedelta(minutes=14) < found.locked_until - datetime.now(UTC) <= credentials.LOCKED_FOR
        set_password(connection, "risk_a", "correct horse battery 2")
        found = credentials.credential(connection, "risk_a")
        assert found is not None and (found.failed_attempts, found.locked_until) == (0, None)


def test_who_left_the_portfolio_cannot_sign_in(database: str) -> None:
    given = small_portfolio()
    write(database, given)
    with Pool(database) as pool, pool.connection() as connection:
        set_password(connection, "risk_a", "correct horse battery")
    write(database, replace(given, users=given.users[:2]), LATER)
    with Pool(database) as pool, pool.connection() as connection:
        assert credentials.credential(connection, "risk_a") is None
