"""Whether a policy file has the form of the shipped one: known names, numbers where numbers stand, in their range. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from math import isfinite
from typing import Any

from collateral.errors import InvalidInputError

_FREE = frozenset({"baseline", "indicator", "rule", "trust", "calendar.spring_festival", "coverage.appraised_haircut"})
"""Tables whose names are the file's own, or are judged where they are read."""
_BASELINE = {"until_days": (0, 3650), "from_days": (1, 3650), "min_n": (1, 1000), "min_spread": (0, 10)}
_GRADES = "ABCD"
_LEAP_YEAR = 2024
_WHOLE = frozenset({"slots", "min_n", "spring_before_days", "spring_after_days"})


def check_form(tree: Mapping[str, Any], model: Mapping[str, Any]) -> None:
    """Compares a policy file with the shipped one.

    Args:
        tree: the file as read.
        model: the shipped one.

    Raises:
        InvalidInputError: a name that nothing reads, something of another type, or a figure outside its range; the message
            names where it stands.
    """
    _check_types(tree, model, "")
    if not tree.get("version"):
        raise InvalidInputError("The policy's version is missing or empty; name it, for example version = '2026.3'.")
    _check_grades(tree.get("grades", {}))
    for name, row in tree.get("baseline", {}).items():
        for key, (low, high) in _BASELINE.items():
            _check_range(f"baseline.{name}.{key}", row.get(key), low, high)
        if row.get("from_days", 0) <= row.get("until_days", 0):
            raise InvalidInputError(f"The policy's baseline.{name} has no days between from_days and until_days; widen it.")
    calendar, coverage = tree.get("calendar", {}), tree.get("coverage", {})
    for key in ("spring_before_days", "spring_after_days"):
        _check_range(f"calendar.{key}", calendar.get(key), 0, 60)
    _check_range("calendar.ready_after_h", calendar.get("ready_after_h"), 0, 24)
    for entry in calendar.get("fixed", ()):
        _check_holiday(entry)
    for key in ("slots_valid_days", "tags_valid_days"):
        _check_range(f"coverage.{key}", coverage.get(key), 0, 3650)
    for kind, share in coverage.get("appraised_haircut", {}).items():
        _check_range(f"coverage.appraised_haircut.{kind}", share, 0, 1)


def _check_types(given: Mapping[str, Any], model: Mapping[str, Any], place: str) -> None:
    """Names and types of a table against those of the shipped one; a name that is free has the type of any other there, and
    a row may hold what any other row holds."""
    free = place in _FREE
    of_any = {name: value for row in model.values() if free and isinstance(row, dict) for name, value in row.items()}
    for key, value in given.items():
        name = f"{place}.{key}" if place else key
        like = model.get(key, next(iter(model.values())) if free else None)
        if free and isinstance(like, dict):
            like = of_any | like
        if like is None:
            if place.partition(".")[0] in _FREE:
                continue  # fields of a rule or an indicator that the shipped one leaves away: told where it is made
            raise InvalidInputError(f"The policy's {name} is read by nothing; known there are {', '.join(sorted(model))}.")
        if _kind(value) != _kind(like):
            raise InvalidInputError(f"The policy's {name} is {value!r}, which is no {_kind(like)}; correct it.")
        if isinstance(value, float) and not isfinite(value):
            raise InvalidInputError(f"The policy's {name} is {value}, which is no figure; correct it.")
        if key in _WHOLE and type(value) is not int:
            raise InvalidInputError(f"The policy's {name} is {value}, which is no whole number; correct it.")
        if isinstance(value, dict):
            _check_types(value, like, name)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "number"
    names: dict[type, str] = {str: "text", list: "list", dict: "table"}
    return names.get(type(value), type(value).__name__)


def _check_grades(grades: Mapping[str, Any]) -> None:
    lows = {name: low for name, low in grades.items() if name != "support_floor"}
    ordered = [lows.get(name, 0.0) for name in _GRADES]
    falling = ordered == sorted(set(ordered), reverse=True)
    if not falling or len(lows) != len(_GRADES) or not 0 < ordered[-1] <= ordered[0] <= 100:
        raise InvalidInputError(
            f"The policy's grades are {lows}: give A, B, C and D falling limits above 0, at most 100; below D is E."
        )
    _check_range("grades.support_floor", grades.get("support_floor"), 0, 1)


def _check_holiday(entry: object) -> None:
    if isinstance(entry, list) and [type(part) for part in entry] == [str, int]:
        day, count = entry
        if 1 <= count <= 31 and _is_day(day):
            return
    raise InvalidInputError(f'The policy\'s calendar.fixed holds {entry!r}; write month, day and length like ["05-01", 5].')


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(f"{_LEAP_YEAR}-{text}")
    except ValueError:
        return False
    return True


def _check_range(name: str, value: float | None, low: float, high: float) -> None:
    """What is missing is told where the policy is made."""
    if value is not None and not low <= value <= high:
        raise InvalidInputError(f"The policy's {name} is {value}; give {low} to {high}.")
