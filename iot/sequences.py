"""Which message numbers of a device are missing, and when it began to number anew. Pure, and independent of order.

What was heard is a set of (number, time) pairs; the answer is a function of that set alone, so it does not matter in which
order messages came, how often, or which of several processes took them. Numbers that follow each other, time not going
back, form a run. In the order of their times, a run that begins with a number already passed begins a new generation: the
device was reset. A run that continues the number of a message measured later reports the past and stays where its number is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_RUNS = 500
"""Runs kept of a device; what lies before is no longer looked at."""


@dataclass(frozen=True)
class Run:
    """Numbers without a hole."""

    generation: int
    first: int
    last: int
    first_us: int
    """Time of message `first` by the device's clock, microseconds."""
    last_us: int
    received_us: int
    """When its first message came."""
    reported: bool
    """What lies before it was told, or nothing is missing there."""

    def row(self) -> list[int]:
        """As stored."""
        return [
            self.generation, self.first, self.last, self.first_us, self.last_us, self.received_us, int(self.reported)
        ]  # fmt: skip


@dataclass(frozen=True)
class Heard:
    """Messages of one device by number and time, each (number, time) once; arrays of one length."""

    number: NDArray[np.int64]
    time_us: NDArray[np.int64]
    received_us: NDArray[np.int64]

    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """All three."""
        return self.number, self.time_us, self.received_us


@dataclass(frozen=True)
class Turn:
    """Something to tell: numbers that are missing, or numbering begun anew."""

    kind: str
    """`sequence_gap` or `sequence_reset`."""
    time_us: int
    """Of the message after it, by the device's clock."""
    received_us: int
    detail: dict[str, object]
    missing: tuple[int, int] | None = None
    """First and last number of a gap."""


def run_of(row: Sequence[int]) -> Run:
    """The opposite of `Run.row`."""
    return Run(row[0], row[1], row[2], row[3], row[4], row[5], bool(row[6]))


def weave(runs: Sequence[Run], heard: Heard) -> list[Run]:
    """The runs of one device after more was heard.

    Args:
        runs: as they were, empty for a device heard first.
        heard: what came.

    Returns:
        All runs in the order of generations and numbers.
    """
    pieces = _pieces(runs, heard)
    if not pieces:
        return list(runs)
    # The first run so far had nothing before it to tell; that may change.
    known = [replace(run, reported=run.reported and index > 0) for index, run in enumerate(runs)]
    ordered = sorted(_linked([*known, *pieces]), key=lambda run: (run.first_us, run.first, run.last_us))
    generations = sorted(_generations(ordered), key=lambda run: (run.generation, run.first, run.last))
    return _noted(_joined(generations))[-MAX_RUNS:]


def continued(runs: Sequence[Run], stretch: Run) -> list[Run] | None:
    """The usual case, quickly: a stretch without a hole that follows the last run, or begins one; None when it does not."""
    if not runs:
        return [replace(stretch, reported=True)]
    end = runs[-1]
    if stretch.first != end.last + 1 or stretch.first_us < end.last_us:
        return None
    return [*runs[:-1], replace(end, last=stretch.last, last_us=stretch.last_us)]


def turns(runs: Sequence[Run]) -> tuple[list[Run], list[Turn]]:
    """What was not told yet, and the runs with that noted."""
    told: list[Turn] = []
    noted: list[Run] = []
    before: Run | None = None
    for run in runs:
        if not run.reported:
            if before is not None and run.generation == before.generation:
                count = run.first - before.last - 1
                detail: dict[str, object] = {"first_missing": before.last + 1, "last_missing": run.first - 1, "count": count}
                missing = (before.last + 1, run.first - 1)
                told.append(Turn("sequence_gap", run.first_us, run.received_us, detail, missing))
            elif before is not None:
                told.append(Turn("sequence_reset", run.first_us, run.received_us, {"last": before.last, "now": run.first}))
            run = replace(run, reported=True)
        noted.append(run)
        before = run
    return noted, told


def holes(runs: Sequence[Run]) -> list[tuple[int, int]]:
    """First and last of each stretch of numbers that is missing, the present generation last."""
    return [
        (before.last + 1, run.first - 1)
        for before, run in pairwise(runs)
        if before.generation == run.generation
    ]


def _pieces(runs: Sequence[Run], heard: Heard) -> list[Run]:
    """What is not in the runs yet: stretches of numbers that came once each, else every message on its own."""
    new = np.ones(len(heard.number), bool)
    for run in runs:
        new &= ~_held(run, heard)
    number, moment, received = (column[new] for column in heard.columns())
    if len(number) == 0:
        return []
    steps = np.diff(number)
    cuts = np.flatnonzero((steps != 1) | (np.diff(moment) < 0)) + 1 if (steps > 0).all() else np.arange(1, len(number))
    begins, ends = np.append(0, cuts), np.append(cuts, len(number)) - 1
    return [
        Run(0, int(number[begin]), int(number[end]), int(moment[begin]), int(moment[end]), int(received[begin]), False)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
    ]


def _held(run: Run, heard: Heard) -> NDArray[np.bool_]:
    """Messages that are one of those of the run: number and time both lie in it, at its ends exactly."""
    number, moment = heard.number, heard.time_us
    within = (number > run.first) & (number < run.last) & (moment >= run.first_us) & (moment <= run.last_us)
    first = (number == run.first) & (moment == run.first_us)
    held: NDArray[np.bool_] = within | first | ((number == run.last) & (moment == run.last_us))
    return held


def _linked(pieces: Sequence[Run]) -> list[Run]:
    """Pieces put together where one number follows the other and time does not go back; the nearest in time go together."""
    begins: dict[int, list[Run]] = defaultdict(list)
    for piece in pieces:
        begins[piece.first].append(piece)
    follower: dict[int, Run] = {}
    headed: set[int] = set()
    by_end: dict[int, list[Run]] = defaultdict(list)
    for piece in pieces:
        by_end[piece.last].append(piece)
    for last, ends in by_end.items():
        starts = sorted(begins.get(last + 1, ()), key=lambda run: (run.first_us, run.last))
        free = sorted(ends, key=lambda run: (run.last_us, run.first))
        for start in starts:
            at = bisect_right([end.last_us for end in free], start.first_us) - 1
            if at >= 0:
                follower[id(free.pop(at))] = start
                headed.add(id(start))
    linked: list[Run] = []
    for piece in pieces:
        if id(piece) in headed:
            continue
        run, link = piece, piece
        while (following := follower.get(id(link))) is not None:
            run = replace(run, last=following.last, last_us=following.last_us)
            link = following
        linked.append(run)
    return linked


def _generations(ordered: Sequence[Run]) -> Iterator[Run]:
    """Numbers the generations of runs in the order of their times."""
    ends: dict[int, list[Run]] = defaultdict(list)
    for run in ordered:
        ends[run.last].append(run)
    past = [run for run in ordered if _is_past(run, ends)]
    present = [run for run in ordered if not _is_past(run, ends)]
    generation, highest, newest = 0, -1, 0
    spans: list[tuple[int, int, int]] = []
    for run in present:
        if run.first <= highest and run.first_us > newest:
            generation, highest = generation + 1, -1
        spans.append((generation, run.first, run.last))
        yield replace(run, generation=generation)
        if run.last > highest:
            highest, newest = run.last, run.last_us
    for run in past:
        home = [number for number, _, last in spans if last == run.first - 1]
        yield replace(run, generation=home[-1] if home else generation)


def _is_past(run: Run, ends: Mapping[int, Sequence[Run]]) -> bool:
    """True when the number before this run was measured after it, and not by a device that began anew since."""
    before = ends.get(run.first - 1, ())
    return bool(before) and all(run.first_us < end.last_us and end.first_us <= run.last_us for end in before)


def _joined(ordered: Sequence[Run]) -> list[Run]:
    """Runs of one generation that touch or overlap are one; what came first keeps its arrival."""
    joined: list[Run] = []
    for run in ordered:
        if joined and joined[-1].generation == run.generation and run.first <= joined[-1].last + 1:
            head = joined[-1]
            tail = run if run.last > head.last else head
            joined[-1] = replace(head, last=tail.last, last_us=tail.last_us)
        else:
            joined.append(run)
    return joined


def _noted(runs: Sequence[Run]) -> list[Run]:
    """Nothing is to be told of what came first, nor of a piece that lies in a hole that was told already."""
    noted: list[Run] = []
    after: Run | None = None
    for index in range(len(runs) - 1, -1, -1):
        run = runs[index]
        told = index == 0 or (after is not None and after.reported and after.generation == run.generation)
        after = replace(run, reported=run.reported or told)
        noted.append(after)
    return noted[::-1]
