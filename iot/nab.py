"""Scores of the Numenta Anomaly Benchmark, from its published definition.

Lavin and Ahmad 2015, "Evaluating Real-time Anomaly Detection Algorithms", doi:10.1109/ICMLA.2015.141: each labelled window
counts once, by a sigmoid of how early in it the first alarm comes; an alarm outside costs by its distance from the window
before it; the first 15 % of a series (750 readings at most) count neither way; totals are scaled so that silence is 0 and
an alarm at the start of every window is 100.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collateral.errors import InvalidInputError


@dataclass(frozen=True)
class Profile:
    """What hits, false alarms and misses weigh."""

    hit: float
    false_alarm: float
    miss: float


PROFILES: Mapping[str, Profile] = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_fp": Profile(1.0, 0.22, 1.0),
    "reward_low_fn": Profile(1.0, 0.11, 2.0),
}


@dataclass(frozen=True)
class BenchmarkFile:
    """One series with its labelled windows."""

    name: str
    """Category and file, such as `realTraffic/speed_6005.csv`."""
    timestamps: tuple[str, ...]
    """As they stand in the file."""
    time_s: NDArray[np.int64]
    value: NDArray[np.float64]
    windows: tuple[tuple[int, int], ...]
    """First and last index of each labelled window."""

    @property
    def probation(self) -> int:
        """Readings at the start that count neither way."""
        return min(math.floor(0.15 * len(self.value)), 750)

    @property
    def months(self) -> float:
        """Length after probation, months of 30 days."""
        return float(self.time_s[-1] - self.time_s[self.probation]) / (30 * 86_400)


@dataclass(frozen=True)
class Tally:
    """What alarms were worth in one or several series; adds up."""

    raw: float = 0.0
    windows: int = 0
    found: int = 0
    false_alarms: int = 0
    months: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.raw + other.raw,
            self.windows + other.windows,
            self.found + other.found,
            self.false_alarms + other.false_alarms,
            self.months + other.months,
        )

    def scaled(self, profile: Profile) -> float:
        """0 for silence, 100 for a perfect detector; NaN without windows."""
        if not self.windows:
            return math.nan
        silence = -profile.miss * self.windows
        return 100 * (self.raw - silence) / (profile.hit * self.windows - silence)


def read_benchmark(root: Path) -> list[BenchmarkFile]:
    """Reads `data/*/*.csv` and `labels/combined_windows.json`. Raises `InvalidInputError` naming what is wrong."""
    labels = root / "labels" / "combined_windows.json"
    if not labels.is_file():
        raise InvalidInputError(f"{labels} is missing; name the folder that holds `data` and `labels`.")
    windows = json.loads(labels.read_text(encoding="utf-8"))
    files = [_read(root / "data" / name, name, pairs) for name, pairs in sorted(windows.items())]
    if not files:
        raise InvalidInputError(f"{labels} names no series.")
    return files


def _read(path: Path, name: str, pairs: Sequence[Sequence[str]]) -> BenchmarkFile:
    try:
        frame = pd.read_csv(path, dtype={"timestamp": str})
        time = pd.to_datetime(frame["timestamp"]).to_numpy("datetime64[s]").astype(np.int64)
        value = frame["value"].to_numpy(np.float64)
        edges = pd.to_datetime(pd.Series([edge for pair in pairs for edge in pair], dtype=str))
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); it needs columns timestamp and value.") from error
    if len(value) < 2 or not np.isfinite(value).all():
        raise InvalidInputError(f"{path} needs two readings or more, all finite.")
    at = np.searchsorted(time, edges.to_numpy("datetime64[s]").astype(np.int64))
    spans = [(int(a), min(int(b), len(time) - 1)) for a, b in at.reshape(-1, 2)]
    return BenchmarkFile(name, tuple(frame["timestamp"]), time, value, tuple(sorted(spans)))


def tally(file: BenchmarkFile, alarms: NDArray[np.bool_], profile: Profile) -> Tally:
    """What `alarms` (one value per reading) are worth."""
    counted = alarms.copy()
    counted[: file.probation] = False
    inside = np.zeros(len(alarms), bool)
    raw, found = 0.0, 0
    for first, last in file.windows:
        inside[first : last + 1] = True
        hits = np.flatnonzero(counted[first : last + 1])
        if len(hits):
            found += 1
            raw += profile.hit * _sigmoid(-(last - first - int(hits[0]) + 1) / (last - first + 1)) / _sigmoid(-1.0)
        else:
            raw -= profile.miss
    outside = np.flatnonzero(counted & ~inside).tolist()
    raw += profile.false_alarm * sum(_after(file.windows, index) for index in outside)
    return Tally(raw, len(file.windows), found, len(outside), file.months)


def _after(windows: Sequence[tuple[int, int]], index: int) -> float:
    before = [window for window in windows if window[1] < index]
    if not before:
        return -1.0
    first, last = before[-1]
    return _sigmoid((index - last) / (last - first)) if last > first else -1.0


def _sigmoid(position: float) -> float:
    return -1.0 if position > 3 else 2 / (1 + math.exp(5 * position)) - 1
