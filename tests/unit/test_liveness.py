"""A gateway that hides many devices is one failure; a device's own interval is learnt beside the registered one."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from collateral.domain import Asset
from iot.days import DAY_US, DayGrid, grid_over
from iot.liveness import Awaited, usual_interval_s
from iot.signals import Signal, View
from iot.statements import statements
from iot.trust import SiteContext, Statement
from tests.iot_support import site

BEGIN = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp()) * 1_000_000
DAYS = 12
REGISTERED_S = 900


def days() -> DayGrid:
    return grid_over(ZoneInfo("UTC"), BEGIN, BEGIN + DAYS * DAY_US)


def ticks(device: str, every_s: int, silent: tuple[int, ...] = ()) -> Signal:
    time = np.arange(BEGIN + every_s * 1_000_000, BEGIN + DAYS * DAY_US + 1, every_s * 1_000_000, dtype=np.int64)
    time = time[~np.isin((time - BEGIN - 1) // DAY_US, silent)]
    value = np.random.default_rng(len(time)).random(len(time))
    return Signal(device, "temperature_degc", REGISTERED_S * 1_000_000, time, value, time + 1)


def reporting(signals: list[Signal], gateways: dict[str, str]) -> Statement:
    """`reporting_ratio` of the site."""
    by_key = {(one.device_id, one.quantity): one for one in signals}
    names = sorted({one.device_id for one in signals} | set(gateways))
    none: dict[str, Asset] = {}
    context = SiteContext(
        site(), none, dict.fromkeys(names, ""), dict.fromkeys(names, BEGIN),
        gateways, {name: Awaited(REGISTERED_S * 1_000_000, BEGIN) for name in names},
    )  # fmt: skip
    said = statements(View(days(), by_key, None, by_key), context)
    return next(one for one in said if one.quantity == "reporting_ratio")


def test_a_gateway_is_named_when_all_behind_it_are_silent_together() -> None:
    behind = {"a": "GW", "b": "GW", "c": "", "d": "LONE"}
    out = [ticks("a", 900, (4, 6)), ticks("b", 900, (4,)), ticks("c", 900, (6,)), ticks("d", 900, (4,))]
    found = reporting(out, behind)
    assert [row.get("silent_gateways") for row in found.evidence] == [None] * 4 + [["GW"]] + [None] * 7
    assert found.evidence[4]["silent_devices"] == 3
    never = reporting([ticks("c", 900)], {"a": "GW", "b": "GW", "c": ""})
    assert all(row["silent_gateways"] == ["GW"] for row in never.evidence)


def test_an_interval_of_its_own_is_learnt_and_told() -> None:
    slow = reporting([ticks("a", 3600), ticks("b", 900)], {})
    assert [row.get("usual_interval_s") for row in slow.evidence] == [None] + [3600.0] * 11
    usual = reporting([ticks("a", 900), ticks("b", 900)], {})
    assert all("usual_interval_s" not in row for row in usual.evidence)


def test_an_outage_does_not_change_what_is_usual() -> None:
    usual = usual_interval_s(days(), ticks("a", 600, (5, 6)).time_us)
    assert np.isnan(usual[0])
    assert usual[1:].tolist() == pytest.approx([600.0] * (DAYS - 1))
