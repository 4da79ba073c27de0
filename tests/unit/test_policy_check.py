"""Policy files that leave things out or misspell them: refused, or judged by without falling over."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from collateral.domain import SiteKind
from collateral.errors import InvalidInputError
from collateral.portfolio.kinds import Choice
from collateral.portfolio.schema import FILES
from scoring.indicators import INDICATORS
from scoring.policy import Policy, load_policy, parse_policy
from scoring.policy_check import NEEDS, OWNERS, check_policy
from scoring.rules import COVENANT_RULE, RULES
from tests.scoring_support import POLICY, evaluate, factory, make_asset, slots_of, solar, warehouse

OLD_POLICY = Path(__file__).parents[1] / "vectors" / "policy_2026_1.toml"
DIARIES = {SiteKind.FACTORY: factory(2), SiteKind.SOLAR: solar(2), SiteKind.WAREHOUSE: warehouse(2)}
DAY = date(2026, 8, 20)


def judge(policy: Policy) -> None:
    for kind, diary in DIARIES.items():
        assert evaluate(kind, diary.rows, DAY, DAY, assets=(make_asset("A"),), slots=slots_of("A"), policy=policy).scores


@pytest.mark.parametrize(("old", "new", "said"), [
    ("[indicator.energy]", "[indicator.enrgy]", "indicator enrgy is not known"),
    ("[rule.stock_removed]", "[rule.stock_remvoed]", "rule stock_remvoed is not known"),
    ("borrower = 0.95", "borower = 0.95", "owner in .trust. borower is not known"),
])  # fmt: skip
def test_a_name_that_nothing_reads_is_refused(old: str, new: str, said: str) -> None:
    policy = parse_policy(POLICY.body.replace(old, new, 1))
    with pytest.raises(InvalidInputError, match=said):
        check_policy(policy)


@pytest.mark.parametrize("path", [None, OLD_POLICY], ids=["shipped", "2026.1"])
def test_policies_of_every_version_pass(path: Path | None) -> None:
    check_policy(load_policy(path))


@pytest.mark.parametrize(("rule", "change", "said"), [
    ("left_region", {"window": 1}, "left_region would never clear: clear_count is 2, of 1 figures at most; give"),
    ("stock_removed", {"clear_count": 7}, "clear_count 6 or less or a wider window than 6"),
    ("covenant_breach", {"clear_count": 2, "window": 9}, "would never clear: .* give clear_count 1 or less.$"),
    ("tamper", {"raise_count": 6}, "tamper would never raise"),
    ("sources_disagree", {"window": 1, "raise_count": 3, "clear_count": 1}, "sources_disagree would never raise"),
    ("panel_soiling", {"window": 0}, "panel_soiling has window 0"),
    ("sources_disagree", {"window": 1, "clear_count": 1}, ""),
    ("activity_decline", {"window": 1}, ""),
    ("stock_removed", {"window": 4}, ""),
])  # fmt: skip
def test_a_rule_that_could_never_clear_or_raise_is_refused(rule: str, change: dict[str, Any], said: str) -> None:
    policy = replace(POLICY, rules={**POLICY.rules, rule: replace(POLICY.rules[rule], **change)})
    if not said:
        check_policy(policy)
        return
    with pytest.raises(InvalidInputError, match=said):
        check_policy(policy)


@pytest.mark.parametrize(("key", "value"), [
    ("raise_count", '"2"'), ("clear_count", "1.5"), ("window", "true"), ("raise_at", "nan"), ("clear_at", '"low"'),
    ("fresh_days", "inf"),
])  # fmt: skip
def test_a_rule_whose_numbers_are_none_is_refused_by_its_name(key: str, value: str) -> None:
    head, mark, tail = POLICY.body.partition("[rule.left_region]")
    body = head + mark + re.sub(rf"^{key} = .*$", f"{key} = {value}", tail, count=1, flags=re.MULTILINE)
    with pytest.raises(InvalidInputError, match=f"rule left_region has {key}"):
        parse_policy(body)


def test_what_is_needed_exists() -> None:
    keys = {row.key for row in INDICATORS}
    assert set(NEEDS) <= keys | {rule.name for rule in RULES} and {one for some in NEEDS.values() for one in some} <= keys
    columns = next(spec.columns for spec in FILES if spec.part == "devices")
    owner = next(column.kind for column in columns if column.name == "owner")
    assert isinstance(owner, Choice) and set(owner.words) == OWNERS


@pytest.mark.parametrize("left_out", [row.key for row in INDICATORS])
def test_without_an_indicator_sites_are_judged_or_what_needs_it_is_named(left_out: str) -> None:
    policy = replace(POLICY, indicators={name: row for name, row in POLICY.indicators.items() if name != left_out})
    needing = {name for name, needed in NEEDS.items() if left_out in needed}
    if needing:
        with pytest.raises(InvalidInputError, match=left_out):
            check_policy(policy)
    rules = {name: row for name, row in policy.rules.items() if name not in needing}
    indicators = {
        name: replace(row, falls_to={}) for name, row in policy.indicators.items() if name not in needing
    }
    smaller = replace(policy, rules=rules, indicators=indicators)
    check_policy(smaller)
    judge(smaller)


@pytest.mark.parametrize("left_out", [rule.name for rule in RULES])
def test_without_a_rule_sites_are_judged(left_out: str) -> None:
    kept = {name: row for name, row in POLICY.rules.items() if name not in (left_out, COVENANT_RULE)}
    policy = replace(POLICY, rules=kept)
    check_policy(policy)
    judge(policy)
