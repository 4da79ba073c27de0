"""What the pages show, as frozen values: between `queries`, which fills them, and layouts and figures, which show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from collateral.db.alerts import Alert, AlertEvent
from collateral.db.anomalies import AnomalyEpisode
from collateral.db.coverage import CoverageRow
from collateral.db.scenes import SiteScene
from collateral.domain import Asset, Borrower, Device, Holiday, Loan, Observation, Score, Site, User
from dashboard.doubts import Doubt
from dashboard.formats import Formats
from dashboard.i18n import Texts, texts

MAY_ACT = frozenset({"officer", "risk", "admin"})
"""Roles that may acknowledge, shelve and clear; auditors and operators look."""


@dataclass(frozen=True)
class Viewer:
    """The person who is signed in."""

    user: User
    locale: str
    """Chosen for this session, else the person's own."""

    @property
    def branch(self) -> str:
        """Branch whose loans the person may see; empty for all."""
        return self.user.branch

    @property
    def may_act(self) -> bool:
        """Whether the person may act on alerts."""
        return self.user.role in MAY_ACT

    @property
    def t(self) -> Texts:
        """The person's catalogue."""
        return texts(self.locale)

    @property
    def f(self) -> Formats:
        """The person's formats."""
        return Formats(self.t.locale)


@dataclass(frozen=True)
class Account:
    """A person and the mark of the present password, by which sessions of an older one end."""

    user: User
    stamp: str


@dataclass(frozen=True, slots=True)
class SiteRow:
    """One site on the map and in the ranked list."""

    site_id: str
    name: str
    name_en: str
    kind: str
    time_zone: str
    lon: float
    lat: float
    """Centre of the site's box, degrees WGS 84."""
    borrower: str
    borrower_en: str
    branches: tuple[str, ...]
    grade: str
    """`U` also when there is no score at all."""
    value: int | None
    lower: int | None
    upper: int | None
    """Hundredths of a point; None without a score."""
    support: float
    at: datetime | None
    high: int
    medium: int
    low: int
    """Alerts that are open or acknowledged, by priority."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All sites one branch may see, worst first, as read together. Two are the same only when they are one object."""

    rows: tuple[SiteRow, ...]

    @property
    def branches(self) -> list[str]:
        """Branches that occur, in order."""
        return sorted({branch for row in self.rows for branch in row.branches})


@dataclass(frozen=True)
class LoanView:
    """A loan the site secures, with its newest coverage."""

    loan: Loan
    coverage: CoverageRow | None


@dataclass(frozen=True)
class HistoryPoint:
    """A score without its reasons, hundredths of a point."""

    at: datetime
    value: int
    lower: int
    upper: int
    grade: str


@dataclass(frozen=True)
class SiteView:
    """Everything the site page shows."""

    site: Site
    borrower: Borrower | None
    loans: Sequence[LoanView]
    assets: Sequence[Asset]
    devices: Sequence[Device]
    score: Score | None
    history: Sequence[HistoryPoint]
    """Oldest first."""
    observations: Sequence[Observation]
    """Newest revision of each period, oldest first, slots left out."""
    scenes: Sequence[SiteScene]
    """Newest first."""
    alerts: Sequence[Alert]
    """Newest first."""
    events: Mapping[int, Sequence[AlertEvent]]
    """History of each alert, oldest first."""
    holidays: Sequence[Holiday]
    unusual: Sequence[AnomalyEpisode]
    """Newest first."""
    doubts: Sequence[Doubt] = ()
    """Newest first."""
    doubts_cut: bool = False
    """True when there are older ones in the time that is shown."""


@dataclass(frozen=True)
class AlertView:
    """One alert in the list of all."""

    alert: Alert
    site_name: str
    site_name_en: str
    time_zone: str
