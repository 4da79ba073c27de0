"""`collateral score`: judge sites day by day as it was known then, or now where inputs changed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from collateral.command import Command, Outcome, parse_day
from collateral.db.pool import Pool, Role
from collateral.db.scores import latest_scores
from collateral.errors import InvalidInputError, UsageError
from collateral.progress import progress
from collateral.settings import Settings
from scoring.notify import deliver
from scoring.policy import load_policy
from scoring.policy_check import check_policy
from scoring.replay import replay_score
from scoring.run import References, RunSummary, raise_present, score_days, score_now


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="first", metavar="DAY", help="first local day to judge, e.g. 2026-09-01")
    parser.add_argument("--to", dest="last", metavar="DAY", help="last local day; default: the same as --from")
    parser.add_argument("--site", action="append", metavar="ID", help="only this site; may be given several times")
    parser.add_argument("--replay", action="store_true", help="compute the latest stored scores again and compare bits")
    parser.add_argument("--areas", action="store_true", help="only alerts of areas on the present day, by trips and stops")
    parser.add_argument("--policy", type=Path, metavar="FILE", help="policy file; default: the one shipped")


def _score(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.last and not args.first:
        raise UsageError("--to needs --from: name the first day too.")
    if args.areas and (args.first or args.site or args.replay):
        raise UsageError("--areas looks at the present of all sites; leave --from, --site and --replay away.")
    if args.replay:
        return _replay(args.site, settings)
    policy = load_policy(args.policy)
    check_policy(policy)
    now = datetime.now(UTC)
    with Pool(settings.require_database(), Role.APP, size=2) as pool:
        if args.areas:
            summary = raise_present(pool, policy, now)
        elif args.first:
            first = parse_day(args.first)
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


def _replay(site_ids: list[str] | None, settings: Settings) -> Outcome:
    with Pool(settings.require_database(), Role.APP, size=2) as pool:
        references = References(pool)
        with pool.connection() as connection:
            stored = [one for one in latest_scores(connection) if site_ids is None or one.subject_id in site_ids]
            replays = [replay_score(connection, one, references.at) for one in progress(stored, "replaying")]
    if not replays:
        raise InvalidInputError("There is no stored score to replay; run `collateral score` first, or name another site.")
    differing = {one.stored.subject_id: list(one.problems) for one in replays if not one.same}
    lines = [f"{len(replays) - len(differing)} of {len(replays)} stored scores came out with the same bits."]
    lines += [f"{site_id}: {'; '.join(problems)}" for site_id, problems in differing.items()]
    payload = {"replayed": len(replays), "same": len(replays) - len(differing), "differing": differing}
    return Outcome(payload, "\n".join(lines), ok=not differing)


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
