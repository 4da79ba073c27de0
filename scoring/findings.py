"""What a rule measures: dated samples of one subject. A leaf of scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from collateral.domain import SubjectKind
from scoring.context import SiteContext
from scoring.evidence import Datum
from scoring.policy import RulePolicy


@dataclass(frozen=True)
class Sample:
    """One dated figure of a rule."""

    at: datetime
    """End of what was judged; a later alert must rest on later samples."""
    figure: float
    """Larger is worse; the unit is the rule's."""
    observations: tuple[tuple[int, int], ...] = ()
    """Observation id and revision."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """Figures of each side, for people."""


@dataclass(frozen=True)
class Finding:
    """What a rule measured for one subject."""

    subject_kind: SubjectKind
    subject_id: str
    samples: tuple[Sample, ...]
    """Oldest first."""


Measure = Callable[[SiteContext, RulePolicy, Mapping[str, datetime]], list[Finding]]
"""Context, policy, and since when alerts of this rule are open, by subject id."""


def ids(*data: Datum) -> tuple[tuple[int, int], ...]:
    """Observation id and revision of each, in order."""
    return tuple(sorted((item.observation_id, item.revision) for item in data))
