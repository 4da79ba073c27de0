"""Detections become observations: counts, shares and areas with 95 % intervals.

Counts: `detection.counting`. Shares of places: the sum of independent yes/no states is Poisson-binomial.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from collateral.domain import Observation, Source, SubjectKind
from collateral.quantities import OBSERVATION_QUANTITIES
from detection.counting import ANY, LEVEL, CountRow, draw_counts, row_at
from imagery.scan import SiteWindow

_Z95 = 1.96
_INSTANT = timedelta(seconds=1)
"""A picture shows an instant: its period is one second."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    lower: float
    upper: float


def estimate_count(
    confidences: Sequence[float], row: CountRow | float = 1.0, hidden_share: float = 0.0, level: float = LEVEL
) -> Estimate:
    """How many there are, given what was found.

    Args:
        confidences: calibrated probability of each detection above the threshold.
        row: what was measured about counting in pictures of that kind; a number is a recall without spread.
        hidden_share: share of the site that could not be seen; it widens the upper end only.
        level: of the interval.
    """
    known = row if isinstance(row, CountRow) else CountRow(ANY, 1.0, row)
    known = replace(known, recall=min(max(known.recall, 0.05), 1.0))
    value = known.ratio * float(np.sum(confidences)) / known.recall
    lower, upper = np.quantile(draw_counts(confidences, known), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, min(value, float(lower)), max(value, float(upper)) / max(1 - hidden_share, 0.05))


def count_in_picture(
    confidences: Sequence[float],
    rows: Sequence[CountRow],
    gsd_m: float,
    hidden_share: float = 0.0,
    otherwise: float = 1.0,
    level: float = LEVEL,
) -> Estimate:
    """`estimate_count` for a picture of `gsd_m` by a card's rows (`counting.rows_of`); `otherwise` is the recall without."""
    return estimate_count(confidences, row_at(rows, gsd_m) if rows else otherwise, hidden_share, level)


def estimate_share(probabilities: Sequence[float], error_rate: float = 0.0) -> Estimate:
    """Mean of independent yes/no states, given the probability of each.

    Args:
        probabilities: of "yes", one per place; at least one.
        error_rate: measured share of wrong decisions, added to the interval.
    """
    p = np.asarray(probabilities, np.float64)
    value = float(p.mean())
    spread = _Z95 * math.sqrt(float((p * (1 - p)).sum())) / len(p) + error_rate
    return Estimate(value, max(0.0, value - spread), min(1.0, value + spread))


def estimate_state(probability: float) -> Estimate:
    """Probability that one yes/no state holds, with the spread of that state."""
    p = min(max(float(probability), 0.0), 1.0)
    spread = _Z95 * math.sqrt(p * (1 - p))
    return Estimate(p, max(0.0, p - spread), min(1.0, p + spread))


def estimate_area(
    probability: NDArray[np.float32], threshold: float, pixel_m2: float, relative_error: float, hidden_share: float = 0.0
) -> Estimate:
    """Area of the pixels at or above the threshold, square metres.

    Args:
        probability: calibrated, any shape, only pixels of the site.
        threshold: from the model card.
        pixel_m2: area of a pixel.
        relative_error: measured relative error of areas; neighbouring pixels err together, so their number does not help.
        hidden_share: share of the site that could not be seen; it widens the upper end only.
    """
    seen = probability >= threshold
    value = float(seen.sum()) * pixel_m2
    doubt = (
        float(np.abs(np.where(seen, 1 - probability, probability))[np.abs(probability - threshold) < 0.3].sum()) * pixel_m2
    )
    spread = _Z95 * relative_error * value + doubt
    return Estimate(value, max(0.0, value - spread), (value + spread) / max(1 - hidden_share, 0.05))


def observation(
    window: SiteWindow,
    quantity: str,
    method: str,
    estimate: Estimate,
    evidence: Mapping[str, object],
    slot_id: str | None = None,
) -> Observation:
    """One observation of the window's instant, about the site or one of its slots. Figures are rounded to what they mean."""
    limits = OBSERVATION_QUANTITIES[quantity]
    value, lower, upper = (
        min(max(round(figure, 4), limits.low), limits.high) for figure in (estimate.value, estimate.lower, estimate.upper)
    )
    return Observation(
        subject_kind=SubjectKind.SITE if slot_id is None else SubjectKind.SLOT,
        subject_id=window.target.site.site_id if slot_id is None else slot_id,
        site_id=window.target.site.site_id,
        quantity=quantity,
        valid_from=window.scene.record.acquired_at,
        valid_to=window.scene.record.acquired_at + _INSTANT,
        source=Source.IMAGERY,
        method=method,
        value=value,
        lower=min(lower, value),
        upper=max(upper, value),
        quality=window.quality,
        known_at=window.known_at,
        evidence=evidence,
    )
