"""Kinds of columns: each reads a text leniently, refuses with a sentence and a remedy, and writes what it reads again."""

from __future__ import annotations

import math
import re
import zoneinfo
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Protocol

import shapely
from shapely.geometry import Polygon
from shapely.geometry.base import BaseGeometry

from collateral.portfolio.currencies import ISO_4217


class BadValueError(Exception):
    """A text that a column cannot hold: what is wrong, and what to do."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.remedy = remedy


class Kind(Protocol):
    """How one kind of column reads, writes and describes itself. `parse` never sees an empty text."""

    @property
    def says(self) -> str:
        """What is allowed, for people."""

    def parse(self, text: str) -> object:
        """The value; raises BadValueError."""

    def format(self, value: object) -> str:
        """A text that `parse` reads as the same value."""


@dataclass(frozen=True)
class Text:
    """Free text in one line."""

    longest: int = 200

    @property
    def says(self) -> str:
        """What is allowed."""
        return f"text of up to {self.longest} characters"

    def parse(self, text: str) -> str:
        """The text itself."""
        if len(text) > self.longest:
            raise BadValueError(f"holds {len(text)} characters", f"Shorten it to {self.longest}.")
        odd = next((one for one in text if not one.isprintable()), None)
        if odd is not None:
            raise BadValueError(f"holds the control character U+{ord(odd):04X}", "Remove it.")
        return text

    def format(self, value: object) -> str:
        """The text itself."""
        return str(value)


_IDENTIFIER = re.compile(r"\w[\w.@-]{0,63}")


@dataclass(frozen=True)
class Identifier:
    """A name by which other rows, MQTT topics and files refer to the thing."""

    refers: str = ""
    """Part of the portfolio whose id this is; empty for the row's own id."""

    @property
    def says(self) -> str:
        """What is allowed."""
        own = "up to 64 letters, digits, `_`, `-`, `.`, `@`, beginning with a letter or digit"
        return f"id of a row of {self.refers}" if self.refers else own

    def parse(self, text: str) -> str:
        """The id itself."""
        if not _IDENTIFIER.fullmatch(text):
            raise BadValueError(
                f"is {text!r}, which cannot be an id",
                "Use up to 64 letters, digits, _, -, . or @, beginning with a letter or digit.",
            )
        return text

    def format(self, value: object) -> str:
        """The id itself."""
        return str(value)


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]
    convert: type[str] = str

    @property
    def says(self) -> str:
        """What is allowed."""
        return "one of " + ", ".join(f"`{word}`" for word in self.words)

    def parse(self, text: str) -> str:
        """The word, in its own spelling."""
        for word in self.words:
            if text.casefold() == word.casefold():
                return self.convert(word)
        raise BadValueError(f"is {text!r}", f"Use one of {', '.join(self.words)}.")

    def format(self, value: object) -> str:
        """The word."""
        return str(value)


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise BadValueError(
            f"is {text!r}, not a number", "Write digits with a decimal point, without thousands separators or units."
        ) from None
    if not value.is_finite():
        raise BadValueError(f"is {text!r}, not a finite number", "Give a number, or leave it empty where that is allowed.")
    return value


def _in_range(value: Decimal | float, low: float, high: float, text: str) -> None:
    if not low <= value <= high:
        raise BadValueError(f"is {text}, outside {low:g} to {high:g}", "Correct the value or its unit.")


@dataclass(frozen=True)
class Amount:
    """A decimal number kept exactly."""

    places: int
    low: float
    high: float

    @property
    def says(self) -> str:
        """What is allowed."""
        return f"decimal number from {self.low:g} to {self.high:g}, at most {self.places} decimal places"

    def parse(self, text: str) -> Decimal:
        """The number, with exactly `places` decimals."""
        value = _decimal(text)
        _in_range(value, self.low, self.high, text)
        fixed = value.quantize(Decimal(1).scaleb(-self.places))
        if fixed != value:
            raise BadValueError(f"is {text}, finer than it can be kept", f"Round it to {self.places} decimal places.")
        return fixed

    def format(self, value: object) -> str:
        """Plain digits."""
        assert isinstance(value, Decimal)
        return f"{value:f}"


@dataclass(frozen=True)
class Number:
    """A floating-point number."""

    low: float
    high: float

    @property
    def says(self) -> str:
        """What is allowed."""
        return f"number from {self.low:g} to {self.high:g}"

    def parse(self, text: str) -> float:
        """The nearest float."""
        value = float(_decimal(text))
        if not math.isfinite(value):
            raise BadValueError(f"is {text}, too large", "Correct the value or its unit.")
        _in_range(value, self.low, self.high, text)
        return value

    def format(self, value: object) -> str:
        """The shortest text that reads as the same float."""
        assert isinstance(value, (int, float))
        return repr(float(value))


@dataclass(frozen=True)
class Whole:
    """A whole number."""

    low: int
    high: int

    @property
    def says(self) -> str:
        """What is allowed."""
        return f"whole number from {self.low} to {self.high}"

    def parse(self, text: str) -> int:
        """The number; `12.0`, as spreadsheets write it, is read as 12."""
        value = _decimal(text)
        _in_range(value, self.low, self.high, text)
        if value != value.to_integral_value():
            raise BadValueError(f"is {text}, not a whole number", "Remove the fraction.")
        return int(value)

    def format(self, value: object) -> str:
        """Digits."""
        return str(value)


_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")


@dataclass(frozen=True)
class Day:
    """A calendar date."""

    first: int = 1950
    last: int = 2100

    @property
    def says(self) -> str:
        """What is allowed."""
        return f"date YYYY-MM-DD, years {self.first} to {self.last}"

    def parse(self, text: str) -> date:
        """The date; year first, so that day and month cannot be swapped."""
        match = _DAY.fullmatch(text)
        if not match:
            raise BadValueError(f"is {text!r}, not a date", "Write it as YYYY-MM-DD, e.g. 2025-03-31.")
        try:
            value = date(*map(int, match.groups()))
        except ValueError:
            raise BadValueError(f"is {text!r}, a day that does not exist", "Correct it; write YYYY-MM-DD.") from None
        if not self.first <= value.year <= self.last:
            raise BadValueError(f"is {text!r}, outside the years {self.first} to {self.last}", "Correct the year.")
        return value

    def format(self, value: object) -> str:
        """YYYY-MM-DD."""
        assert isinstance(value, date)
        return value.isoformat()


_TRUE = frozenset({"true", "t", "yes", "y", "1", "是"})
_FALSE = frozenset({"false", "f", "no", "n", "0", "否"})


@dataclass(frozen=True)
class Flag:
    """Yes or no."""

    @property
    def says(self) -> str:
        """What is allowed."""
        return "`true` or `false`"

    def parse(self, text: str) -> bool:
        """Truth, in the spellings of spreadsheets."""
        if text.casefold() in _TRUE:
            return True
        if text.casefold() in _FALSE:
            return False
        raise BadValueError(f"is {text!r}", "Use true or false.")

    def format(self, value: object) -> str:
        """`true` or `false`."""
        return "true" if value else "false"


@dataclass(frozen=True)
class Words:
    """Several words of a list, separated by semicolons."""

    allowed: tuple[str, ...]

    @property
    def says(self) -> str:
        """What is allowed."""
        return "one or more, separated by `;`, of " + ", ".join(f"`{word}`" for word in self.allowed)

    def parse(self, text: str) -> tuple[str, ...]:
        """The words, in the order given."""
        found = tuple(word.strip() for word in text.split(";") if word.strip())
        unknown = [word for word in found if word not in self.allowed]
        if unknown:
            raise BadValueError(f"names {unknown[0]!r}, which is not known", f"Use {', '.join(self.allowed)}.")
        twice = [word for position, word in enumerate(found) if word in found[:position]]
        if twice or not found:
            raise BadValueError(f"is {text!r}", "Name each at least and at most once, separated by semicolons.")
        return found

    def format(self, value: object) -> str:
        """Joined by semicolons."""
        assert isinstance(value, tuple)
        return ";".join(value)


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


@dataclass(frozen=True)
class Zone:
    """A time zone."""

    @property
    def says(self) -> str:
        """What is allowed."""
        return "IANA time zone, e.g. `Asia/Shanghai`"

    def parse(self, text: str) -> str:
        """The zone's name."""
        if text not in _zones():
            raise BadValueError(f"is {text!r}, not a time zone", "Use an IANA name such as Asia/Shanghai.")
        return text

    def format(self, value: object) -> str:
        """The name."""
        return str(value)


@dataclass(frozen=True)
class Currency:
    """A currency in use."""

    @property
    def says(self) -> str:
        """What is allowed."""
        return "ISO 4217 code, e.g. `CNY`"

    def parse(self, text: str) -> str:
        """The code in capitals."""
        code = text.upper()
        if code not in ISO_4217:
            hint = " (renminbi is CNY)" if code == "RMB" else ""
            raise BadValueError(f"is {text!r}, not a currency of ISO 4217", f"Use a code such as CNY, USD or EUR{hint}.")
        return code

    def format(self, value: object) -> str:
        """The code."""
        return str(value)


@dataclass(frozen=True)
class Area:
    """A polygon as well-known text."""

    @property
    def says(self) -> str:
        """What is allowed."""
        return "POLYGON as well-known text, longitude first, in the coordinate system that sites.geojson names"

    def parse(self, text: str) -> BaseGeometry:
        """The shape, unchecked."""
        try:
            shape: BaseGeometry = shapely.from_wkt(text)
        except shapely.errors.ShapelyError as error:
            raise BadValueError(f"is not well-known text ({error})", "Write POLYGON ((lon lat, lon lat, ...)).") from None
        return shape

    def format(self, value: object) -> str:
        """Well-known text with every digit."""
        assert isinstance(value, Polygon)
        rings = (", ".join(f"{x!r} {y!r}" for x, y in ring.coords) for ring in (value.exterior, *value.interiors))
        return f"POLYGON ({', '.join(f'({ring})' for ring in rings)})"  # shapely's own writer rounds the last digit
