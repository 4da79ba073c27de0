"""The sample portfolio as domain values, and as the folder that `collateral portfolio import` reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
from shapely import set_precision, to_wkt
from shapely.geometry import mapping
from shapely.geometry.base import BaseGeometry

from collateral.domain import (
    Asset,
    AssetKind,
    Borrower,
    Device,
    Link,
    Loan,
    LoanSite,
    Portfolio,
    Price,
    Site,
    SiteKind,
    Slot,
    User,
)
from collateral.portfolio.folder import table_bytes
from data_samples.calendar import CALENDAR, HOLIDAY_NAMES
from data_samples.clock import Clock, stream
from data_samples.companies import BRANCHES, COMMODITIES, COMPANIES, KIND_NAMES, TIES, USERS
from data_samples.inventory import Inventory, SitePlan
from data_samples.layout import to_lonlat
from data_samples.operations import onset_of
from data_samples.storylines import LOCAL, TIME_ZONE

CURRENCY = "CNY"
COVENANT = Decimal("1.30")
PV_VALUE_PER_KWP = 3_200.0
PRICE_FALL = 0.24
"""Share of its price a commodity loses in a covenant breach of strength 1."""


@dataclass(frozen=True)
class _Collected:
    """Rows while they are gathered."""

    loans: list[Loan]
    loan_sites: list[LoanSite]
    sites: list[Site]
    assets: list[Asset]
    slots: list[Slot]


def build_portfolio(
    plans: Sequence[SitePlan], things: Mapping[str, Inventory], clock: Clock, seed: int, strength: float
) -> Portfolio:
    """Everything the bank would hand over about the sample world."""
    rows = _Collected([], [], [], [], [])
    for plan in plans:
        rows.sites.append(_site(plan, things[plan.site_id]))
        rows.slots.extend(_slots(plan, things[plan.site_id]))
    _loans(plans, things, clock, seed, rows)
    borrowers = {plan.company.borrower_id for plan in plans} | {loan.borrower_id for loan in rows.loans}
    return Portfolio(
        borrowers=tuple(
            Borrower(c.borrower_id, c.name, c.name_en, c.group_name, c.industry)
            for c in COMPANIES if c.borrower_id in borrowers
        ),
        loans=tuple(rows.loans), sites=tuple(rows.sites), loan_sites=tuple(rows.loan_sites), assets=tuple(rows.assets),
        slots=tuple(rows.slots),
        devices=tuple(device for plan in plans for device in things[plan.site_id].devices),
        prices=tuple(_prices(plans, clock, seed, strength)),
        links=tuple(
            Link(tie.from_id, tie.to_id, tie.kind, Decimal(tie.amount) if tie.amount else None,
                 CURRENCY if tie.amount else "")
            for tie in TIES if tie.from_id in borrowers and tie.to_id in borrowers
        ),
        users=USERS,
    )


def _site(plan: SitePlan, things: Inventory) -> Site:
    zh, en = KIND_NAMES[plan.cast.kind]
    solar = plan.cast.kind == SiteKind.SOLAR
    area = sum(table.area for shape in plan.layout.arrays for table in shape.tables)
    short = plan.company.name[2:4]
    return Site(
        plan.site_id, plan.company.borrower_id, f"{short}{plan.place.name}{zh} {plan.site_id}",
        f"{plan.company.name_en.split()[1]} {plan.place.name_en} {en} {plan.site_id}", plan.cast.kind, TIME_ZONE,
        plan.layout.utm_epsg, to_lonlat(plan.layout.boundary, plan.layout.utm_epsg), False,
        round(things.kwp, 1) if solar else None, round(area, 1) if solar else None,
        len(plan.layout.slots_of("parking_bay")) + 8,
    )


def _slots(plan: SitePlan, things: Inventory) -> Iterable[Slot]:
    lot_of = {slot.slot_id: lot for lot in things.lots for slot in lot.slots}
    for shape in plan.layout.slots_of("yard_bay"):
        lot = lot_of.get(shape.slot_id)
        yield Slot(
            shape.slot_id, plan.site_id, shape.slot_id.removeprefix(f"{plan.site_id}-"), shape.kind,
            lot.asset_id if lot else "", lot.commodity.per_slot_t if lot else 20.0,
            to_lonlat(shape.polygon, plan.layout.utm_epsg),
        )
    for yard in plan.layout.stock_yards:
        yield Slot(
            yard.yard_id, plan.site_id, yard.yard_id.removeprefix(f"{plan.site_id}-"), "yard", "", 0.0,
            to_lonlat(yard.polygon, plan.layout.utm_epsg),
        )


def _officer(branch: str, number: int) -> str:
    officers = [user.username for user in USERS if user.role == "officer" and user.branch == branch]
    return officers[number % len(officers)]


def _loans(
    plans: Sequence[SitePlan], things: Mapping[str, Inventory], clock: Clock, seed: int, rows: _Collected
) -> None:
    """One loan per factory and warehouse, one per solar borrower for all its sites, and second loans of double pledges."""
    solar_loans: dict[str, str] = {}
    for plan in plans:
        rng = stream(seed, "loan", plan.site_id)
        granted = clock.first_day - timedelta(days=int(rng.integers(60, 500)))
        stock = things[plan.site_id]
        loan_id = solar_loans.get(plan.company.borrower_id) if plan.cast.kind == SiteKind.SOLAR else None
        assets = list(_assets(plan, stock, loan_id or f"L{len(rows.loans) + 1:03d}", granted))
        if loan_id is None:
            loan_id = f"L{len(rows.loans) + 1:03d}"
            secured_by = [plan]
            if plan.cast.kind == SiteKind.SOLAR:
                secured_by = [other for other in plans if other.company == plan.company]
            lendable = sum(_lendable(things[other.site_id]) for other in secured_by)
            rows.loans.append(_loan(loan_id, plan, granted, lendable, rng, len(rows.loans)))
            if plan.cast.kind == SiteKind.SOLAR:
                solar_loans[plan.company.borrower_id] = loan_id
        rows.loan_sites.append(LoanSite(loan_id, plan.site_id))
        rows.assets.extend(assets)
    for plan in plans:
        onset = onset_of(plan, "double_pledge")
        if onset is not None:
            _second_pledge(plan, onset.astimezone(LOCAL).date(), rows)


def _lendable(stock: Inventory) -> float:
    """What the collateral is worth to the bank, CNY."""
    lots = sum(lot.quantity_t * lot.commodity.price * (1 - lot.commodity.haircut) for lot in stock.lots)
    return lots + 0.7 * (sum(machine.value for machine in stock.machines) + stock.kwp * PV_VALUE_PER_KWP)


def _loan(loan_id: str, plan: SitePlan, granted: date, lendable: float, rng: np.random.Generator, number: int) -> Loan:
    breach = onset_of(plan, "covenant_breach") is not None
    coverage = 1.55 if breach else float(rng.uniform(1.65, 1.95))
    outstanding = round(lendable / coverage, -4)
    covenant = COVENANT if plan.cast.kind == SiteKind.WAREHOUSE else None
    return Loan(
        loan_id, plan.company.borrower_id, plan.place.branch, _officer(plan.place.branch, number), CURRENCY,
        Decimal(round(outstanding * 1.2)), Decimal(round(outstanding)), granted, granted + timedelta(days=5 * 365), covenant,
    )


def _assets(plan: SitePlan, stock: Inventory, loan_id: str, granted: date) -> Iterable[Asset]:
    def asset(asset_id: str, kind: AssetKind, name: str, serial: str, commodity: str = "", quantity: float = 1.0,
              value: float | None = None, corridor: BaseGeometry | None = None) -> Asset:
        worth = None if value is None else Decimal(round(value))
        return Asset(asset_id, plan.site_id, loan_id, kind, name, serial, commodity, quantity, worth, granted, corridor)

    for number, machine in enumerate(stock.machines, 1):
        yield asset(machine.asset_id, AssetKind.MACHINE, machine.name, f"MC-{plan.site_id}-{number:04d}",
                    value=machine.value)
    for number, group in enumerate(stock.arrays, 1):
        yield asset(group.asset_id, AssetKind.PV_ARRAY, f"{number}号逆变器方阵", f"PV-{plan.site_id}-{number:04d}",
                    quantity=group.kwp, value=group.kwp * PV_VALUE_PER_KWP)
    for lot in stock.lots:
        yield asset(lot.asset_id, AssetKind.STOCK_LOT, lot.commodity.name,
                    f"WR-{lot.commodity.serial_prefix}-{lot.asset_id}", lot.commodity.key, lot.quantity_t)
    for number, truck in enumerate(stock.trucks, 1):
        yield asset(truck.asset_id, AssetKind.TRUCK, "重型牵引车", f"苏A-{plan.site_id}{number:02d}", value=320_000.0,
                    corridor=to_lonlat(truck.corridor, plan.layout.utm_epsg))


def _second_pledge(plan: SitePlan, day: date, rows: _Collected) -> None:
    """The first lot of the site, pledged again under another loan at another branch with the same receipt."""
    first = next(a for a in rows.assets if a.site_id == plan.site_id and a.kind == AssetKind.STOCK_LOT)
    loan = next(loan for loan in rows.loans if loan.loan_id == first.loan_id)
    branch = BRANCHES[(BRANCHES.index(loan.branch) + 1) % len(BRANCHES)]
    loan_id = f"L{len(rows.loans) + 1:03d}"
    rows.loans.append(Loan(
        loan_id, loan.borrower_id, branch, _officer(branch, 0), CURRENCY, loan.principal / 2, loan.outstanding / 2, day,
        day + timedelta(days=365), None,
    ))
    rows.loan_sites.append(LoanSite(loan_id, plan.site_id))
    rows.assets.append(Asset(
        f"{first.asset_id}B", plan.site_id, loan_id, first.kind, first.name, first.serial, first.commodity, first.quantity,
        first.value, day, None,
    ))


def second_pledge_id(things: Inventory) -> str:
    """Asset id of the second pledge of a site's first lot."""
    return f"{things.lots[0].asset_id}B"


def _prices(plans: Sequence[SitePlan], clock: Clock, seed: int, strength: float) -> Iterable[Price]:
    """Weekly prices around a level; the commodity of a covenant breach falls within 18 days of its onset."""
    for commodity in COMMODITIES:
        rng = stream(seed, "price", commodity.key)
        weeks = -(-clock.days // 7)
        level, wave = np.ones(weeks), 0.0
        for week in range(weeks):
            wave = 0.85 * wave + float(rng.normal(0.0, 0.009))
            level[week] += wave
        for plan in plans:
            if plan.main_commodity == commodity.key:
                fall = clock.ramp(onset_of(plan, "covenant_breach"), 18)
                level *= 1.0 - PRICE_FALL * strength * fall[::7]
        for week in range(weeks):
            price = Decimal(str(round(commodity.price * float(level[week]), 1)))
            yield Price(commodity.key, CURRENCY, "t", price, Decimal(str(commodity.haircut)), clock.day(7 * week))


def write_portfolio_files(portfolio: Portfolio, folder: Path, until: date) -> None:
    """Writes the import folder. Prices dated after `until` are left out: nobody knows them yet."""
    folder.mkdir(parents=True, exist_ok=True)
    prices = [price for price in portfolio.prices if price.valid_from <= until]
    tables: Mapping[str, tuple[type[Any], Sequence[Any]]] = {
        "borrowers": (Borrower, portfolio.borrowers), "loans": (Loan, portfolio.loans),
        "loan_sites": (LoanSite, portfolio.loan_sites), "assets": (Asset, portfolio.assets),
        "devices": (Device, portfolio.devices), "prices": (Price, prices), "links": (Link, portfolio.links),
        "users": (User, portfolio.users),
    }
    for name, (row, items) in tables.items():
        _write_csv(folder / f"{name}.csv", row, items)
    _write_geojson(folder / "sites.geojson", portfolio.sites)
    _write_geojson(folder / "slots.geojson", portfolio.slots)
    holidays = ((CALENDAR, day.isoformat(), name) for day, name in sorted(HOLIDAY_NAMES.items()))
    (folder / "holidays.csv").write_bytes(table_bytes(("calendar", "day", "name"), holidays))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, BaseGeometry):
        return to_wkt(value, rounding_precision=6)
    if isinstance(value, tuple):
        return ";".join(str(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else str(value)


def _write_csv(path: Path, row: type[Any], items: Sequence[Any]) -> None:
    names = [column.name for column in fields(row)]
    header = ["corridor_wkt" if name == "corridor" else name for name in names]
    path.write_bytes(table_bytes(header, ([_cell(getattr(item, name)) for name in names] for item in items)))


def _write_geojson(path: Path, items: Sequence[Site] | Sequence[Slot]) -> None:
    features = []
    for item in items:
        properties = {f.name: getattr(item, f.name) for f in fields(item) if f.name != "geometry"}
        geometry = set_precision(item.geometry, 1e-7)
        features.append({"type": "Feature", "properties": properties, "geometry": mapping(geometry)})
    name = {"type": "name", "properties": {"name": "urn:ogc:def:crs:OGC:1.3:CRS84"}}
    collection = {"type": "FeatureCollection", "crs": name, "features": features}
    path.write_text(json.dumps(collection, ensure_ascii=False, indent=None) + "\n", encoding="utf-8")
