"""What a browser sends to a callback, checked before it is used: a changed or old page may send anything."""

from __future__ import annotations

import logging
from datetime import date

from dash import ctx, set_props

from collateral.errors import InvalidInputError
from dashboard.auth import viewer
from dashboard.components.parts import notice
from dashboard.ids import Shell

log = logging.getLogger(__name__)
YEARS = (1971, 2199)
"""Days outside are none that a page shows."""
LONGEST = 500
"""Characters of a text."""
_SHOWN = 60
_MOST_ID = 2**63 - 1


class OddValueError(InvalidInputError):
    """A value that no page of ours sends."""

    def __init__(self, name: str, value: object, wanted: str) -> None:
        self.value = repr(value)[:_SHOWN]
        super().__init__(f"The browser sent {self.value} as {name}, which is not {wanted}; load the page again.")


def told(error: Exception) -> None:
    """Says on the page that a value could not be read, and leaves the rest as it is; other errors go on."""
    if not isinstance(error, OddValueError):
        raise error
    log.warning("%s: %s", viewer().user.username, error)
    set_props(Shell.ODD, {"children": notice(viewer().t("problem.odd", value=error.value), "bad")})


def pressed() -> object:
    """Id of what changed, a text or a table; None when the page is fresh."""
    try:
        found: object = ctx.triggered_id
    except (AttributeError, TypeError, ValueError):  # an id that is no JSON, or none at all
        odd = [one.get("prop_id") for one in ctx.triggered[:1]]
        raise OddValueError("button", odd[0] if odd else None, "the id of one") from None
    return found


def text(name: str, value: object, longest: int = LONGEST) -> str:
    """A text that can be stored and searched for; empty for None."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest or "\0" in value or not _can_be_sent(value):
        raise OddValueError(name, value, f"a text of at most {longest} characters")
    return value


def _can_be_sent(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def texts(name: str, value: object) -> list[str]:
    """Several of them; none for None."""
    return [text(name, one) for one in listed(name, value)]


def listed(name: str, value: object) -> list[object]:
    """A list; empty for None."""
    if value is not None and not isinstance(value, list):
        raise OddValueError(name, value, "a list")
    return value or []


def whole(name: str, value: object) -> int:
    """A whole number from 0 on that fits into a column; 0 for None."""
    if value is not None and (type(value) is not int or not 0 <= value <= _MOST_ID):
        raise OddValueError(name, value, "a whole number")
    return value or 0


def number(name: str, value: object) -> float:
    """A number; 0 for None."""
    if value is not None and type(value) not in (int, float):
        raise OddValueError(name, value, "a number")
    try:
        return float(value or 0)  # type: ignore[arg-type]  # checked above
    except OverflowError:
        raise OddValueError(name, value, "a number") from None


def day(name: str, value: object) -> date | None:
    """A local day as `2024-06-03`; None for None."""
    if value is None:
        return None
    try:
        found = date.fromisoformat(text(name, value))
    except ValueError:
        raise OddValueError(name, value, "a day (YYYY-MM-DD)") from None
    if not YEARS[0] <= found.year <= YEARS[1]:
        raise OddValueError(name, value, f"a day of the years {YEARS[0]} to {YEARS[1]}")
    return found
