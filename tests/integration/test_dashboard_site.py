"""Changes between pictures and doubted readings on the site page: bounded, of the right branch, in both languages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from collateral.db.observations import write_observations
from collateral.db.pool import Role, connect
from collateral.db.qualities import Block, JudgedBlock, QualitySpan, write_judged
from collateral.db.scenes import ScanResult, write_scan_results
from collateral.db.telemetry import to_us
from collateral.domain import Observation, Quality, Source, SubjectKind
from dashboard.changes import comparisons
from dashboard.components.changes import changes_card, changes_table, more_style, more_text
from dashboard.components.doubts import doubts_card
from dashboard.normal import charts
from dashboard.queries import MOST_DOUBTS, Queries
from scoring.policy import load_policy
from tests.dashboard_support import NOW, fill, seen, words

SINCE, TAKEN = NOW - timedelta(days=70), NOW - timedelta(days=5)
LISTED = [
    {"kind": "stock", "direction": "vanished", "area_m2": 1234.0, "confidence": 0.91},
    {"kind": "roof", "direction": "altered", "area_m2": 80.0, "confidence": 0.5},
]


@pytest.fixture
def queries(database: str, tmp_path: Path) -> Iterator[Queries]:
    fill(database, tmp_path)
    found = Queries(database)
    yield found
    found.close()


def compare(database: str, listed: list[dict[str, object]], taken: datetime = TAKEN) -> None:
    evidence = {"since": SINCE.isoformat(), "since_scene": "scene0", "png": "S1/after.png", "changes": listed}
    row = Observation(
        SubjectKind.SITE, "S1", "S1", "changed_area_m2", taken, taken + timedelta(seconds=1), Source.IMAGERY, "ground@1",
        80.0, 40.0, 92.0, Quality.GOOD, taken, evidence,
    )  # fmt: skip
    figures = {"png": "S1/before.png", "not_compared": "first picture"}
    with closing(connect(database, Role.APP)) as connection, connection:
        write_observations(connection, [row])
        write_scan_results(connection, [ScanResult("scene0", "S1", "ground", "b" * 64, "done", "", figures)])


def judge(database: str, device: str, *spans: tuple[float, float, int, float | None]) -> None:
    """Doubted stretches of a device's power: begin and end in hours before now, flags, clock ahead in seconds."""
    with closing(connect(database, Role.APP)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO series (device_id, quantity) VALUES (%s, 'active_power_kw') RETURNING series_id", (device,)
        )
        (series_id,) = cursor.fetchone() or (0,)
        found = [
            QualitySpan(
                series_id, to_us(NOW - timedelta(hours=begin)), to_us(NOW - timedelta(hours=end)), 5, flags, ahead, 2
            )
            for begin, end, flags, ahead in spans
        ]
        block = Block(series_id, to_us(NOW - timedelta(days=400)), to_us(NOW))
        write_judged(connection, [JudgedBlock(block, sorted(found, key=lambda one: one.from_us), 9000)], 2, NOW)


def test_changes_stand_with_area_confidence_and_both_pictures(queries: Queries, database: str) -> None:
    viewer, view = seen(queries, "risk_a")
    assert viewer.t("changes.never") in words(changes_card(viewer, view))
    compare(database, LISTED)
    viewer, view = seen(queries, "risk_a")
    card = changes_card(viewer, view)
    said = words(card)
    assert "Goods vanished" in said and "1,234 m²" in said and "91%" in said and "Before After" in said
    assert "/evidence/S1/before.png" in str(card) and "/evidence/S1/after.png" in str(card)
    chinese = words(changes_card(*seen(queries, "risk_a", locale="zh")))
    assert "货物 消失" in chinese and "屋顶 改变" in chinese


def test_changes_can_be_narrowed_to_kinds(queries: Queries, database: str) -> None:
    compare(database, LISTED)
    viewer, view = seen(queries, "risk_a")
    found = comparisons(view.observations, view.scenes)
    assert "Roof" in words(changes_table(viewer, view, found, ["roof"]))
    assert "Goods" not in words(changes_table(viewer, view, found, ["roof"]))
    assert words(changes_table(viewer, view, found, ["construction"])) == viewer.t("changes.none_of_kind")
    many = replace(found, found=[found.found[0]] * 100)
    said = words(changes_table(viewer, view, many, []))
    assert said.count("Goods") == 10 and "10 of 100" in said
    everything = words(changes_table(viewer, view, many, [], everything=True))
    assert everything.count("Goods") == 100 and "Only" not in everything
    assert more_text(viewer, 100, False) == "Show all 100" and more_style(100) == {}
    assert more_text(viewer, 10, False) != more_text(viewer, 10, True) and more_style(10) == {"display": "none"}


def test_pictures_on_which_nothing_changed_are_said(queries: Queries, database: str) -> None:
    compare(database, [])
    viewer, view = seen(queries, "risk_a")
    assert "(1 pairs)" in words(changes_card(viewer, view))


def test_doubted_readings_are_listed_with_reason_and_figures(queries: Queries, database: str) -> None:
    viewer, view = seen(queries, "risk_a")
    assert viewer.t("doubt.none") in words(doubts_card(viewer, view))
    judge(database, "D1", (60, 50, 8, None), (49, 40, 8, None), (20, 19, 64, 720.0), (24 * 91, 24 * 91 - 1, 4, None))
    judge(database, "D2", (10, 9, 4, None))
    viewer, view = seen(queries, "risk_a")
    said = words(doubts_card(viewer, view))
    assert "stands still" in said and "clock 12.0 min ahead" in said and "Power drawn D1" in said
    assert "outlier" not in said, "too old, or of another branch's site"
    rows = [line for line in view.doubts if line.flags == 8]
    assert len(rows) == 2 and said.count("stands still") == 1, "joined"
    assert "数值停滞" in words(doubts_card(*seen(queries, "risk_a", locale="zh")))
    energy = next(one for one in charts(view, load_policy(), NOW) if one.quantity == "energy_kwh_per_day")
    assert energy.doubted
    officer = words(doubts_card(*seen(queries, "officer_b", "S3")))
    assert "outlier" in officer and "D1" not in officer


def test_a_device_in_doubt_all_the_time_does_not_fill_the_page(queries: Queries, database: str) -> None:
    judge(database, "D1", *((float(n), n - 0.1, 4 if n % 2 else 8, None) for n in range(5, 5 + MOST_DOUBTS + 20)))
    viewer, view = seen(queries, "risk_a")
    assert len(view.doubts) == MOST_DOUBTS and view.doubts_cut
    assert viewer.t("doubt.most", n=40) in words(doubts_card(viewer, view))
    without = replace(view, devices=[], doubts=[])
    assert viewer.t("doubt.no_device") in words(doubts_card(viewer, without))
