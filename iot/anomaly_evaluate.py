"""`collateral evaluate anomalies`: the detectors against the Numenta Anomaly Benchmark and the SKAB test rig."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from iot.anomaly import PARAMETERS, episodes, scores
from iot.anomaly_machine import fit_machine
from iot.nab import PROFILES, BenchmarkFile, Tally, read_benchmark, tally

SKAB_TRAINING = 400
"""Rows at the start of each SKAB file that train and are not counted."""
DETECTOR = "collateral"
"""Name of the detector in the benchmark's result files."""
_LABELS = ("anomaly", "changepoint")


@dataclass(frozen=True)
class Judged:
    """One series with what the detector said."""

    file: BenchmarkFile
    score: NDArray[np.float64]
    """0..1 per reading; 0.5 is the threshold. Of an episode only the first reading is above 0."""

    @property
    def alarms(self) -> NDArray[np.bool_]:
        """Readings that raise an alarm."""
        return self.score >= 0.5


def evaluate_nab(root: Path, results: Path | None = None) -> dict[str, object]:
    """Scores of the benchmark (0 to 100) at the shipped threshold, per category and for files never looked at.

    Args:
        root: folder with `data` and `labels`.
        results: writes one CSV per series there, in the benchmark's own layout, for its own scorer.
    """
    files = read_benchmark(root)
    judged = [judge(file) for file in progress(files, "anomalies", unit="series")]
    if results is not None:
        write_results(judged, results)
    held = held_out([item.file.name for item in judged])
    categories = sorted({_category(item) for item in judged})
    total = _total(judged, "standard")
    return {
        **_profiles(judged),
        "series": len(files),
        "readings": sum(len(item.file.value) for item in judged),
        "windows": total.windows,
        "windows_found": total.found,
        "false_alarms": total.false_alarms,
        "false_alarms_per_series_month": round(total.false_alarms / total.months, 3),
        "threshold_readings": PARAMETERS.threshold,
        "held_out_half": {**_profiles([item for item in judged if item.file.name in held]), "series": len(held)},
        "by_category": {name: _row([item for item in judged if _category(item) == name]) for name in categories},
    }


def judge(file: BenchmarkFile) -> Judged:
    """Runs the detector over one series."""
    score, reason = scores(file.time_s, file.value)
    relative = score / (score + PARAMETERS.threshold)
    for episode in episodes(score, reason):
        relative[episode.first + 1 : episode.last + 1] = 0.0
    return Judged(file, relative)


def held_out(names: Sequence[str]) -> set[str]:
    """Every second file of each category in the order of a hash of its name: parameters were chosen without them."""
    chosen: set[str] = set()
    for category in sorted({name.split("/")[0] for name in names}):
        members = [name for name in names if name.split("/")[0] == category]
        chosen |= set(sorted(members, key=lambda name: hashlib.md5(name.encode(), usedforsecurity=False).digest())[1::2])
    return chosen


def _category(item: Judged) -> str:
    return item.file.name.split("/")[0]


def _total(judged: Sequence[Judged], profile: str) -> Tally:
    return sum((tally(item.file, item.alarms, PROFILES[profile]) for item in judged), Tally())


def _profiles(judged: Sequence[Judged]) -> dict[str, object]:
    return {name: round(_total(judged, name).scaled(profile), 2) for name, profile in PROFILES.items()}


def _row(judged: Sequence[Judged]) -> dict[str, object]:
    total = _total(judged, "standard")
    score = round(total.scaled(PROFILES["standard"]), 2) if total.windows else None
    return {"standard": score, "windows": total.windows, "found": total.found, "false_alarms": total.false_alarms}


def write_results(judged: Sequence[Judged], root: Path) -> None:
    """Writes `DETECTOR/CATEGORY/DETECTOR_FILE.csv` with timestamp, value, anomaly_score, label."""
    for item in judged:
        category, name = item.file.name.split("/")
        path = root / DETECTOR / category / f"{DETECTOR}_{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        label = np.zeros(len(item.score), np.int64)
        for first, last in item.file.windows:
            label[first : last + 1] = 1
        columns: Mapping[str, object] = {
            "timestamp": item.file.timestamps,
            "value": item.file.value,
            "anomaly_score": item.score,
            "label": label,
        }
        pd.DataFrame(columns).to_csv(path, index=False)


def evaluate_skab(root: Path) -> dict[str, object]:
    """Point-wise F1, false-alarm rate and missed-alarm rate over every labelled CSV under `root` (fractions).

    Each file trains on its own first 400 rows, which are not counted; labels are used for counting only.
    """
    paths = sorted(path for path in root.rglob("*.csv"))
    rows = {str(path.relative_to(root)): counted for path in paths if (counted := _skab_file(path)) is not None}
    if not rows:
        raise InvalidInputError(f"{root} holds no CSV with `;` and a column `anomaly`; name the folder of the SKAB data.")
    total = np.sum(list(rows.values()), axis=0)
    worst = min(rows, key=lambda name: _rates(rows[name])["f1"])
    return {
        **_rates(total),
        "files": len(rows),
        "rows": int(total.sum()),
        "by_file": {name: _rates(counted) for name, counted in rows.items()},
        "worst_file": worst,
    }


def _skab_file(path: Path) -> NDArray[np.int64] | None:
    """Hits, false alarms, misses, quiet rows; None for a file without labels."""
    try:
        frame = pd.read_csv(path, sep=";")
    except ValueError as error:
        raise InvalidInputError(f"{path} cannot be read as CSV with `;` ({error}).") from error
    if "anomaly" not in frame.columns:
        return None
    sensors = frame.drop(columns=[frame.columns[0], *(name for name in _LABELS if name in frame.columns)])
    try:
        values = sensors.to_numpy(np.float64)
    except ValueError as error:
        raise InvalidInputError(f"{path} has a value that is not a number ({error}).") from error
    model = fit_machine(values[:SKAB_TRAINING])
    said = model.out_of_control(values)[SKAB_TRAINING:]
    true = frame["anomaly"].to_numpy(np.float64)[SKAB_TRAINING:] > 0
    return np.array([(said & true).sum(), (said & ~true).sum(), (~said & true).sum(), (~said & ~true).sum()])


def _rates(counted: NDArray[np.int64]) -> dict[str, float]:
    hits, false, missed, quiet = (int(number) for number in counted)
    return {
        "f1": round(hits / max(hits + 0.5 * (false + missed), 1e-9), 4),
        "far": round(false / max(false + quiet, 1), 4),
        "mar": round(missed / max(missed + hits, 1), 4),
    }
