"""A small portfolio that breaks no rule, for tests of the import and of the tables."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from shapely.geometry import Polygon, box

from collateral.domain import (
    Asset,
    AssetKind,
    Borrower,
    Device,
    Holiday,
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

LON, LAT = 120.60, 31.30
"""South-west corner of the first site, near Suzhou: UTM zone 51 north."""


def rectangle(east_m: float, north_m: float, width_m: float, height_m: float) -> Polygon:
    """A rectangle whose corner lies about so many metres from (LON, LAT)."""
    lon, lat = LON + east_m / 95_200, LAT + north_m / 110_900
    return box(round(lon, 7), round(lat, 7), round(lon + width_m / 95_200, 7), round(lat + height_m / 110_900, 7))


def small_portfolio() -> Portfolio:
    """Two borrowers, three sites of the three kinds, everything of each part."""
    return Portfolio(
        borrowers=(
            Borrower("B1", "苏州精工机械", "Suzhou Precision Machinery", "精工集团", "machinery"),
            Borrower("B2", "太仓仓储", "Taicang Storage", "", "logistics"),
        ),
        links=(Link("B1", "B2", "guarantee", Decimal("5000000.00"), "CNY"), Link("B2", "B1", "supply", None, "")),
        loans=(
            Loan(
                "L1", "B1", "suzhou", "officer_a", "CNY", Decimal("30000000.00"), Decimal("21500000.50"),
                date(2024, 3, 1), date(2027, 3, 1), Decimal("1.4000"),
            ),
            Loan(
                "L2", "B2", "taicang", "officer_b", "CNY", Decimal("8000000.00"), Decimal("8000000.00"), date(2025,
                1, 15), date(2026, 12, 31), None,
            ),
        ),
        sites=(
            Site(
                "S1", "B1", "一号工厂", "Plant one", SiteKind.FACTORY, "Asia/Shanghai", 32651, rectangle(0, 0, 240,
                180), False, None, None, 40,
            ),
            Site(
                "S2", "B1", "屋顶光伏", "Roof solar", SiteKind.SOLAR, "Asia/Shanghai", 32651, rectangle(400, 0, 200,
                200), False, 1250.5, 6400.0, None,
            ),
            Site(
                "S3", "B2", "三号仓库", "Warehouse three", SiteKind.WAREHOUSE, "Asia/Shanghai", 32651, rectangle(0,
                400, 300, 200), True, None, None, 12,
            ),
        ),
        loan_sites=(LoanSite("L1", "S1"), LoanSite("L1", "S2"), LoanSite("L2", "S3")),
        assets=(
            Asset(
                "A1", "S1", "L1", AssetKind.MACHINE, "压铸机", "SN-001", "", 1.0, Decimal("2500000.00"), date(2024, 3,
                1), None,
            ),
            Asset(
                "A2", "S3", "L2", AssetKind.STOCK_LOT, "铜板", "WR-77", "copper_plate", 180.5, None, date(2025, 1,
                15), None,
            ),
            Asset(
                "A3", "S3", "L2", AssetKind.TRUCK, "卡车", "苏E12345", "", 1.0, Decimal("300000.00"), date(2025, 1,
                15), rectangle(-500, -500, 3000, 3000),
            ),
        ),
        slots=(
            Slot("S3-01", "S3", "01", "yard_bay", "A2", 12.5, rectangle(10, 410, 12, 8)),
            Slot("S3-02", "S3", "02", "yard_bay", "A2", 12.5, rectangle(30, 410, 12, 8)),
        ),
        devices=(
            Device("D1", "S1", "A1", "M-100", "borrower", ("energy_total_kwh", "active_power_kw"), 1800.0, ""),
            Device("D2", "S3", "", "T-9", "bank", ("door_openings_total",), 1800.0, "GW1"),
        ),
        prices=(
            Price("copper_plate", "CNY", "t", Decimal("71250.500000"), Decimal("0.2000"), date(2025, 1, 1)),
            Price("copper_plate", "CNY", "t", Decimal("69000.000000"), Decimal("0.2000"), date(2025, 6, 1)),
        ),
        users=(
            User("officer_a", "张三", "officer", "suzhou", "zh"),
            User("officer_b", "李四", "officer", "taicang", "zh"),
            User("risk_a", "Li Si", "risk", "", "en"),
        ),
        holidays=(Holiday("CN", date(2025, 1, 29), "春节"),),
    )
