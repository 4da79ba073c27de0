"""The law of alerts about areas, over drawn weeks: each stretch outside is told of once, at once or by the judgement."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from collateral.db.alerts import Alert, AlertEvent
from collateral.db.journeys import Journey
from collateral.domain import AlertState, Priority, SubjectKind
from iot.journeys import Past, Tracker, journeys_of_day
from iot.tracks import day_track
from scoring.alerts import SEEN_UNTIL, AlertBook, Move, Transition
from scoring.calendar import SiteCalendar
from scoring.findings import Finding, Sample
from scoring.present import present_findings, told
from tests.scoring_support import POLICY
from tests.unit.test_tracks_days import HOME, areas, metres

NAME, RULE = "left_region", POLICY.rules["left_region"]
CALENDAR = SiteCalendar(POLICY.calendar, "UTC", frozenset())
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
DAY, QUARTER = timedelta(days=1), timedelta(minutes=15)
DAYS, PER_DAY = 7, 96
AWAY_M = 15_000.0
REGION = areas(region=metres(-5_000, -5_000, 5_000, 5_000))(0)
TRACKER = Tracker("t", "S1", "T1", QUARTER.total_seconds(), 32651)
NOTHING_KNOWN = Past(np.empty((0, 2)), None, False)
Away = NDArray[np.bool_]


def drawn(seed: int) -> Away:
    """Whether it is away at each quarter-hour: for half an hour to two days, with a quarter to a day and more between."""
    draw, away, place = random.Random(seed), np.zeros(DAYS * PER_DAY, bool), 20
    while place < len(away) - PER_DAY:
        stays = draw.choice([2, 3, 8, 20, 40, 100, 200])
        away[place : place + stays] = True
        place += stays + draw.choice([1, 3, 6, 20, 60, 120])
    away[-PER_DAY:] = False
    return away


def stretches(away: Away) -> list[tuple[datetime, datetime]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], away, [False]]).astype(int))).tolist()
    return [
        (BEGIN + (first + 1) * QUARTER, BEGIN + last * QUARTER) for first, last in zip(edges[::2], edges[1::2], strict=True)
    ]


def day_journeys(away: Away, day: int) -> list[Journey]:
    """Of what had come of a day by the end of `away`."""
    numbers = np.arange(day * PER_DAY, min((day + 1) * PER_DAY, len(away)))
    times = np.array([round((BEGIN + (number + 1) * QUARTER).timestamp() * 1e6) for number in numbers.tolist()], np.int64)
    xy = np.column_stack([HOME[0] + away[numbers] * (5_000 + AWAY_M), np.full(len(numbers), HOME[1])])
    return journeys_of_day(TRACKER, (BEGIN + day * DAY).date(), day_track(times, xy), REGION, NOTHING_KNOWN, None, None)


@dataclass
class Desk:
    """Alerts of the truck, each cleared by a person soon after it was raised."""

    alerts: list[Alert] = field(default_factory=list)

    def step(self, journeys: Sequence[Journey], samples: Sequence[Sample], at: datetime, whole_days: bool) -> None:
        ends = [AlertEvent(one.alert_id, 2, one.raised_at + QUARTER / 3, AlertState.CLEARED, "officer", "", None)
                for one in self.alerts]  # fmt: skip
        book = AlertBook(self.alerts, ends)
        for held in book.cleared_by_people({NAME}):
            assert held.tells_of is not None and held.cleared_at is not None
            found = told(journeys, NAME, RULE, CALENDAR, held.tells_of)
            book.told(held, max(found.begun_by, CALENDAR.at_local(held.cleared_at.date(), 0)), found.until)
        step = book.step(NAME, RULE, Finding(SubjectKind.ASSET, "T1", tuple(samples)), "S1", at, whole_days)
        if step is not None:
            self._raise(step)

    def _raise(self, step: Transition) -> None:
        assert step.move is Move.RAISE
        self.alerts.append(Alert(
            len(self.alerts) + 1, NAME, SubjectKind.ASSET, "T1", "S1", Priority.HIGH, step.at, "1", AlertState.CLEARED,
            step.at, "officer", "", None, step.evidence,
        ))  # fmt: skip


def passes(away: Away, at_once: bool) -> Iterator[tuple[datetime, list[Journey], Sequence[Sample], bool]]:
    """What a run of the alerts is given through the week: at once every quarter of an hour, by the judgement at six."""
    whole = [day_journeys(away, day) for day in range(DAYS)]
    for number in range(1, len(away) + 1):
        day, now = (number - 1) // PER_DAY, BEGIN + number * QUARTER + timedelta(minutes=2)
        judges = number % PER_DAY == 24 and day > 0
        if not (at_once or judges):
            continue
        journeys = [*(one for before in whole[:day] for one in before), *day_journeys(away[:number], day)]
        if at_once:
            for _, finding in present_findings(journeys, {"T1": "t"}, POLICY.rules, CALENDAR, now):
                yield now, journeys, finding.samples, False
        if judges:
            days = range(max(0, day - RULE.window), day)
            yield now, journeys, [Sample(BEGIN + (one + 1) * DAY, observed(away, one)) for one in days], True


def observed(away: Away, day: int) -> float:
    """As `iot.tracks.outside_region` says of the day."""
    metres_off = np.where(away[day * PER_DAY : (day + 1) * PER_DAY], AWAY_M, 0.0)
    return float(np.minimum(metres_off, np.append(metres_off[1:], metres_off[-1])).max())


@pytest.mark.parametrize("seed", range(2))
def test_told_at_once_each_stretch_is_one_alert(seed: int) -> None:
    away, desk = drawn(seed), Desk()
    for now, journeys, samples, whole_days in passes(away, at_once=True):
        desk.step(journeys, samples, now, whole_days)
    seen = [datetime.fromisoformat(str(one.evidence[SEEN_UNTIL])) for one in desk.alerts]
    outside = stretches(away)
    assert len(seen) == len(outside) > 3
    assert all(first <= moment <= last for moment, (first, last) in zip(seen, outside, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_judged_alone_each_day_on_which_one_began_is_one_alert(seed: int) -> None:
    away, desk = drawn(seed), Desk()
    for now, journeys, samples, whole_days in passes(away, at_once=False):
        desk.step(journeys, samples, now, whole_days)
    ends = [BEGIN + (day + 1) * DAY for day in range(DAYS)]
    news = [end for end in ends if any(end - DAY < first <= end for first, _ in stretches(away))]
    assert [one.raised_at.date() for one in desk.alerts] == [end.date() for end in news] and len(news) > 1
