"""Synthetic sites for the tests of scoring: a year of observations with weekends, holidays, noise and chosen troubles."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from shapely.geometry import box

from collateral.domain import (
    Asset,
    AssetKind,
    Device,
    Observation,
    Price,
    Quality,
    Site,
    SiteKind,
    Slot,
    Source,
    SubjectKind,
)
from scoring.alerts import AlertBook
from scoring.evaluate import HISTORY_DAYS, Reference, SiteResult, evaluate_site
from scoring.policy import Policy, load_policy

ZONE = ZoneInfo("Asia/Shanghai")
FIRST = date(2025, 9, 1)
LAST = date(2026, 9, 20)
NATIONAL_DAY = frozenset(date(2025, 10, day) for day in range(1, 9))
LABOUR_DAY = frozenset(date(2026, 5, day) for day in range(1, 6))
SPRING = frozenset(date(2026, 2, 15) + timedelta(days=offset) for offset in range(9))
HOLIDAYS = NATIONAL_DAY | LABOUR_DAY | SPRING
POLICY = load_policy()


def local(day: date, hour: float = 0.0) -> datetime:
    """UTC time of a local hour."""
    return (datetime.combine(day, time(), ZONE) + timedelta(hours=hour)).astimezone(UTC)


def morning(day: date) -> datetime:
    """When a day is judged."""
    return local(day, 6)


def make_site(kind: SiteKind, site_id: str = "X01") -> Site:
    """A site without anything special."""
    return Site(
        site_id, "B01", "甲", "A", kind, "Asia/Shanghai", 32651, box(120.0, 31.0, 120.01, 31.01), False,
        1000.0 if kind is SiteKind.SOLAR else None, 5000.0 if kind is SiteKind.SOLAR else None, 40,
    )


def make_asset(asset_id: str, loan_id: str = "L1", **changes: object) -> Asset:
    """A stock lot of 100 t."""
    fields: dict[str, object] = {
        "asset_id": asset_id, "site_id": "X01", "loan_id": loan_id, "kind": AssetKind.STOCK_LOT, "name": asset_id,
        "serial": f"S-{asset_id}", "commodity": "coil", "quantity": 100.0, "value": None, "pledged_on": FIRST,
        "corridor": None,
    }
    return Asset(**{**fields, **changes})  # type: ignore[arg-type]


@dataclass
class Diary:
    """Collects observations, with ids in the order of writing."""

    site_id: str = "X01"
    rows: list[Observation] = field(default_factory=list)

    def day(
        self, quantity: str, day: date, value: float, *, subject: str = "", relative: float = 0.005,
        quality: Quality = Quality.GOOD, known_at: datetime | None = None, revision: int = 1, owners: Sequence[str] = (),
        devices: Sequence[str] = (),
    ) -> None:
        """One telemetry observation of a local day, known two hours after its end."""
        evidence = {name: list(held) for name, held in (("owners", owners), ("devices", devices)) if held}
        self._add(
            SubjectKind.ASSET if subject else SubjectKind.SITE, subject or self.site_id, quantity, local(day),
            local(day + timedelta(days=1)), Source.TELEMETRY, f"{quantity}@1", value, abs(value) * relative, quality,
            known_at or local(day + timedelta(days=1), 2), evidence, revision,
        )

    def picture(
        self, quantity: str, day: date, value: float, width: float, *, slot: str = "", method: str = "net@abc",
        gsd_m: float = 0.3, hour: float = 10.5, evidence: Mapping[str, object] | None = None,
    ) -> None:
        """One observation from above, known six hours later."""
        moment = local(day, hour)
        self._add(
            SubjectKind.SLOT if slot else SubjectKind.SITE, slot or self.site_id, quantity, moment,
            moment + timedelta(seconds=1), Source.IMAGERY, method, value, width, Quality.GOOD, moment + timedelta(hours=6),
            {"gsd_m": gsd_m, **(evidence or {})}, 1,
        )

    def changes(self, day: date, *listed: tuple[str, str, float, float]) -> None:
        """What a picture shows as changed since the one before: kind, direction, square metres, confidence."""
        told = [{"kind": kind, "direction": way, "area_m2": area, "confidence": sure} for kind, way, area, sure in listed]
        area = sum(one[2] for one in listed)
        evidence = {"changes": told, "since": local(day, -100).isoformat()}
        self.picture("changed_area_m2", day, area, 0.2 * area, evidence=evidence)

    def _add(
        self, kind: SubjectKind, subject: str, quantity: str, begin: datetime, end: datetime, source: Source, method: str,
        value: float, width: float, quality: Quality, known_at: datetime, evidence: Mapping[str, object], revision: int,
    ) -> None:
        self.rows.append(
            Observation(
                kind, subject, self.site_id, quantity, begin, end, source, method, value, max(0.0, value - width),
                value + width, quality, known_at, evidence, len(self.rows) + 1, revision,
            )
        )


def days(first: date = FIRST, last: date = LAST) -> list[date]:
    """All days, both ends included."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def scene_days(last: date = LAST) -> list[date]:
    """Overpasses: about every 45 days at first, every 8 days in the last 64."""
    early = [last - timedelta(days=back) for back in range(75, 380, 45)]
    late = [last - timedelta(days=back) for back in range(2, 64, 8)]
    return sorted(day for day in early + late if day >= FIRST)


def usual_work(day: date) -> float:
    """Share of a working day's work: weekends, holidays, Spring Festival."""
    if day in HOLIDAYS:
        return 0.06
    return {5: 0.6, 6: 0.06}.get(day.weekday(), 1.0)


def _noisy_work(rng: random.Random, work: Callable[[date], float]) -> Callable[[date], float]:
    values: dict[date, float] = {}
    drift = 0.0
    for day in days():
        drift = 0.6 * drift + rng.gauss(0.0, 0.035)
        maintenance = 0.65 if rng.random() < 1 / 80 else 1.0
        values[day] = max(0.0, usual_work(day) * (1.0 + drift) * maintenance) * work(day)
    return values.__getitem__


def factory(
    seed: int = 1,
    work: Callable[[date], float] = lambda day: 1.0,
    reported: Callable[[date], float] | None = None,
    silent: Callable[[date], bool] = lambda day: False,
    recall: float = 0.85,
) -> Diary:
    """A factory with a meter, two machines and pictures of its yard.

    Args:
        seed: another number, another year.
        work: factor on what really happens.
        reported: factor on what devices say instead of `work`; None for honest devices.
        silent: days on which no reading comes.
        recall: share of vehicles the detector finds; corrected for on average, not by day.
    """
    rng = random.Random(seed)
    diary = Diary()
    usual = _noisy_work(rng, lambda day: 1.0)
    for day in days():
        said = usual(day) * (work if reported is None else reported)(day)
        diary.day("reporting_ratio", day, 0.0 if silent(day) else 0.998)
        if silent(day):
            continue
        diary.day("frozen_hours", day, rng.choice([0.5, 1.0]))
        diary.day("energy_kwh_per_day", day, 2400.0 + 9000.0 * said * rng.gauss(1.0, 0.01))
        for machine in ("M1", "M2"):
            diary.day("running_hours_per_day", day, min(24.0, 9.6 * said * rng.gauss(1.0, 0.03)), subject=machine)
    for day in scene_days():
        there = sum(rng.random() < 0.7 * min(1.2, usual(day) * work(day)) for _ in range(30))
        seen = sum(rng.random() < recall for _ in range(there)) / recall + (rng.random() < 0.3)
        diary.picture("vehicle_count", day, seen, 2.0 * (1.0 + 0.15 * seen) ** 0.5, gsd_m=rng.choice([0.15, 0.3]))
        goods_in_the_open(diary, day, 0.5 * work(day), random.Random(f"{seed} {day}"))
    return diary


def goods_in_the_open(diary: Diary, day: date, cover: float, rng: random.Random) -> None:
    """Goods on the yards of a site, and what comes and goes between two pictures; now and then a false roof."""
    found = min(1.0, max(0.0, cover * rng.gauss(1.0, 0.08) + rng.gauss(0.0, 0.03)))
    diary.picture("stock_cover", day, found, 0.1)
    diary.picture("stock_cover", day, found, 0.1, slot="Y1")
    false = [("roof", "altered", rng.uniform(20, 120), 0.6)] if rng.random() < 0.2 else []
    usual = [("stock", "appeared", rng.uniform(10, 80), 0.9), ("other", "altered", rng.uniform(5, 600), 0.7)]
    diary.changes(day, *usual, *false)


def solar(
    seed: int = 1, loss: Callable[[date], float] = lambda day: 0.0, dead: Callable[[date], bool] = lambda day: False
) -> Diary:
    """A plant of four inverters whose performance ratio follows the season; `loss` is a share, `dead` the fourth one."""
    rng = random.Random(seed)
    diary = Diary()
    for day in days():
        season = 0.03 * (1 if day.month in (11, 12, 1, 2) else -1 if day.month in (6, 7, 8) else 0)
        working = 0.75 if dead(day) else 1.0
        diary.day("reporting_ratio", day, 0.998)
        diary.day("irradiation_kwh_m2_per_day", day, max(0.4, rng.gauss(4.2, 1.6)))
        ratio = 0.84 * (1 + season) * (1.0 - rng.uniform(0.002, 0.025)) * (1.0 - loss(day)) * working * rng.gauss(1.0, 0.01)
        diary.day("performance_ratio", day, ratio, relative=0.015)
        for number in range(1, 5):
            share = 0.0 if number == 4 and dead(day) else rng.gauss(1.0, 0.008)
            diary.day("inverter_yield_ratio", day, share, subject=f"PV{number}")
    for day in scene_days():
        diary.picture("panel_area_m2", day, 5000.0 * rng.gauss(0.92, 0.03), 250.0)
        for what in ("missing", "covered", "dark"):
            diary.picture(f"panel_{what}_share", day, random.Random(f"{seed} {day} {what}").uniform(0.0, 0.012), 0.02)
    diary.picture("faulty_module_share", LAST - timedelta(days=150), 0.01, 0.008)
    return diary


def warehouse(
    seed: int = 1,
    fill: Callable[[date], float] = lambda day: 1.0,
    silent: Callable[[date], bool] = lambda day: False,
    stray: Callable[[date], bool] = lambda day: False,
) -> Diary:
    """A yard with scales, tags, a gate, one truck and twenty slots; `fill` is a factor on the stock."""
    rng = random.Random(seed)
    diary = Diary()
    level = 0.965
    levels: dict[date, float] = {}
    for day in days():
        level = min(1.0, max(0.92, 0.965 + 0.85 * (level - 0.965) + rng.gauss(0.0, 0.014)))
        levels[day] = level * fill(day)
        known = None
        if silent(day):
            diary.day("reporting_ratio", day, 0.0)
            known = local(next(later for later in days(day, LAST + timedelta(days=9)) if not silent(later)), 2.2)
        revision = 2 if silent(day) else 1
        diary.day("reporting_ratio", day, 0.998, known_at=known, revision=revision)
        diary.day("stock_weight_kg", day, 100_000.0 * levels[day], known_at=known)
        diary.day("tags_present_share", day, levels[day], known_at=known, relative=0.0)
        openings = sum(rng.random() < 0.6 * (0.25 + 0.75 * usual_work(day)) for _ in range(100))
        diary.day("door_openings_per_day", day, float(openings), known_at=known)
        diary.day("route_deviation_m", day, 9000.0 if stray(day) else rng.uniform(0, 120), subject="T1", known_at=known)
    for day in scene_days():
        occupied = 0.0
        for number in range(20):
            there = number < round(20 * levels[day])
            chance = (0.97 if there else 0.03) if rng.random() < 0.97 else 0.5
            occupied += chance
            diary.picture("slot_occupied", day, chance, 0.0, slot=f"B{number}")
        diary.picture("slot_occupancy", day, occupied / 20, 0.05)
        cars = sum(rng.random() < 0.5 * usual_work(day) for _ in range(20))
        diary.picture("vehicle_count", day, float(cars), 2.0)
        goods_in_the_open(diary, day, 0.6 * fill(day), random.Random(f"{seed} {day}"))
    return diary


def slots_of(asset_id: str, count: int = 20) -> tuple[Slot, ...]:
    """Slots B0, B1, ... of 5 t each."""
    return tuple(
        Slot(f"B{number}", "X01", f"B{number}", "yard_bay", asset_id, 5.0, box(120.0, 31.0, 120.001, 31.001))
        for number in range(count)
    )


def yard(asset_id: str = "") -> Slot:
    """A yard of about 100 m x 100 m without marked places."""
    return Slot("Y1", "X01", "Y1", "yard", asset_id, 0.0, box(120.0, 31.0, 120.00105, 31.0009))


def evaluate(
    kind: SiteKind,
    rows: Iterable[Observation],
    first: date,
    last: date,
    *,
    assets: tuple[Asset, ...] = (),
    slots: tuple[Slot, ...] = (),
    devices: tuple[Device, ...] = (),
    prices: tuple[Price, ...] = (),
    policy: Policy = POLICY,
    book: AlertBook | None = None,
) -> SiteResult:
    """Judges the site on every morning of first..last with what was known then."""
    reference = Reference(
        sites={"X01": make_site(kind)}, assets=assets, slots=slots, devices=devices, prices=prices, holidays=HOLIDAYS
    )
    times = [morning(day) for day in days(first, last)]
    since = times[0] - timedelta(days=HISTORY_DAYS)
    return evaluate_site("X01", list(rows), times, since, lambda at: reference, policy, book or AlertBook(), None)
