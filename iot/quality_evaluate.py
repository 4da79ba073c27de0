"""`collateral evaluate quality`: the quality rules against labelled spans, and against faults put into real series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from collateral.errors import InvalidInputError
from collateral.progress import progress
from collateral.quantities import Adds
from iot.quality import Flag, Flags, Limits, judge
from iot.quality_faults import KINDS, Kind, Series, Span, delivered, put_fault, with_register
from iot.signals import Signal

LABELLED = {
    "stale": ("ac_power_inv_2173_stale_data.csv", "stale_data_mask", Flag.STALE),
    "interpolated": (
        "ac_power_inv_2173_interpolated_data.csv",
        "interpolated_data_mask",
        Flag.INTERPOLATED | Flag.STALE | Flag.AT_REST,
    ),
    "outlier": ("ac_power_inv_7539_outliers.csv", "outlier", Flag.OUTLIER | Flag.RANGE),
}
"""Per kind: file, column of labels, flags that mean it. A line between equal values is a constant, between zeros a rest."""
PER_SERIES = 12
"""Faults of each kind put into each series, one at a time."""
_WEEKS = 6
"""History around a fault that is judged."""


@dataclass(frozen=True)
class Source:
    """Where a real series comes from."""

    file: str
    time: str
    value: str
    adds: Adds
    high: float
    low: float = 0.0
    step_s: int = 0
    """Rebuilds the times where the file's cannot be used."""


SOURCES = (
    Source("pv_inverters/TAEFC1044741.csv", "ts", "meas_val_f", Adds.GAUGE, 30, -1),
    Source("pv_inverters/ZT162185000441C1203.csv", "ts", "meas_val_f", Adds.GAUGE, 100, -1),
    Source("steel/Steel_industry_data.csv", "date", "Usage_kWh", Adds.INTERVAL, 600, step_s=900),
    Source("steel/Steel_industry_data.csv", "date", "Lagging_Current_Reactive.Power_kVarh", Adds.INTERVAL, 500, step_s=900),
    Source("pvanalytics/serf_east_15min_ac_power.csv", "measured_on", "ac_power", Adds.GAUGE, 20_000, -100),
)


def evaluate_quality(root: Path, seed: int = 1) -> dict[str, object]:
    """Labelled spans found and false ones; precision and recall of injected faults by kind.

    Args:
        root: folder that holds `pvanalytics` and, for the injected faults, the other telemetry; or `pvanalytics` itself.
        seed: of the injected faults.
    """
    top = root if (root / "pvanalytics").is_dir() else root.parent
    if not (top / "pvanalytics").is_dir():
        raise InvalidInputError(f"{root} holds no folder `pvanalytics`; name the folder of the telemetry data.")
    kinds = {name: _labelled(top / "pvanalytics" / file, column, flag) for name, (file, column, flag) in LABELLED.items()}
    found = [source for source in SOURCES if (top / source.file).is_file()]
    series = [_prepared(_series(top / source.file, source)) for source in found]
    return {"kinds": kinds, "injected": _injected(series, seed), "series": [item.name for item in series], "seed": seed}


def _labelled(path: Path, column: str, flag: Flag) -> dict[str, int]:
    frame = _frame(path)
    if column not in frame.columns:
        raise InvalidInputError(f"{path} has no column {column!r}; it has {', '.join(frame.columns)}.")
    frame = frame[frame.iloc[:, 1].notna()].reset_index(drop=True)
    label = frame[column].astype(str).str.lower().to_numpy() == "true"
    signal = _signal(frame.iloc[:, 0], frame.iloc[:, 1])
    said = (judge(signal, Limits(-10.0, 10.0, Adds.GAUGE)) & int(flag)) > 0
    spans = _spans(label)
    return {
        "spans": len(spans),
        "found": sum(bool(said[a : b + 1].any()) for a, b in spans),
        "false": sum(not label[a : b + 1].any() for a, b in _spans(said)),
    }


def _injected(series: Sequence[Series], seed: int) -> dict[str, dict[str, object]]:
    out: dict[str, dict[str, object]] = {}
    for number, (name, kind) in enumerate(progress(KINDS.items(), "faults", total=len(KINDS), unit="kind")):
        rng = np.random.default_rng([seed, number])
        trials = [_trial(item, kind, rng) for item in series for _ in range(PER_SERIES)]
        done = [trial for trial in trials if trial is not None]
        hits, false = sum(hit for hit, _ in done), sum(wrong for _, wrong in done)
        out[name] = {
            "precision": round(hits / (hits + false), 4) if hits + false else None,
            "recall": round(hits / len(done), 4) if done else None,
            "n": len(done),
            "false": false,
        }
    return out


def _trial(series: Series, kind: Kind, rng: np.random.Generator) -> tuple[int, int] | None:
    """Whether one fault was found, and how many other spans got its flag that the series as it was does not get."""
    for _ in range(20):
        piece = _piece(with_register(series, rng) if kind.registers else series, rng)
        put = put_fault(piece, kind, rng)
        if put is None:
            continue
        faulty, (first, last) = put
        flags = judge(faulty.signal, faulty.limits)
        said = (flags & int(kind.flag)) > 0
        hit = bool(said[first : last + 1].any())
        return int(hit), _elsewhere(said, (first, last))
    return None


def _elsewhere(said: NDArray[np.bool_], fault: Span) -> int:
    first, last = fault
    return sum(b < first - 1 or a > last + 1 for a, b in _spans(said))


def _piece(series: Series, rng: np.random.Generator) -> Series:
    size = round(_WEEKS * 7 * 86_400e6 / series.signal.interval_us)
    first = int(rng.integers(0, max(1, len(series.signal.value) - size)))
    chosen = np.zeros(len(series.signal.value), bool)
    chosen[first : first + size] = True
    return Series(series.name, delivered(series.signal.where(chosen), rng), series.limits)


def _prepared(series: Series) -> Series:
    """The series without what its own rules already doubt: what is not known to be right cannot count as right."""
    flags: Flags = judge(series.signal, series.limits)
    return Series(series.name, series.signal.where(flags == 0), series.limits)


def _series(path: Path, source: Source) -> Series:
    frame = _frame(path)
    if source.value not in frame.columns or source.time not in frame.columns:
        raise InvalidInputError(f"{path} needs columns {source.time!r} and {source.value!r}.")
    times = frame[source.time]
    if source.step_s:
        times = pd.Series(pd.date_range("2018-01-01", periods=len(frame), freq=f"{source.step_s}s"))
    signal = _signal(times, frame[source.value])
    return Series(f"{path.stem} {source.value}", signal, Limits(source.low, source.high, source.adds))


def _frame(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{path} cannot be read ({error}); it should be a CSV of the telemetry data.") from error


def _signal(times: pd.Series[str] | pd.Series[pd.Timestamp], values: pd.Series[float]) -> Signal:
    time = pd.to_datetime(times, utc=True).to_numpy("datetime64[us]").astype(np.int64)
    value = np.asarray(values, np.float64)
    keep = np.isfinite(value)
    _, first = np.unique(time[keep], return_index=True)
    time, value = time[keep][first], value[keep][first]
    return Signal("device", "quantity", int(np.median(np.diff(time))), time, value, time + 1_000_000)


def _spans(mask: NDArray[np.bool_]) -> list[Span]:
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    return [(int(a), int(b) - 1) for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)]
