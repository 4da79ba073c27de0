"""The words of the system as frozen values. A leaf: times are aware UTC, geometry is WGS 84 (shapely), money is Decimal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from shapely.geometry.base import BaseGeometry

TOPIC_ID = r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}"
"""What the ids of a device and of its site match in full, because they stand in MQTT topics."""


class SiteKind(StrEnum):
    """What kind of place a site is."""

    FACTORY = "factory"
    SOLAR = "solar"
    WAREHOUSE = "warehouse"


class AssetKind(StrEnum):
    """What kind of thing is pledged."""

    MACHINE = "machine"
    PV_ARRAY = "pv_array"
    STOCK_LOT = "stock_lot"
    TRUCK = "truck"


class SubjectKind(StrEnum):
    """What an observation or a score is about."""

    SITE = "site"
    ASSET = "asset"
    SLOT = "slot"
    LOAN = "loan"
    BORROWER = "borrower"


class Source(StrEnum):
    """Which independent side an observation comes from."""

    IMAGERY = "imagery"
    TELEMETRY = "telemetry"


class Quality(StrEnum):
    """How far an observation can be relied on."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


class Priority(StrEnum):
    """Alarm priority of ISA-18.2, most alerts being low."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class AlertState(StrEnum):
    """States of an alert; transitions are in scoring.alerts."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SHELVED = "shelved"
    CLEARED = "cleared"


@dataclass(frozen=True)
class LonLat:
    """A WGS 84 position."""

    lon: float
    """Degrees east."""
    lat: float
    """Degrees north."""


@dataclass(frozen=True)
class BoundingBox:
    """A WGS 84 box, degrees."""

    lon_min: float
    lat_min: float
    lon_max: float
    lat_max: float


@dataclass(frozen=True)
class Borrower:
    """A company."""

    borrower_id: str
    name: str
    name_en: str
    group_name: str
    industry: str


@dataclass(frozen=True)
class Loan:
    """A facility."""

    loan_id: str
    borrower_id: str
    branch: str
    officer: str
    currency: str
    """ISO 4217."""
    principal: Decimal
    outstanding: Decimal
    """Outstanding principal, in `currency`."""
    granted_on: date
    matures_on: date
    covenant_min_coverage: Decimal | None
    """Smallest allowed collateral value / outstanding principal; None when the contract has no such covenant."""


@dataclass(frozen=True)
class Site:
    """A monitored place."""

    site_id: str
    borrower_id: str
    name: str
    name_en: str
    kind: SiteKind
    time_zone: str
    """IANA name."""
    utm_epsg: int
    """EPSG code of the UTM zone in which the site's areas and lengths are computed."""
    geometry: BaseGeometry
    """Polygon."""
    roofed: bool
    """True when goods stand under a roof: there is no witness from above for stock."""
    installed_kwp: float | None
    """Peak power of a solar site, kW at standard test conditions."""
    panel_area_m2: float | None
    """Panel area pledged."""
    vehicle_capacity: int | None
    """Marked bays or 95th percentile of history."""


@dataclass(frozen=True)
class LoanSite:
    """This site secures that loan."""

    loan_id: str
    site_id: str


@dataclass(frozen=True)
class Asset:
    """A pledged thing at or from a site."""

    asset_id: str
    site_id: str
    loan_id: str
    kind: AssetKind
    name: str
    serial: str
    """Serial, warehouse receipt or plate number; the same serial under two loans is a double pledge."""
    commodity: str
    """Key into prices; empty when the asset is valued by `value`."""
    quantity: float
    """Pledged amount in the commodity's unit."""
    value: Decimal | None
    """Appraised value in the loan's currency, for assets without a commodity price."""
    pledged_on: date
    corridor: BaseGeometry | None
    """Allowed region of a truck (polygon); None for what does not move."""


PARKING_BAY = "parking_bay"
"""A slot that is there for vehicles."""
SLOT_KINDS = ("yard_bay", PARKING_BAY, "rack")
"""What is either occupied or empty."""


@dataclass(frozen=True)
class Slot:
    """One storage place."""

    slot_id: str
    site_id: str
    name: str
    kind: str
    """`yard_bay`, `parking_bay`, `rack`; `yard`: ground without marked places, whose share under goods is measured."""
    asset_id: str
    """Stock lot that stands here; empty when none is assigned."""
    capacity: float
    """Amount of the lot's commodity one full slot holds."""
    geometry: BaseGeometry


@dataclass(frozen=True)
class Device:
    """One MQTT identity."""

    device_id: str
    site_id: str
    asset_id: str
    """Asset it measures; empty for the site as a whole."""
    model: str
    owner: str
    """`borrower`, `bank` or `third_party`: how far it is trusted."""
    quantities: tuple[str, ...]
    interval_s: float
    """Expected seconds between messages."""
    gateway_id: str
    """Gateway through which it publishes; empty when it has its own line."""


@dataclass(frozen=True)
class Price:
    """Price of a commodity from a date on."""

    commodity: str
    currency: str
    unit: str
    price: Decimal
    """`currency` per `unit`."""
    haircut: Decimal
    """Fraction taken off by the bank, 0 to 1."""
    valid_from: date


@dataclass(frozen=True)
class Link:
    """A relation between two borrowers."""

    from_borrower_id: str
    to_borrower_id: str
    kind: str
    """`guarantee`, `supply` or `group`."""
    amount: Decimal | None
    currency: str


@dataclass(frozen=True)
class User:
    """A person who signs in."""

    username: str
    display_name: str
    role: str
    """`officer`, `risk`, `operator`, `auditor` or `admin`."""
    branch: str
    """Branch whose loans the person may see; empty for all."""
    locale: str
    """`zh` or `en`."""


@dataclass(frozen=True)
class Holiday:
    """A day off of a public calendar."""

    calendar: str
    """E.g. `CN`."""
    day: date
    name: str


@dataclass(frozen=True)
class Portfolio:
    """Everything a bank hands over, as the import reads it and the export writes it."""

    borrowers: tuple[Borrower, ...] = ()
    loans: tuple[Loan, ...] = ()
    sites: tuple[Site, ...] = ()
    loan_sites: tuple[LoanSite, ...] = ()
    assets: tuple[Asset, ...] = ()
    slots: tuple[Slot, ...] = ()
    devices: tuple[Device, ...] = ()
    prices: tuple[Price, ...] = ()
    links: tuple[Link, ...] = ()
    users: tuple[User, ...] = ()
    holidays: tuple[Holiday, ...] = ()


@dataclass(frozen=True)
class Reading:
    """One measured value."""

    device_id: str
    quantity: str
    time: datetime
    """When the device measured it."""
    value: float
    """In the quantity's unit."""
    received_at: datetime
    """When the broker handed it to us."""
    sequence: int | None = None
    """Per-device message number."""


@dataclass(frozen=True)
class Observation:
    """A dated statement about a subject, with its uncertainty."""

    subject_kind: SubjectKind
    subject_id: str
    site_id: str
    quantity: str
    valid_from: datetime
    valid_to: datetime
    """The period is [valid_from, valid_to)."""
    source: Source
    method: str
    """Name and version of the method, e.g. `vehicles@1f3a...` or `energy_day@1`."""
    value: float
    lower: float
    """Lower end of the 95 % interval."""
    upper: float
    """Upper end of the 95 % interval."""
    quality: Quality
    known_at: datetime
    """When it could first be known: the arrival of the last input used."""
    evidence: Mapping[str, object] = field(default_factory=dict)
    """Paths (relative to the evidence folder), scene id, denominators."""
    observation_id: int | None = None
    revision: int | None = None
    """Given by the database: 1 for the first, then counted up."""


@dataclass(frozen=True)
class SceneRecord:
    """One image acquisition as registered."""

    scene_id: str
    path: str
    source: str
    acquired_at: datetime
    gsd_m: float
    """Ground sampling distance."""
    epsg: int
    footprint: BaseGeometry
    """WGS 84 polygon."""
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Contribution:
    """What one indicator takes off the score."""

    indicator: str
    points: int
    """Whole hundredths of a point."""
    weight: float
    expected_shortfall: float
    """0 to 1."""
    supported: bool
    """False when evidence is missing and the prior stands in."""
    detail: Mapping[str, object]


@dataclass(frozen=True)
class Score:
    """Operating health of a subject at a time."""

    subject_kind: SubjectKind
    subject_id: str
    at: datetime
    known_at: datetime
    """Nothing learnt later was used."""
    value: int
    """Whole hundredths of a point, 0 to 10000."""
    lower: int
    upper: int
    grade: str
    """`A` to `E` by the interval's lower end; `U` when support is below the policy's floor."""
    support: float
    """Share of weight that rests on evidence, 0 to 1."""
    contributions: tuple[Contribution, ...]
    policy_version: str
    engine_version: str
    inputs: Mapping[str, object]
    """Observation ids and revisions, reference revisions and model hashes that were used."""
