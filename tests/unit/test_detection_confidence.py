"""Confidence that can be believed: reliability, calibration chosen over groups, counts whose intervals hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from collateral.errors import UsageError
from detection.arrays import floats
from detection.bootstrap import BLOCK, bootstrap, cluster_numbers, cluster_sums, ratio_of
from detection.calibration import Answers, Calibrator, calibrated, calibrator_of, choose_calibrator
from detection.counting import ANY, HEAVY, CountRow, Tally, as_rows, draw_counts, fit_rows, row_at, rows_of
from detection.metrics import calibrate, calibration_error, logit
from detection.observe import estimate_count
from detection.reliability import brier, confidence_figures, reliability_svg, reliability_table, write_reliability
from detection.weightfile import Card


def _answers(rng: np.random.Generator, n: int, groups: int, slope: float, intercept: float, by_gsd: float) -> Answers:
    """Right with probability sigmoid(slope * logit(raw) + intercept + by_gsd * log gsd)."""
    raw = floats(rng.uniform(0.05, 0.95, n))
    gsd = rng.choice([0.08, 0.15, 0.3], n)
    p = 1 / (1 + np.exp(-(slope * logit(raw) + intercept + by_gsd * np.log(gsd / 0.15))))
    return Answers(raw, rng.random(n) < p, gsd, np.array([f"g{i}" for i in rng.integers(0, groups, n)]))


def _card(**more: object) -> Card:
    return Card("v", "vehicles", "0" * 64, 0.15, 0.5, (2.0, 1.0), **more)  # type: ignore[arg-type]


def test_clusters_are_blocks_when_groups_are_few() -> None:
    numbers, kind = cluster_numbers(["a"] * (BLOCK + 1) + ["b"] * 2)
    assert numbers.tolist() == [0] * BLOCK + [1] + [2] * 2 and "blocks" in kind
    numbers, kind = cluster_numbers([f"g{i % 9}" for i in range(18)])
    assert kind == "groups" and numbers.tolist() == list(range(9)) * 2
    assert cluster_numbers(["", ""])[0].tolist() == [0, 1]


def test_clustered_answers_have_wider_intervals() -> None:
    rng = np.random.default_rng(1)
    right = np.repeat(rng.random(20) < 0.7, 30).astype(np.float64)
    values = np.stack([right, np.ones(600)], 1)
    alone = bootstrap(cluster_sums(values, np.arange(600)), ratio_of(0, 1))
    together = bootstrap(cluster_sums(values, np.repeat(np.arange(20), 30)), ratio_of(0, 1))
    assert together[1] - together[0] > 3 * (alone[1] - alone[0])
    assert bootstrap(cluster_sums(values, np.arange(600)), ratio_of(0, 1)) == alone, "seeded"


def test_figures_of_confidence_by_hand() -> None:
    confidence, right = floats([0.9, 0.9, 0.1, 0.1]), np.array([True, False, False, False])
    assert brier(confidence, right) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
    figures = confidence_figures(confidence, right, np.arange(4))
    assert figures["ece"] == pytest.approx(0.5 * 0.4 + 0.5 * 0.1)
    limits = figures["brier_interval95"]
    assert isinstance(limits, list) and limits[0] <= brier(confidence, right) <= limits[1]
    rows = reliability_table(confidence, right)
    assert [(row["n"], row["right"]) for row in rows] == [(2, 0.0), (2, 0.5)]


def test_reliability_plot_is_svg_with_escaped_words(tmp_path: Path) -> None:
    rows = reliability_table(floats([0.2, 0.8]), np.array([False, True]))
    text = reliability_svg("<b>", rows)
    assert text.count("<circle") == 2 and "&lt;b&gt;" in text and "<b>" not in text
    write_reliability(tmp_path / "new" / "r.svg", "t", {"reliability": rows, "ece": 0.1})
    assert "ece 0.100" in (tmp_path / "new" / "r.svg").read_text()
    with pytest.raises(UsageError, match="SVG"):
        write_reliability(tmp_path / "r.png", "t", {})


def test_calibration_takes_the_simplest_that_does() -> None:
    rng = np.random.default_rng(5)
    assert choose_calibrator(_answers(rng, 6000, 12, 2.0, 0.0, 0.0))[0].method == "temperature"
    assert choose_calibrator(_answers(rng, 6000, 12, 2.0, 1.5, 0.0))[0].method == "platt"
    by_gsd, about = choose_calibrator(_answers(rng, 6000, 12, 2.0, 1.0, 2.0))
    assert by_gsd.method == "platt+gsd" and by_gsd.by_gsd == pytest.approx(2.0, abs=0.4)
    assert len(about["compared_on_left_out_groups"]) == 4  # type: ignore[arg-type]


def test_isotonic_where_no_line_fits() -> None:
    rng = np.random.default_rng(6)
    raw = floats(rng.uniform(0.02, 0.98, 8000))
    right = rng.random(8000) < np.where(raw < 0.5, 0.1, 0.6)
    answers = Answers(raw, right, np.full(8000, np.nan), np.array([f"g{i % 10}" for i in range(8000)]))
    chosen, _ = choose_calibrator(answers)
    assert chosen.method == "isotonic"
    assert calibration_error(chosen(raw), right) < 0.02
    grid = floats(np.linspace(0.01, 0.99, 99))
    assert (np.diff(chosen(grid)) > 0).all(), "two confidences never become one"


def test_one_group_and_ungrouped_answers_can_be_calibrated() -> None:
    rng = np.random.default_rng(7)
    one = _answers(rng, 300, 1, 2.0, 1.0, 0.0)
    assert choose_calibrator(one)[0].method in ("temperature", "platt", "isotonic")


def test_a_card_brings_its_calibration_back() -> None:
    rng = np.random.default_rng(8)
    chosen, about = choose_calibrator(_answers(rng, 4000, 12, 2.0, 1.0, 2.0))
    raw = floats([0.2, 0.5, 0.8])
    card = _card(calibrator=about)
    assert calibrator_of(card) == chosen
    assert np.array_equal(calibrated(card, raw, 0.08), chosen(raw, 0.08))
    assert (calibrated(card, raw, 0.08) < calibrated(card, raw, 0.3)).all()
    assert np.array_equal(calibrated(card, raw, 0.3), calibrated(card, raw, 5.0)), "held constant beyond what was seen"
    assert np.array_equal(calibrated(_card(), raw), calibrate(raw, (2.0, 1.0))), "older cards"
    knots = Calibrator("isotonic", knots=((-1.0, -2.0), (1.0, 0.5)))
    assert calibrator_of(_card(calibrator={"chosen": {"method": "isotonic", "knots": [[-1, -2], [1, 0.5]]}})) == knots


def _place(rng: np.random.Generator, group: str, gsd_m: float, recall: float, spread: float, least: int = 20) -> Tally:
    """A place whose recall and false alarms stray together from what was measured elsewhere."""
    there = int(rng.integers(least, 120))
    own = float(np.exp(rng.normal(0, spread)))
    hits = int(rng.binomial(there, min(1.0, recall / own)))
    p = rng.uniform(0.75, 1.0, hits)
    false = int(rng.poisson(float((1 - p).sum())))
    confidence = floats([*p, *rng.uniform(0.75, 1.0, false)])
    right = np.array([True] * hits + [False] * false, np.bool_)
    return Tally(group, gsd_m, there, confidence, right)


def test_rows_are_measured_by_distance_and_spread_between_places() -> None:
    rng = np.random.default_rng(9)
    fine = [_place(rng, f"a{i}", 0.08, 0.95, 0.1) for i in range(40)]
    coarse = [_place(rng, f"b{i}", 0.3, 0.75, 0.1) for i in range(40)]
    rows = fit_rows(ANY, fine + coarse)
    assert [row.gsd_m for row in rows] == [0.08, 0.3]
    assert rows[0].recall > rows[1].recall and rows[1].recall95[0] < rows[1].recall < rows[1].recall95[1]
    assert rows[0].groups == 40 and 0.06 < rows[0].place_spread < 0.16
    calm = fit_rows(ANY, [_place(rng, f"c{i}", 0.08, 0.95, 0.0) for i in range(40)])
    assert calm[0].place_spread < 0.05
    assert fit_rows(HEAVY, fine[:1]) == [] or fine[0].objects >= 20
    assert rows_of(_card(counting=as_rows(rows)), HEAVY) == tuple(rows), "without rows of its own, those of any vehicle"


def test_between_and_beyond_measured_distances() -> None:
    rows = [CountRow(ANY, 0.1, 0.9, place_spread=0.1), CountRow(ANY, 0.4, 0.7, place_spread=0.1)]
    middle = row_at(rows, 0.2)
    assert middle.recall == pytest.approx(0.8) and middle.place_spread == pytest.approx(0.1)
    assert row_at(rows, 0.8).recall == 0.7 and row_at(rows, 0.8).place_spread > 0.15


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_intervals_hold_on_places_not_seen_before(level: float) -> None:
    rng = np.random.default_rng(10)
    held = []
    for world in range(12):
        rows = fit_rows(ANY, [_place(rng, f"{world}-{i}", 0.1, 0.85, 0.12) for i in range(14)])
        for _ in range(40):
            place = _place(rng, "new", 0.1, 0.85, 0.12, least=0)
            found = estimate_count(place.confidence.tolist(), row_at(rows, 0.1), level=level)
            held.append(found.lower <= place.objects <= found.upper)
    share = float(np.mean(held))
    assert level - 0.05 < share < level + 0.06


def test_corrected_counts_are_unbiased_and_repeat() -> None:
    rng = np.random.default_rng(11)
    rows = fit_rows(ANY, [_place(rng, f"g{i}", 0.1, 0.8, 0.05) for i in range(30)])
    places = [_place(rng, "n", 0.1, 0.8, 0.05) for _ in range(100)]
    estimated = sum(estimate_count(p.confidence.tolist(), row_at(rows, 0.1)).value for p in places)
    assert estimated == pytest.approx(sum(p.objects for p in places), rel=0.03)
    row = CountRow(ANY, 0.1, 0.8, place_spread=0.1)
    assert np.array_equal(draw_counts([0.9, 0.8], row), draw_counts([0.9, 0.8], row))
    many = draw_counts([0.9] * 1000, row)
    assert many.mean() == pytest.approx(1125, rel=0.03)
