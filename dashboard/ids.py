"""Element ids of the pages, one class per page, so that no two pages share one by accident. A leaf."""

from __future__ import annotations


class Shell:
    """What is on every page."""

    LOCATION = "location"
    PAGE = "page"
    CONTENT = "content"
    ODD = "odd-value"
    UNANSWERED = "unanswered"
    ANCHOR = "anchor"
    LOGOUT = "logout"
    LANGUAGE = "language-switch"


class Home:
    """Map and ranked list."""

    MAP = "site-map"
    SITES = "site-layer"
    LIST = "site-list"
    COUNT = "site-count"
    SEARCH = "filter-text"
    KIND = "filter-kind"
    GRADE = "filter-grade"
    BRANCH = "filter-branch"
    PREVIOUS = "list-previous"
    NEXT = "list-next"
    PAGE = "list-page"
    POSITION = "list-position"


class Site:
    """One site."""

    SCORE = "site-score"
    BREAKDOWN = "site-breakdown"
    HISTORY = "site-history"
    IMAGERY = "site-imagery"
    BEFORE = "imagery-before"
    AFTER = "imagery-after"
    BEFORE_CHOICE = "imagery-before-choice"
    AFTER_CHOICE = "imagery-after-choice"
    TELEMETRY = "site-telemetry"
    WITNESSES = "site-witnesses"
    ALERTS = "site-alerts"
    SITE_ID = "site-id"
    UNUSUAL = "site-unusual"
    DOUBTS = "site-doubts"
    CHANGES = "site-changes"
    CHANGE_KINDS = "change-kinds"
    CHANGE_LIST = "change-list"
    CHANGE_MORE = "change-more"


class Tracks:
    """Trips and stops, a part of the page of one site."""

    CARD = "site-tracks"
    ASSET = "tracks-asset"
    PERIOD = "tracks-period"
    EARLIER = "tracks-earlier"
    LATER = "tracks-later"
    SHOWN = "tracks-shown"
    LAST_DAY = "tracks-last-day"
    BODY = "tracks-body"
    MAP = "tracks-map"
    SUM = "tracks-sum"
    TABLE = "tracks-table"


class Alerts:
    """List of alerts, and the forms by which people act on one (pattern-matching ids)."""

    LIST = "alert-list"
    STATE = "alert-filter-state"
    PRIORITY = "alert-filter-priority"

    ACT = "alert-act"
    REASON = "alert-reason"
    HOURS = "alert-hours"
    RESULT = "alert-result"
    CARD = "alert-card"

    @staticmethod
    def part(kind: str, alert_id: int, verb: str = "") -> dict[str, object]:
        """Id of one part of one alert's card."""
        return {"type": kind, "alert": alert_id, "verb": verb}
