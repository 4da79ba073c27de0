"""Unusual readings: what is found, what is not, and that nothing looks ahead."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from iot.anomaly import PARAMETERS, episodes, scores
from iot.anomaly_evaluate import evaluate_nab, evaluate_skab, held_out
from iot.anomaly_machine import fit_machine
from iot.nab import PROFILES, BenchmarkFile, read_benchmark, tally

STEP = 900


def daily(days: int, seed: int = 3) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    time = np.arange(days * 96, dtype=np.int64) * STEP
    return time, 50 + 20 * np.sin(time / 86_400 * 2 * np.pi) + rng.normal(0, 1.5, len(time))


def first_alarms(time: NDArray[np.int64], value: NDArray[np.float64]) -> list[int]:
    return [episode.first for episode in episodes(*scores(time, value))]


def test_clean_season_raises_little() -> None:
    alarms = [len(first_alarms(*daily(60, seed))) for seed in range(4)]
    assert sum(alarms) / len(alarms) / 2 <= 3.0  # per series-month


@pytest.mark.parametrize(
    ("name", "at", "change"),
    [
        ("spike", 2_000, lambda v: v + 60),
        ("night at day", 2_004, lambda v: v - 25),
        ("level", 2_000, lambda v: v + 25),
        ("spread", 2_000, lambda v: v + np.random.default_rng(1).normal(0, 25, len(v))),
        ("frozen", 2_000, lambda v: np.full_like(v, v[0])),
    ],
)
def test_faults_are_found_soon(name: str, at: int, change: object) -> None:
    time, value = daily(30)
    length = {"spike": 1, "night at day": 8}.get(name, 96)
    value[at : at + length] = change(value[at : at + length])  # type: ignore[operator]
    assert any(at <= index <= at + length for index in first_alarms(time, value)), name


def test_nothing_looks_ahead() -> None:
    time, value = daily(20)
    whole, _ = scores(time, value)
    part, _ = scores(time[:1_000], value[:1_000])
    np.testing.assert_array_equal(whole[:1_000], part)


def test_flat_series_is_quiet() -> None:
    time = np.arange(2_000, dtype=np.int64) * STEP
    assert first_alarms(time, np.full(2_000, 7.0)) == []


def test_what_was_seen_raises_the_bar() -> None:
    time, value = daily(40)
    value[1_000::300] += 60
    found = [index for index in first_alarms(time, value) if index % 300 == 100]
    assert 1_000 in found
    assert len(found) <= 4  # of ten


def benchmark(windows: list[tuple[int, int]], rows: int = 1_000) -> BenchmarkFile:
    time = np.arange(rows, dtype=np.int64) * 300
    return BenchmarkFile("made/x.csv", tuple(map(str, time)), time, np.zeros(rows), tuple(windows))


def test_scores_of_the_benchmark_by_hand() -> None:
    file, standard = benchmark([(400, 499), (700, 799)]), PROFILES["standard"]
    alarms = np.zeros(1_000, bool)
    assert tally(file, alarms, standard).scaled(standard) == 0
    alarms[[400, 700]] = True
    assert tally(file, alarms, standard).scaled(standard) == pytest.approx(100)
    alarms[900:903] = True  # 101, 102, 103 readings after the last window of 100: the sigmoid is nearly -1
    late = tally(file, alarms, standard)
    assert late.false_alarms == 3
    assert late.scaled(standard) == pytest.approx(100 - 3 * 0.11 / 2 * 100 / 2, abs=0.2)
    alarms[:] = False
    alarms[499] = True  # at the window's last reading
    assert 0 < tally(file, alarms, standard).raw + 1 < 0.05  # the other window is missed
    alarms[:] = False
    alarms[:150] = True  # on probation
    assert tally(file, alarms, standard).false_alarms == 0


def test_bad_benchmark_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="combined_windows"):
        read_benchmark(tmp_path)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps({"a/b.csv": []}))
    with pytest.raises(InvalidInputError, match=r"b\.csv"):
        read_benchmark(tmp_path)
    with pytest.raises(InvalidInputError, match="no CSV"):
        evaluate_skab(tmp_path)


def test_results_are_written_in_the_benchmarks_layout(tmp_path: Path) -> None:
    time, value = daily(20)
    value[1_500] += 80
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "made").mkdir(parents=True)
    stamps = [str(np.datetime64(int(t), "s")).replace("T", " ") for t in time]
    text = "timestamp,value\n" + "".join(f"{s},{v}\n" for s, v in zip(stamps, value, strict=True))
    (tmp_path / "data" / "made" / "x.csv").write_text(text)
    windows = {"made/x.csv": [[stamps[1_490] + ".000000", stamps[1_540] + ".000000"]]}
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps(windows))
    result = evaluate_nab(tmp_path, tmp_path / "results")
    assert result["windows_found"] == 1
    lines = (tmp_path / "results" / "collateral" / "made" / "collateral_x.csv").read_text().splitlines()
    assert lines[0] == "timestamp,value,anomaly_score,label"
    assert len(lines) == len(time) + 1
    assert float(lines[1_501].split(",")[2]) > 0.5
    assert lines[1_501].split(",")[3] == "1"


def test_halves_do_not_depend_on_the_order() -> None:
    names = [f"{category}/{number}.csv" for category in "ab" for number in range(5)]
    assert held_out(names) == held_out(names[::-1])
    assert len(held_out(names)) == 4


def test_machine_out_of_control_when_sensors_disagree() -> None:
    rng = np.random.default_rng(5)
    load = np.cumsum(rng.normal(0, 1, 2_000)) * 0.05
    rows = np.stack([load + rng.normal(0, 0.1, 2_000), 2 * load + rng.normal(0, 0.1, 2_000), -load], 1)
    model = fit_machine(rows[:800])
    broken = rows.copy()
    broken[1_200:, 1] += 8.0
    said = model.out_of_control(broken)
    assert said[1_300:].mean() > 0.9
    assert said[800:1_190].mean() < 0.3
    with pytest.raises(InvalidInputError, match="finite rows"):
        fit_machine(rows[:20])


def test_benchmark_scores_hold(labelled_data: Path) -> None:
    result = evaluate_nab(labelled_data / "telemetry" / "nab")
    assert float(str(result["standard"])) >= 60
    assert PARAMETERS.threshold == result["threshold_readings"]
    skab = evaluate_skab(labelled_data / "telemetry" / "skab" / "valve1")
    assert float(str(skab["f1"])) >= 0.70
    assert float(str(skab["far"])) <= 0.25
