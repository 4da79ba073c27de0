"""Whether the program can judge by a policy file: it reads every name in it, and finds what its rules compare with. Pure.

Stored policies of earlier versions are not checked: a score is replayed by the policy it was made with, whatever that names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from collateral.errors import InvalidInputError
from scoring.indicators import INDICATORS
from scoring.policy import Policy, RulePolicy
from scoring.rules import COVENANT_RULE, RULES

OWNERS = frozenset({"borrower", "bank", "third_party"})
"""Who may own a device."""
_SIDES = ("vehicles", "energy", "stock_slots", "stock_tags")
_INSIDE = ("energy", "running_hours")
NEEDS: Mapping[str, Sequence[str]] = {
    "agreement": _SIDES, "sources_disagree": _SIDES, "activity_decline": _INSIDE, "production_stop": _INSIDE,
    "panel_soiling": ("performance_ratio",), "stock_seen_less": ("stock_slots", "stock_cover"),
}  # fmt: skip
"""Indicators from whose baseline an indicator or rule takes what is normal."""

SMOOTHED = frozenset({"activity_decline", "panel_soiling"})
"""Their window is of one figure; figures reach back as far as they are counted."""
SINGLE = frozenset({"double_pledge", COVENANT_RULE})
"""They have one figure, of the present."""
DOUBLED = frozenset({"stock_seen_less", "sources_disagree"})
"""A second witness makes two figures of one."""


def check_policy(policy: Policy) -> None:
    """Raises `InvalidInputError` where a name is read by nothing, or a rule misses something or cannot act."""
    known = {row.key for row in INDICATORS}
    _check_names(policy, "indicator", policy.indicators, known)
    _check_names(policy, "rule", policy.rules, {rule.name for rule in RULES} | {COVENANT_RULE})
    _check_names(policy, "owner in [trust]", {owner for row in policy.indicators.values() for owner in row.trust}, OWNERS)
    for name, needed in NEEDS.items():
        missing = [one for one in needed if one not in policy.indicators]
        if missing and (name in policy.rules or name in policy.indicators):
            raise InvalidInputError(
                f"Policy {policy.version}: {name} takes what is normal from the indicators {', '.join(missing)}; add them "
                "(their weights may be 0), or leave it out."
            )
    for name, rule in policy.rules.items():
        _check_counts(policy.version, name, rule)


def _check_counts(version: str, name: str, rule: RulePolicy) -> None:
    if rule.window < 1:
        raise InvalidInputError(f"Policy {version}: rule {name} has window {rule.window}; give 1 or more.")
    if name in SMOOTHED:
        return
    most = 1 if name in SINGLE else rule.window
    for move, count, limit in (
        ("clear", rule.clear_count, most), ("raise", rule.raise_count, 2 * most if name in DOUBLED else most),
    ):
        if count > limit:
            wider = "" if name in SINGLE else f" or a wider window than {rule.window}"
            raise InvalidInputError(
                f"Policy {version}: rule {name} would never {move}: {move}_count is {count}, of {limit} figures at most; "
                f"give {move}_count {limit} or less{wider}."
            )


def _check_names(policy: Policy, what: str, named: Iterable[str], known: Iterable[str]) -> None:
    unread = sorted(set(named) - set(known))
    if unread:
        raise InvalidInputError(
            f"Policy {policy.version}: {what} {', '.join(unread)} is not known; known are {', '.join(sorted(known))}."
        )
