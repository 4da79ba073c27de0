"""The policy: weights, curves, thresholds and rule parameters in one versioned TOML file. Pure once the text is read."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from math import isfinite
from pathlib import Path
from typing import Any

from collateral.domain import Priority, SiteKind
from collateral.errors import InvalidInputError
from scoring.policy_form import check_form

Curve = tuple[tuple[float, float], ...]
"""Points (figure, shortfall), figures rising; straight lines between, flat outside."""


@dataclass(frozen=True)
class CalendarPolicy:
    """Which days are compared with nothing, and when a day's observations are due."""

    fixed: tuple[tuple[int, int, int], ...]
    """Month, day and number of days of the statutory holidays."""
    spring_festival: Mapping[int, date]
    """First day of the lunar year, by year."""
    spring_before_days: int
    spring_after_days: int
    ready_after_h: float
    """Hours after the end of a local day until its observations are expected."""


@dataclass(frozen=True)
class BaselinePolicy:
    """From which past a site's own normal is taken."""

    from_days: float
    until_days: float
    """Observations whose period began between these many days before T."""
    min_n: int
    """Fewer make no baseline."""
    min_spread: float
    """Smallest spread, as a share of the median."""


@dataclass(frozen=True)
class IndicatorPolicy:
    """How one indicator counts."""

    weights: Mapping[SiteKind, float]
    """Points of 100, by kind of site; a kind that is missing does not have the indicator."""
    baseline: BaselinePolicy
    curve: Curve
    slots: int
    """Places for evidence that are looked back on."""
    slot_days: float
    """Length of one slot, days."""
    half_life_days: float
    """A slot this much older counts half."""
    prior: float
    """Expected shortfall of a slot without evidence, 0 to 1."""
    falls_to: Mapping[SiteKind, str] = field(default_factory=dict)
    """Indicator that takes the weight at sites which have nothing this one could see."""
    least_normal: float = 0.0
    """A normal below this, in the quantity's unit, is too small to compare with."""
    trust: Mapping[str, float] = field(default_factory=dict)
    """Owner of a device -> share to which its readings count as known, the rest as unknown; 1 for those not named."""


@dataclass(frozen=True)
class RulePolicy:
    """When a rule raises and clears."""

    priority: Priority
    raise_at: float
    raise_count: int
    """Samples in a row at or above `raise_at`."""
    clear_at: float
    clear_count: int
    """Samples in a row at or below `clear_at`."""
    fresh_days: float
    """The newest sample may be this old, days, to raise."""
    window: int
    """Days or scenes one figure is made of; its meaning is the rule's."""


@dataclass(frozen=True)
class CoveragePolicy:
    """How collateral is valued."""

    appraised_haircut: Mapping[str, float]
    slots_valid_days: float
    tags_valid_days: float


@dataclass(frozen=True)
class Policy:
    """One version of the policy."""

    version: str
    sha256: str
    body: str
    """The file's text, kept in the database so that any score can be replayed."""
    grades: tuple[tuple[str, float], ...]
    """Grade and smallest lower end of the interval, points, best first."""
    support_floor: float
    calendar: CalendarPolicy
    indicators: Mapping[str, IndicatorPolicy]
    rules: Mapping[str, RulePolicy]
    coverage: CoveragePolicy


def load_policy(path: Path | None = None) -> Policy:
    """The policy in `path`, or the one shipped with the program.

    Raises:
        InvalidInputError: the file cannot be understood; the message says where.
    """
    shipped = resources.files("scoring.policies").joinpath("default.toml").read_text(encoding="utf-8")
    if path is None:
        return parse_policy(shipped)
    try:
        text = path.read_text(encoding="utf-8")
        tree = tomllib.loads(text)
    except OSError as error:
        raise InvalidInputError(f"Policy {path} cannot be read ({error.strerror}); name an existing TOML file.") from error
    except ValueError as error:  # not UTF-8, or not TOML
        raise InvalidInputError(
            f"Policy {path} is not valid ({error}); write it in TOML and UTF-8 like scoring/policies/default.toml."
        ) from error
    check_form(tree, tomllib.loads(shipped))
    return parse_policy(text)


def parse_policy(body: str) -> Policy:
    """The policy in a TOML text.

    Raises:
        InvalidInputError: not TOML, a key is missing, or weights of a kind of site do not sum to 100.
    """
    text = body.replace("\r\n", "\n")
    try:
        tree = tomllib.loads(text)
        policy = _policy(tree, text)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValueError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidInputError(
            f"The policy is not valid: {problem}; compare with scoring/policies/default.toml."
        ) from error
    _check(policy)
    return policy


def _policy(tree: Mapping[str, Any], text: str) -> Policy:
    baselines = {name: BaselinePolicy(**row) for name, row in tree["baseline"].items()}
    grades = dict(tree["grades"])
    floor = float(grades.pop("support_floor"))
    return Policy(
        version=str(tree["version"]),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        body=text,
        grades=tuple(sorted(((name, float(low)) for name, low in grades.items()), key=lambda row: -row[1])),
        support_floor=floor,
        calendar=_calendar(tree["calendar"]),
        indicators={
            name: _indicator({**row, "trust": tree.get("trust", {})}, baselines) for name, row in tree["indicator"].items()
        },
        rules={name: _rule(name, row) for name, row in tree["rule"].items()},
        coverage=CoveragePolicy(**tree["coverage"]),
    )


def _calendar(row: Mapping[str, Any]) -> CalendarPolicy:
    return CalendarPolicy(
        fixed=tuple((int(day[:2]), int(day[3:]), int(count)) for day, count in row["fixed"]),
        spring_festival={int(year): date.fromisoformat(day) for year, day in row["spring_festival"].items()},
        spring_before_days=int(row["spring_before_days"]),
        spring_after_days=int(row["spring_after_days"]),
        ready_after_h=float(row["ready_after_h"]),
    )


def _rule(name: str, row: Mapping[str, Any]) -> RulePolicy:
    for key in ("raise_count", "clear_count", "window"):
        if type(row[key]) is not int:
            raise ValueError(f"rule {name} has {key} {row[key]!r}, which is no whole number")
    for key in ("raise_at", "clear_at", "fresh_days"):
        if type(row[key]) not in (int, float) or not isfinite(row[key]):
            raise ValueError(f"rule {name} has {key} {row[key]!r}, which is no number")
    return RulePolicy(**{**row, "priority": Priority(row["priority"])})


def _indicator(row: Mapping[str, Any], baselines: Mapping[str, BaselinePolicy]) -> IndicatorPolicy:
    fields = dict(row)
    fields["weights"] = {SiteKind(kind): float(weight) for kind, weight in row["weights"].items()}
    fields["baseline"] = baselines[row["baseline"]]
    fields["curve"] = tuple((float(x), float(y)) for x, y in row["curve"])
    fields["trust"] = {str(owner): float(share) for owner, share in row["trust"].items()}
    fields["falls_to"] = {SiteKind(kind): str(name) for kind, name in row.get("falls_to", {}).items()}
    return IndicatorPolicy(**fields)


def _check(policy: Policy) -> None:
    for name, row in policy.indicators.items():
        if not all(0 <= weight <= 100 for weight in row.weights.values()):
            raise InvalidInputError(f"Policy {policy.version}: indicator {name} needs weights in 0..100.")
        if row.slots < 1 or not row.slot_days > 0 or not row.half_life_days > 0:
            raise InvalidInputError(
                f"Policy {policy.version}: indicator {name} needs a slot at least, slots and half-life longer than 0 days."
            )
    for kind in SiteKind:
        total = sum(row.weights.get(kind, 0.0) for row in policy.indicators.values())
        if abs(total - 100.0) > 1e-9:
            raise InvalidInputError(f"Policy {policy.version}: weights of {kind} sites sum to {total:g}; make them 100.")
    for name, row in policy.indicators.items():
        if not all(0 < share <= 1 for share in row.trust.values()):
            raise InvalidInputError(f"Policy {policy.version}: trust {dict(row.trust)} needs shares above 0, at most 1.")
        for other in row.falls_to.values():
            if other not in policy.indicators:
                raise InvalidInputError(
                    f"Policy {policy.version}: the weight of indicator {name} falls to {other!r}, which it does not have."
                )
        xs = [x for x, _ in row.curve]
        if not xs or xs != sorted(set(xs)) or not all(0 <= y <= 1 for _, y in row.curve) or not 0 <= row.prior <= 1:
            raise InvalidInputError(
                f"Policy {policy.version}: indicator {name} needs a curve of rising figures with shortfalls in 0..1 "
                "and a prior in 0..1."
            )
    for name, rule in policy.rules.items():
        if rule.clear_at > rule.raise_at or rule.raise_count < 1 or rule.clear_count < 1:
            raise InvalidInputError(
                f"Policy {policy.version}: rule {name} clears at {rule.clear_at} above its raise threshold {rule.raise_at} "
                "or counts less than one sample; it would flap."
            )
