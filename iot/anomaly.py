"""Unusual readings of one series, found as they come: how rare is this, going by the series' own past?

Several simple statistics are watched side by side (the value, its step, its short against its long mean, its spread, what
is left after the season of day and week, how long it has stood still). For each, the highest peaks so far are kept and a
generalised Pareto tail is fitted to their excesses by moments (peaks over threshold: Pickands 1975,
doi:10.1214/aos/1176343003; streaming use after Siffer et al. 2017, doi:10.1145/3097983.3098144). A reading's score is the
number of readings one would wait for such a peak. What was once seen raises the bar, so a series that is wild by nature
does not go on alarming. State is a few hundred numbers per series, whatever its length; nothing looks ahead.

Limits: at least `WARM_UP` readings before anything is said; slow drifts below the long mean's memory are learnt as normal;
a level that stays is reported once, when it comes.
"""

from __future__ import annotations

import bisect
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

VERSION = 1
"""Of the statistics and parameters; what a detector has learnt is of no use to another version."""
DAY_S = 86_400
WARM_UP = 60
"""Readings before the first score."""


@dataclass(frozen=True)
class Parameters:
    """One set for every series. Chosen on half of the benchmark's files and on clean series (decision 0126)."""

    threshold: float = 400.0
    """An alarm is a peak to be waited for longer than this many readings, divided by the number of statistics."""
    peaks: int = 16
    """Highest peaks kept per statistic."""
    cluster: int = 12
    """Readings below a peak after which it counts as over."""
    least_excess: float = 0.25
    """Smallest mean excess of the tail, in standard deviations of the statistic."""
    quiet: int = 20
    """An episode is over after this many readings without exceedance."""
    fast: tuple[int, ...] = (30, 120)
    """Readings of the short means; the long ones are eight times as long."""
    spread: int = 12
    """Readings of the spread."""
    forget: float = 0.3
    """Weight of the newest day (or week) in the seasonal profile."""


PARAMETERS = Parameters()


class Tail:
    """Highest peaks of one statistic so far, and how rare a value is beside them."""

    __slots__ = ("_cluster", "_current", "_left", "_m2", "_mean", "_most", "count", "peaks")

    def __init__(self, most: int, cluster: int) -> None:
        self._most, self._cluster = most, cluster
        self.peaks: list[float] = []
        """Ascending."""
        self.count = 0
        self._mean = self._m2 = 0.0
        self._current = math.nan
        self._left = 0

    def period(self, value: float, least_excess: float) -> float:
        """Readings one waits for a peak as high as `value`; 0 within the usual."""
        peaks = self.peaks
        if len(peaks) < 6 or value <= peaks[0]:
            return 0.0
        base, number = peaks[0], len(peaks) - 1
        excess = [peak - base for peak in peaks[1:]]
        mean = max(sum(excess) / number, least_excess * self.deviation, 1e-12)
        variance = sum((e - mean) ** 2 for e in excess) / number
        shape = min(max(0.5 * (1 - mean * mean / variance), 0.0), 0.6) if variance > 0 else 0.0
        beyond = value - base
        if shape < 0.02:
            above = math.exp(-min(beyond / mean, 200.0))
        else:
            above = float((1 + shape * beyond / (mean * (1 - shape))) ** (-1 / shape))
        return self.count / (len(peaks) * max(above, 1e-90))

    @property
    def deviation(self) -> float:
        """Standard deviation of the statistic so far."""
        return math.sqrt(self._m2 / self.count) if self.count else 0.0

    def push(self, value: float) -> None:
        """Learns a value. Neighbouring high values count as one peak."""
        self.count += 1
        step = value - self._mean
        self._mean += step / self.count
        self._m2 += step * (value - self._mean)
        if math.isnan(self._current):
            if len(self.peaks) < self._most or value > self.peaks[0]:
                self._current, self._left = value, self._cluster
            return
        if value > self._current:
            self._current, self._left = value, self._cluster
        else:
            self._left -= 1
        if self._left <= 0:
            bisect.insort(self.peaks, self._current)
            del self.peaks[: len(self.peaks) - self._most]
            self._current = math.nan


    def state(self) -> list[Any]:
        """What was learnt; None stands for no peak at present."""
        current = None if math.isnan(self._current) else self._current
        return [self.peaks, self.count, self._mean, self._m2, current, self._left]

    def restore(self, state: Sequence[Any]) -> None:
        """Goes on from a `state`."""
        peaks, self.count, self._mean, self._m2, current, self._left = state
        self.peaks, self._current = list(peaks), math.nan if current is None else current


class Season:
    """What the same time of day (and of the week, once that predicts better) brought before."""

    __slots__ = ("_day", "_errors", "_forget", "_slots", "_step", "_week")

    def __init__(self, step_s: float, forget: float) -> None:
        self._slots = round(DAY_S / step_s) if step_s > 0 else 0
        self._step, self._forget = step_s, forget
        self._day: dict[int, float] = {}
        self._week: dict[int, float] = {}
        self._errors = [0.0, 0.0]

    def residual(self, local_s: int, value: float) -> float:
        """Value less what was expected; 0 while nothing is. Learns the value."""
        if not 12 <= self._slots <= 2_000:
            return 0.0
        slot = int(local_s % DAY_S // self._step)
        in_week = int(local_s // DAY_S % 7) * 10_000 + slot
        day, week = self._day.get(slot), self._week.get(in_week)
        expected = day
        if day is not None and week is not None:
            errors = self._errors
            errors[0] += 0.002 * (abs(value - day) - errors[0])
            errors[1] += 0.002 * (abs(value - week) - errors[1])
            expected = week if errors[1] < 0.8 * errors[0] else day
        self._day[slot] = value if day is None else day + self._forget * (value - day)
        self._week[in_week] = value if week is None else week + self._forget * (value - week)
        return 0.0 if expected is None else value - expected


    def state(self) -> list[Any]:
        """What was learnt."""
        return [list(self._day), list(self._day.values()), list(self._week), list(self._week.values()), self._errors]

    def restore(self, state: Sequence[Any]) -> None:
        """Goes on from a `state`."""
        days, of_days, weeks, of_weeks, errors = state
        self._day, self._week = dict(zip(days, of_days, strict=True)), dict(zip(weeks, of_weeks, strict=True))
        self._errors = list(errors)


class SeriesDetector:
    """Scores one series, reading by reading."""

    def __init__(self, step_s: float, parameters: Parameters = PARAMETERS) -> None:
        """`step_s`: usual seconds between readings."""
        self.parameters = parameters
        self._season = Season(step_s, parameters.forget)
        self._means: list[float] = []
        self._count = 0
        self._last = 0.0
        self._recent: list[float] = []
        self._residuals = [0.0, 0.0]
        self._still = 0
        self._tails: dict[str, Tail] = {}

    def update(self, local_s: int, value: float) -> tuple[float, str]:
        """Takes the next reading.

        Args:
            local_s: its time on the site's clock, seconds.
            value: finite value in the series' unit.

        Returns:
            Readings one would wait for something as unusual (divided by the number of statistics), and the statistic that
            says so ("" while there is nothing to say).
        """
        statistics = self._statistics(local_s, value)
        score, reason = 0.0, ""
        for name, number in statistics:
            tail = self._tails.get(name)
            if tail is None:
                tail = self._tails[name] = Tail(self.parameters.peaks, self.parameters.cluster)
            if self._count > WARM_UP:
                period = tail.period(number, self.parameters.least_excess)
                if period > score:
                    score, reason = period, name
            tail.push(number)
        return score / len(statistics), reason

    def state(self) -> bytes:
        """What was learnt, exact to the last bit; some 10 kB for a quarter-hourly series, 100 kB for one by the minute."""
        learnt: dict[str, Any] = {name: getattr(self, f"_{name}") for name in _LEARNT}
        learnt["season"] = self._season.state()
        learnt["tails"] = {name: tail.state() for name, tail in self._tails.items()}
        return zlib.compress(orjson.dumps(learnt), 1)

    def restore(self, state: bytes) -> None:
        """Goes on from a `state` of the same `VERSION`, step and parameters."""
        learnt: Mapping[str, Any] = orjson.loads(zlib.decompress(state))
        for name in _LEARNT:
            setattr(self, f"_{name}", learnt[name])
        self._season.restore(learnt["season"])
        for name, kept in learnt["tails"].items():
            self._tails[name] = Tail(self.parameters.peaks, self.parameters.cluster)
            self._tails[name].restore(kept)

    def _statistics(self, local_s: int, value: float) -> list[tuple[str, float]]:
        parameters = self.parameters
        step = value - self._last if self._count else 0.0
        self._last = value
        self._count += 1
        out = [("high", value), ("low", -value), ("rise", step), ("fall", -step)]
        if not self._means:
            self._means = [value] * (2 * len(parameters.fast))
        for index, fast in enumerate(parameters.fast):
            short = self._blend(2 * index, value, fast)
            long = self._blend(2 * index + 1, value, 8 * fast)
            out += [(f"above_{fast}", short - long), (f"below_{fast}", long - short)]
        recent = self._recent
        recent.append(value)
        del recent[: len(recent) - parameters.spread]
        middle = sum(recent) / len(recent)
        out.append(("spread", math.sqrt(sum((v - middle) ** 2 for v in recent) / len(recent))))
        left = self._season.residual(local_s, value)
        for index, length in enumerate((3, 12)):
            self._residuals[index] += (left - self._residuals[index]) * 2 / (length + 1)
            number = self._residuals[index]
            out += [(f"over_season_{length}", number), (f"under_season_{length}", -number)]
        self._still = self._still + 1 if step == 0.0 else 0
        out.append(("frozen", float(self._still)))
        return out

    def _blend(self, index: int, value: float, length: int) -> float:
        weight = max(2 / (length + 1), 1 / self._count)
        self._means[index] += weight * (value - self._means[index])
        return self._means[index]


_LEARNT = ("means", "count", "last", "recent", "residuals", "still")


@dataclass(frozen=True)
class Episode:
    """Unusual readings without a quiet stretch between them."""

    first: int
    """Index of the reading that raised it."""
    last: int
    """Index of its last exceedance."""
    score: float
    """Highest score in it, readings."""
    reason: str
    """Statistic of that score."""


def scores(
    local_s: NDArray[np.int64], value: NDArray[np.float64], parameters: Parameters = PARAMETERS
) -> tuple[NDArray[np.float64], list[str]]:
    """Score and reason of every reading of a series in order of time; a reading's score depends on those before it only.

    Args:
        local_s: times on the site's clock, seconds, ascending.
        value: finite values.
        parameters: the detector's.
    """
    step = float(np.median(np.diff(local_s[: 10 * WARM_UP]))) if len(local_s) > 1 else 0.0
    detector = SeriesDetector(step, parameters)
    pairs = [detector.update(at, v) for at, v in zip(local_s.tolist(), value.tolist(), strict=True)]
    return np.array([score for score, _ in pairs]), [reason for _, reason in pairs]


def episodes(score: NDArray[np.float64], reason: Sequence[str], parameters: Parameters = PARAMETERS) -> list[Episode]:
    """Groups the readings at or above the threshold."""
    out: list[Episode] = []
    for index in np.flatnonzero(score >= parameters.threshold).tolist():
        now = float(score[index])
        if out and index - out[-1].last <= parameters.quiet:
            best = max(out[-1], Episode(index, index, now, reason[index]), key=lambda episode: episode.score)
            out[-1] = Episode(out[-1].first, index, best.score, best.reason)
        else:
            out.append(Episode(index, index, now, reason[index]))
    return out
