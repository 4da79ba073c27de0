"""Changes and doubted readings as rows: joining, days, links to pictures, and what makes no sense."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from shapely.geometry import box

from collateral.db.scenes import ScanResult, SiteScene
from collateral.domain import Device, Observation, Quality, SceneRecord, Source, SubjectKind, User
from dashboard.changes import KINDS, comparisons
from dashboard.components.evidence import charts_card
from dashboard.doubts import _MADE_OF, FLAGS, Doubt, doubtful_days, joined
from dashboard.figures.series import series
from dashboard.i18n import CATALOGUES, texts
from dashboard.model import SiteView, Viewer
from dashboard.normal import Chart, charts
from detection.change import ALTERED, APPEARED, MOVED, VANISHED
from detection.change import KINDS as DETECTED
from iot.quality import Flag
from scoring.policy import load_policy
from tests.dashboard_support import words
from tests.iot_support import site

NOON = datetime(2026, 8, 3, 4, tzinfo=UTC)
ZONE = "Asia/Shanghai"
METER = Device("D1", "S1", "", "", "borrower", ("active_power_kw",), 900.0, "")
DRIVE = Device("D2", "S1", "M1", "", "borrower", ("machine_running",), 60.0, "")


def doubt(hours: float, length: float = 1.0, flags: int = 8, device: str = "D1", quantity: str = "active_power_kw") -> Doubt:
    begin = NOON + timedelta(hours=hours)
    return Doubt(device, quantity, begin, begin + timedelta(hours=length), 4, flags, None)


def compared(days: int, **evidence: object) -> Observation:
    taken = NOON - timedelta(days=days)
    return Observation(
        SubjectKind.SITE, "S1", "S1", "changed_area_m2", taken, taken + timedelta(seconds=1), Source.IMAGERY, "ground@1",
        9.0, 8.0, 10.0, Quality.GOOD, taken, evidence, days, 1,
    )  # fmt: skip


def scene(scene_id: str, days: int, *results: ScanResult) -> SiteScene:
    taken = NOON - timedelta(days=days)
    record = SceneRecord(scene_id, "/x.tif", "test", taken, 0.3, 32651, box(0, 0, 1, 1), "0" * 64, 1)
    return SiteScene(record, taken, results)


def result(scene_id: str, detector: str, **figures: object) -> ScanResult:
    return ScanResult(scene_id, "S1", detector, "0" * 64, "done", "", figures)


def test_the_reasons_are_those_of_the_checks() -> None:
    assert {bit: str(name).upper() for bit, name in FLAGS.items()} == {flag.value: flag.name for flag in Flag}
    named = [f"doubt_reason.{name}" for name in FLAGS.values()]
    named += [f"reading.{name}" for names in _MADE_OF.values() for name in names]
    named += [f"direction.{way}" for way in (APPEARED, VANISHED, MOVED, ALTERED)]
    assert [key for catalogue in CATALOGUES.values() for key in named if key not in catalogue] == []
    assert set(KINDS) == set(DETECTED)


def test_stretches_of_one_reason_near_each_other_are_one_and_the_newest_comes_first() -> None:
    rows = joined([doubt(8), doubt(0), doubt(2, flags=4), doubt(3, device="D2")])
    assert [(one.device_id, one.flags) for one in rows] == [("D1", 8), ("D2", 8), ("D1", 4), ("D1", 8)]
    near = joined([doubt(0), doubt(5.5)])
    assert [(one.readings, one.time_to) for one in near] == [(8, doubt(5.5).time_to)]
    assert joined([]) == []


def test_unknown_bits_are_said_and_what_counters_do_is_not_drawn() -> None:
    assert doubt(0, flags=8 | 1 << 20).reasons == ("stale", "unknown")
    assert doubt(0, flags=256).drawn is False and doubt(0, flags=256 | 8).drawn is True


def test_days_are_the_sites_and_only_of_the_devices_behind_a_chart() -> None:
    evening = doubt(12.5, 0.0)  # half past midnight in Shanghai
    found = doubtful_days([doubt(0), evening], "energy_kwh_per_day", "", [METER, DRIVE], ZONE)
    assert found == [(date(2026, 8, 3), date(2026, 8, 4))]
    until_midnight, at_midnight = doubt(10, 2.0), doubt(12, 0.0)
    for one in (until_midnight, at_midnight):
        assert doubtful_days([one], "energy_kwh_per_day", "", [METER], ZONE) == [(date(2026, 8, 3), date(2026, 8, 3))]
    running = doubt(48, device="D2", quantity="machine_running")
    found = doubtful_days([doubt(0), running], "running_hours_per_day", "M1", [METER, DRIVE], ZONE)
    assert found == [(date(2026, 8, 5), date(2026, 8, 5))]
    assert doubtful_days([running], "running_hours_per_day", "M2", [METER, DRIVE], ZONE) == []
    assert doubtful_days([doubt(0)], "vehicle_count", "", [METER], ZONE) == []
    assert doubtful_days([doubt(0, flags=1024)], "energy_kwh_per_day", "", [METER], ZONE) == []
    tracker = Device("D3", "S1", "T1", "", "borrower", ("longitude_deg", "tamper_contact"), 60.0, "")
    for reading, quantity in (("longitude_deg", "outside_region_m"), ("tamper_contact", "tamper_contact_hours")):
        assert doubtful_days([doubt(0, device="D3", quantity=reading)], quantity, "T1", [tracker], ZONE), quantity


def test_a_holiday_is_not_compared_with_the_working_day_before_it() -> None:
    """1 October: nobody works, and no other holiday is known to compare it with."""
    last = datetime(2026, 9, 30, 16, tzinfo=UTC)

    def energy(days: int, value: float) -> Observation:
        begin, length = last - timedelta(days=days), timedelta(days=1)
        return replace(
            compared(0), quantity="energy_kwh_per_day", valid_from=begin, valid_to=begin + length, source=Source.TELEMETRY,
            value=value, lower=0.9 * value, upper=1.1 * value, known_at=begin + length, observation_id=days + 1,
        )  # fmt: skip

    def told(*rows: Observation) -> tuple[Chart, str]:
        view = SiteView(site(), None, [], [], [], None, [], rows, [], [], {}, [], [])
        found = charts(view, load_policy(), last + timedelta(days=1, hours=6))
        viewer = Viewer(User("a", "A", "officer", "", "en"), "en")
        return found[0], words(charts_card(viewer, view, found, Source.TELEMETRY))

    working = [energy(days, 8_000.0 + days % 5) for days in range(100, 0, -1)]
    chart, said = told(*working)
    assert chart.usual == chart.band[-1] and "usually" in said
    chart, said = told(*working, energy(0, 300.0))
    assert chart.band and chart.usual is None and "usually" not in said and "no normal known" in said


def test_doubted_days_are_hatched_over_the_whole_height() -> None:
    row = replace(compared(1), quantity="energy_kwh_per_day", source=Source.TELEMETRY)
    days = [(date(2026, 8, 1), date(2026, 8, 2))]
    chart = Chart("energy_kwh_per_day", "S1", Source.TELEMETRY, [row], [], None, False, row, days)
    drawn = [trace for trace in series(chart, ZONE, texts("en")).data if trace.fill == "toself"]
    assert len(drawn) == 1 and drawn[0].fillpattern.shape == "/"
    assert drawn[0].x[0] == datetime(2026, 8, 1) and drawn[0].x[2] == datetime(2026, 8, 3)
    assert not [one for one in series(replace(chart, doubted=()), ZONE, texts("en")).data if one.fill == "toself"]


def test_changes_come_newest_first_with_the_pictures_of_both_dates() -> None:
    listed = [
        {"kind": "vehicles", "direction": "moved", "area_m2": 10.0, "confidence": 1.0},
        {"kind": "vehicles", "direction": "moved", "area_m2": 30.0, "confidence": 0.6},
        {"kind": "roof", "direction": "vanished", "area_m2": 20.0, "confidence": 0.8},
        {"kind": "stock", "direction": "appeared", "area_m2": 90.0, "confidence": 0.9},
    ]
    since = NOON - timedelta(days=9)
    rows = [
        compared(9, since=(NOON - timedelta(days=19)).isoformat(), since_scene="gone", changes=listed[2:3]),
        compared(1, since=since.isoformat(), since_scene="old", changes=listed, png="S1/new.png"),
    ]
    scenes = [
        scene("new", 1, result("new", "ground", png="S1/new.png", not_compared="")),
        scene("old", 9, result("old", "vehicles", png="S1/cars.png"), result("old", "ground", png="S1/old.png")),
    ]
    seen = comparisons(rows, scenes)
    assert [(one.kind, one.places, one.area_m2, one.before, one.after) for one in seen.found] == [
        ("stock", 1, 90.0, "S1/old.png", "S1/new.png"), ("roof", 1, 20.0, "S1/old.png", "S1/new.png"),
        ("vehicles", 2, 40.0, "S1/old.png", "S1/new.png"), ("roof", 1, 20.0, None, None),
    ]  # fmt: skip
    assert seen.found[2].confidence == pytest.approx(0.7)
    assert seen.found[0].since == since and seen.pairs == 2 and seen.skipped == ""


@pytest.mark.parametrize("evidence", [
    {}, {"changes": None}, {"changes": ["x", {"kind": "roof"}], "since": "yesterday"},
    {"changes": [{"kind": "roof", "area_m2": -3, "confidence": 0.4}], "since": "2026-08-01T00:00:00", "png": 7},
])  # fmt: skip
def test_damaged_evidence_is_no_change(evidence: dict[str, object]) -> None:
    skipped = scene("new", 1, result("new", "ground", not_compared="doubtful picture"))
    seen = comparisons([compared(1, **evidence)], [skipped])
    assert (list(seen.found), seen.pairs, seen.skipped) == ([], 1, "doubtful picture")


def test_without_pictures_nothing_was_compared() -> None:
    seen = comparisons([], [])
    assert (list(seen.found), seen.pairs, seen.skipped) == ([], 0, "")
