"""Message numbers: what is missing and when numbering began anew, whatever the order and splitting of the messages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collateral.db.arrivals import HEARD, HeardRow
from iot.sequences import Run, holes, turns
from iot.settle import by_device, taken_in

Pair = tuple[int, int]


def batch(pairs: Sequence[Pair]) -> HeardRow:
    messages = np.zeros(len(pairs), HEARD)
    messages["sequence"], messages["time_us"] = zip(*pairs, strict=True)
    return HeardRow(1, ["m"], messages, 1)


def woven(*batches: Sequence[Pair], runs: Sequence[Run] = ()) -> list[Run]:
    """As if each batch were settled on its own."""
    found = list(runs)
    for pairs in batches:
        found = taken_in(found, by_device([batch(pairs)])["m"])
    return found


def shape(runs: Sequence[Run]) -> list[tuple[int, int, int]]:
    return [(run.generation, run.first, run.last) for run in runs]


def test_numbers_without_a_hole_are_one_run() -> None:
    runs = woven([(5, 50), (6, 60)], [(7, 70)], [(6, 60), (7, 70)], [(8, 80)])
    assert shape(runs) == [(0, 5, 8)] and not holes(runs)
    assert turns(runs)[1] == []


def test_a_hole_is_told_once_and_closes_when_the_missing_come() -> None:
    runs = woven([(1, 10), (2, 20)], [(6, 60)])
    runs, told = turns(runs)
    assert [(turn.kind, turn.detail) for turn in told] == [
        ("sequence_gap", {"first_missing": 3, "last_missing": 5, "count": 3})
    ]
    assert holes(runs) == [(3, 5)]
    runs = woven([(4, 40)], runs=runs)
    assert holes(runs) == [(3, 3), (5, 5)] and turns(runs)[1] == []
    runs = woven([(5, 50), (3, 30)], runs=runs)
    assert shape(runs) == [(0, 1, 6)]


def test_numbers_from_before_the_first_open_a_hole() -> None:
    runs, told = turns(woven([(9, 90)], [(5, 50)]))
    assert holes(runs) == [(6, 8)] and [turn.detail["count"] for turn in told] == [3]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_numbering_begun_anew(order: Sequence[int]) -> None:
    batches = [[(1, 10), (2, 20)], [(6, 60)], [(0, 70), (1, 80)], [(2, 90)]]
    runs = woven(*(batches[index] for index in order))
    assert shape(runs) == [(0, 1, 2), (0, 6, 6), (1, 0, 2)]
    assert {turn.kind for turn in turns(runs)[1]} == {"sequence_gap", "sequence_reset"}


def test_a_report_of_the_past_is_neither_gap_nor_restart() -> None:
    live = [(number, 10 * number) for number in range(100)]
    assert shape(woven(live, [(100, 305)], [(101, 1010)])) == [(0, 0, 101)]
    assert shape(woven(live, [(100, 305), (101, 1010)], [(102, 1020)])) == [(0, 0, 102)]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_order_splitting_and_repetition_gives_the_same(data: st.DataObject) -> None:
    pairs = [(number, 10 * number) for number in sorted(data.draw(st.sets(st.integers(0, 30), min_size=1)))]
    batches = split(data, data.draw(st.permutations(pairs + data.draw(st.lists(st.sampled_from(pairs), max_size=9)))))
    assert shape(woven(*batches)) == shape(woven(pairs))


@settings(max_examples=100, deadline=None)
@given(lives=st.lists(st.integers(1, 12), min_size=2, max_size=3), data=st.data())
def test_restarts_are_found_in_any_order_of_what_is_settled_together(lives: list[int], data: st.DataObject) -> None:
    pairs = [
        (number, 1000 * generation + 10 * number) for generation, length in enumerate(lives) for number in range(length)
    ]
    mixed = data.draw(st.permutations(pairs))
    assert shape(woven(mixed)) == [(generation, 0, length - 1) for generation, length in enumerate(lives)]
    assert shape(woven(*split(data, pairs))) == shape(woven(mixed))
    assert [turn.kind for turn in turns(woven(mixed))[1]] == ["sequence_reset"] * (len(lives) - 1)


def split(data: st.DataObject, pairs: Sequence[Pair]) -> list[Sequence[Pair]]:
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(pairs) - 1)), max_size=6)))
    return [pairs[a:b] for a, b in zip([0, *cuts], [*cuts, len(pairs)], strict=True) if pairs[a:b]]
