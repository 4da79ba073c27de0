"""`collateral score`: judge sites day by day as it was known then, or now where inputs changed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.command import Command, Outcome, parse_day
from collateral.db.clock import check_clock
from collateral.db.pool import Pool, Role
from collateral.db.scores import latest_scores, stored_scores
from collateral.domain import Score
from collateral.errors import InvalidInputError, UsageError
from collateral.progress import progress
from collateral.settings import Settings
from scoring.notify import deliver
from scoring.policy import load_policy
from scoring.policy_check import check_policy
from scoring.replay import Replay, replay_score
from scoring.run import References, RunSummary, raise_present, score_days, score_now

ONE_DAY = timedelta(days=1)


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", metavar="DAY", help="first local day to judge, e.g. 2026-09-01")
    parser.add_argument("--to", dest="last", metavar="DAY", help="last local day; default: the same as --from")
    parser.add_argument("--site", action="append", metavar="ID", help="only this site; may be given several times")
    parser.add_argument("--replay", action="store_true", help="compute the latest scores again, or those of --from, --to")
    parser.add_argument("--areas", action="store_true", help="only alerts of areas on the present day, by trips and stops")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="policy file; default: the one shipped")


def _score(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.last and not args.first:
        raise UsageError("--to needs --from: name the first day too.")
    if args.areas and (args.first or args.site or args.replay):
        raise UsageError("--areas looks at the present of all sites; leave --from, --site and --replay away.")
    if args.replay:
        if args.policy is not None:
            raise UsageError("--replay takes the policy that each score names; leave --policy away.")
        return _replay(args, settings)
    policy = load_policy(args.policy)
    check_policy(policy)
    now = datetime.now(UTC)
    first = parse_day(args.first) if args.first else None
    if first is not None and first > (now + ONE_DAY).date():  # a day, for zones ahead of UTC
        raise UsageError(f"--from {first} lies in the future; no day of it can be judged yet.")
    with Pool(settings.require_database(), Role.APP, size=2) as pool:
        with pool.connection() as connection:
            check_clock(connection)
        if args.areas:
            summary = raise_present(pool, policy, now)
        elif first is not None:
            summary = score_days(pool, policy, first, parse_day(args.last) if args.last else first, args.site, now)
        else:
            summary = score_now(pool, policy, args.site, now)
        delivery = deliver(pool, datetime.now(UTC))
    payload = {
        "sites": summary.sites,
        "evaluations": summary.evaluations,
        "scores": summary.scores,
        "coverages": summary.coverages,
        "alerts": dict(sorted(summary.alerts.items())),
        "cleared": dict(sorted(summary.cleared.items())),
        "not_known_yet": summary.unknown,
        "notified": delivery.delivered,
        "policy": policy.version,
        "seconds": summary.seconds,
    }
    return Outcome(payload, _text(summary))


def _replay(args: argparse.Namespace, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=2) as pool:
        references = References(pool)
        with pool.connection() as connection:
            stored = _stored(connection, args, references)
            missing = sorted(set(args.site or ()) - {one.subject_id for one in stored})
            if missing or not stored:
                what = f" of site {', '.join(missing)}" if missing else ""
                raise InvalidInputError(
                    f"There is no stored score{what} to replay; run `collateral score` first, or name another site or day."
                )
            replays = [replay_score(connection, one, references.at) for one in progress(stored, "replaying")]
    differing: dict[str, list[str]] = {}
    for one in replays:
        if not one.same:
            name = f"{one.stored.subject_id} {one.stored.at.isoformat()}" if args.first else one.stored.subject_id
            differing.setdefault(name, []).extend(one.problems)
    same = sum(one.same for one in replays)
    lines = [f"{same} of {len(replays)} stored scores came out with the same bits."]
    lines += [f"{name}: {'; '.join(problems)}" for name, problems in differing.items()]
    payload: dict[str, object] = {"replayed": len(replays), "same": same, "differing": differing}
    if args.first:
        payload["scores"] = [_as_stored(one) for one in replays]
        lines += [_line(one) for one in replays]
    return Outcome(payload, "\n".join(lines), ok=not differing)


def _stored(connection: Connection, args: argparse.Namespace, references: References) -> list[Score]:
    """The latest scores, or all of the local days asked for, of the sites asked for."""
    if not args.first:
        found = latest_scores(connection)
    else:
        first = parse_day(args.first)
        last = parse_day(args.last) if args.last else first
        if last < first:
            raise InvalidInputError(f"--to {last} lies before --from {first}; swap them.")
        begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
        around = stored_scores(connection, begin - ONE_DAY, begin + (last - first + 2 * ONE_DAY))
        found = [one for one in around if first <= _local_day(one, references) <= last]
    return [one for one in found if args.site is None or one.subject_id in args.site]


def _local_day(score: Score, references: References) -> date:
    site = references.at(score.known_at).sites.get(score.subject_id)
    return score.at.astimezone(UTC if site is None else ZoneInfo(site.time_zone)).date()


def _as_stored(replay: Replay) -> Mapping[str, object]:
    """One score with all that its number is made of: the points of its contributions are what is missing from 100."""
    score = replay.stored
    return {
        **asdict(score), "value": score.value / 100, "lower": score.lower / 100, "upper": score.upper / 100,
        "contributions": [{**asdict(part), "points": part.points / 100} for part in score.contributions],
        "same": replay.same,
    }


def _line(replay: Replay) -> str:
    score = replay.stored
    parts = ", ".join(f"{part.indicator} {part.points / 100:.2f}" for part in score.contributions if part.points)
    return (
        f"{score.subject_id} {score.at.isoformat()} {score.value / 100:.2f} ({score.lower / 100:.2f} to"
        f" {score.upper / 100:.2f}) {score.grade}: 100 less {parts or 'nothing'}; policy {score.policy_version}"
    )


def _text(summary: RunSummary) -> str:
    raised = ", ".join(f"{rule} {count}" for rule, count in sorted(summary.alerts.items())) or "none"
    return (
        f"{summary.sites} sites judged at {summary.evaluations} times, {summary.scores} scores written; "
        f"alerts raised: {raised}; {summary.seconds:.1f} s"
    )


COMMANDS = {
    "score": Command(
        summary="score sites and raise alerts: without dates the sites whose inputs changed, as of now",
        example="collateral score --from 2026-09-01 --to 2026-09-30",
        run=_score,
        configure=_configure,
    )
}
