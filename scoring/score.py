"""The score: 100 minus the sum of weight times expected shortfall, in whole hundredths that add up exactly. Pure.

The grade follows the interval's lower end, which can only fall when evidence is taken away, and is `U` when too little
rests on evidence at all (`U` ranks below `E`). The same inputs give the same bits: plain floats, correctly rounded sums, no
clock, no random numbers.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from collateral import ENGINE_VERSION
from collateral.domain import Contribution, Score, SubjectKind
from scoring.context import SiteContext
from scoring.indicators import INDICATORS, Assessment, assess, weights
from scoring.policy import Policy

FULL = 10_000
"""A faultless score in hundredths of a point."""
GRADES = "ABCDEU"
"""Best first."""


def score_site(context: SiteContext, inputs: Mapping[str, object]) -> Score:
    """The score of one site at `context.at`.

    Args:
        context: evidence advanced to that time.
        inputs: what was used besides, stored with the score (see `scoring.evaluate`).
    """
    counted = weights(context)
    assessments = [assess(row, context, counted[row.key]) for row in INDICATORS if row.key in counted]
    points = allot([part.weight * part.shortfall.expected for part in assessments])
    value = FULL - sum(points)
    lower = min(value, max(0, math.floor(FULL - 100 * math.fsum(a.weight * a.shortfall.upper for a in assessments))))
    upper = max(value, min(FULL, math.ceil(FULL - 100 * math.fsum(a.weight * a.shortfall.lower for a in assessments))))
    support = math.fsum(part.weight * part.support for part in assessments) / 100.0
    score = Score(
        subject_kind=SubjectKind.SITE,
        subject_id=context.site.site_id,
        at=context.at,
        known_at=context.at,
        value=value,
        lower=lower,
        upper=upper,
        grade=grade_of(lower, support, context.policy),
        support=min(1.0, support),
        contributions=tuple(
            Contribution(part.key, taken, part.weight, part.shortfall.expected, part.support > 0, _shown(part))
            for part, taken in zip(assessments, points, strict=True)
        ),
        policy_version=context.policy.version,
        engine_version=ENGINE_VERSION,
        inputs={**inputs, "used": sorted({pair for part in assessments for pair in part.used})},
    )
    return replace(score, inputs={**score.inputs, "sha256": result_digest(score)})


def allot(shares: Sequence[float]) -> list[int]:
    """Whole hundredths for shares in points: they sum to the rounded total, largest remainders first, ties in order."""
    exact = [100.0 * share for share in shares]
    whole = [math.floor(figure) for figure in exact]
    missing = round(math.fsum(exact)) - sum(whole)
    order = sorted(range(len(exact)), key=lambda index: (whole[index] - exact[index], index))
    for index in order[: max(0, missing)]:
        whole[index] += 1
    return whole


def grade_of(lower: int, support: float, policy: Policy) -> str:
    """Grade by the lower end of the interval (hundredths); `U` when support is below the policy's floor."""
    if support < policy.support_floor:
        return "U"
    for name, least in policy.grades:
        if lower >= 100 * least:
            return name
    return "E"


def result_digest(score: Score) -> str:
    """Checksum of everything a score says, its inputs left out: equal digests mean the same bits."""
    said = {
        "subject": f"{score.subject_kind}:{score.subject_id}",
        "at": score.at.isoformat(),
        "value": [score.value, score.lower, score.upper],
        "grade": score.grade,
        "support": score.support,
        "contributions": [
            [part.indicator, part.points, part.weight, part.expected_shortfall, part.supported, dict(part.detail)]
            for part in score.contributions
        ],
        "policy": score.policy_version,
        "engine": score.engine_version,
    }
    return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _shown(part: Assessment) -> dict[str, object]:
    return {
        **part.detail,
        "support": part.support,
        "shortfall": [part.shortfall.lower, part.shortfall.expected, part.shortfall.upper],
    }
