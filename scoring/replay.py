"""Replays a stored score from the inputs it names and compares bit for bit: what an auditor asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral import ENGINE_VERSION
from collateral.db.observations import observation_revisions
from collateral.db.reference import policy_body
from collateral.domain import Score
from scoring.calendar import SiteCalendar
from scoring.evaluate import Chain, Reference, make_context, reference_digest
from scoring.evidence import Evidence, datum
from scoring.policy import parse_policy
from scoring.score import result_digest, score_site


@dataclass(frozen=True)
class Replay:
    """A stored score beside the one computed again."""

    stored: Score
    again: Score | None
    """None when the inputs could not be had."""
    problems: tuple[str, ...]
    """What differs, in words; empty when the bits are the same."""

    @property
    def same(self) -> bool:
        """True when every figure came out with the same bits."""
        return not self.problems


def replay_score(connection: Connection, stored: Score, reference_at: Callable[[datetime], Reference]) -> Replay:
    """Computes `stored` again from observations, reference data and policy as they were known at its time.

    Args:
        connection: an open transaction.
        stored: a score as read from the database.
        reference_at: reference data as known at a time.

    Raises:
        InvalidInputError: the policy it names is not stored.
    """
    problems: list[str] = []
    if stored.engine_version != ENGINE_VERSION:
        problems.append(f"engine {stored.engine_version} made it, this is {ENGINE_VERSION}: install that release to replay")
    policy = parse_policy(policy_body(connection, stored.policy_version))
    if policy.sha256 != stored.inputs["policy_sha256"]:
        problems.append(f"policy {stored.policy_version} is stored with another checksum")
    reference = reference_at(stored.known_at)
    site = reference.sites.get(stored.subject_id)
    if site is None:
        return Replay(stored, None, (*problems, f"site {stored.subject_id} was not known at {stored.known_at.isoformat()}"))
    if reference_digest(site) != stored.inputs["reference_sha256"]:
        problems.append(f"the record of site {site.site_id} differs from the one used")
    since = datetime.fromisoformat(str(stored.inputs["since"]))
    newest = int(str(stored.inputs["max_observation_id"]))
    revisions = [
        one
        for one in observation_revisions(connection, [site.site_id], since=since, until=stored.at)
        if one.observation_id is not None and one.observation_id <= newest
    ]
    inputs = Chain(revisions).inputs(stored.known_at, since)
    if inputs["observations_sha256"] != stored.inputs["observations_sha256"]:
        problems.append(f"{inputs['observations']} observations are found where {stored.inputs['observations']} were used")
    calendar = SiteCalendar(policy.calendar, site.time_zone, reference.holidays)
    evidence = Evidence(datum(one, calendar) for one in revisions)
    evidence.advance(stored.known_at)
    frozen = stored.inputs["frozen_at"]
    frozen_at = None if frozen is None else datetime.fromisoformat(str(frozen))
    again = score_site(make_context(site, reference, policy, calendar, evidence, stored.at, frozen_at), stored.inputs)
    if not result_digest(again) == result_digest(stored) == stored.inputs["sha256"]:
        problems.append(f"value {again.value / 100:.2f} comes out where {stored.value / 100:.2f} is stored")
    return Replay(stored, again, tuple(problems))
