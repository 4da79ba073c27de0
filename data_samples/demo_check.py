"""Verifies a running demo: what was scanned, received, scored, detected and shown, as one flat report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from collateral.db.pool import fetch_dicts

MIN_SITES = 24
MIN_BOTH_SOURCES = 16
MIN_STORYLINES = 8

COUNTS = {
    "sites": "SELECT count(*) FROM site",
    "scenes_scanned": "SELECT count(DISTINCT scene_id) FROM scan_result WHERE status = 'done'",
    "cnn_observations": "SELECT count(*) FROM observation WHERE source = 'imagery'",
    "imaged_sites_without_observation": """
        SELECT count(*) FROM (SELECT DISTINCT site_id FROM scan_result) AS imaged
        WHERE site_id NOT IN (SELECT site_id FROM observation WHERE source = 'imagery')""",
    "scores": "SELECT count(DISTINCT subject_id) FROM score WHERE subject_kind = 'site'",
    "sites_with_both_sources": """
        SELECT count(*) FROM (
            SELECT site_id FROM observation GROUP BY site_id HAVING count(DISTINCT source) = 2
        ) AS both_sides""",
    "alerts": "SELECT count(*) FROM alert",
}


@dataclass(frozen=True)
class Storyline:
    """What the sample world says has happened, and the rule that must see it."""

    name: str
    rule: str
    site: str
    subject_id: str
    onset: datetime
    within_days: float
    twin: str


def read_storylines(world: Path) -> tuple[Storyline, ...]:
    """The storylines of the world in `world`."""
    rows = json.loads((world / "truth" / "storylines.json").read_text())
    return tuple(
        Storyline(
            row["name"], row["rule"], row["site"], row["subject_id"], datetime.fromisoformat(row["onset"]),
            float(row["within_days"]), row["twin"],
        )
        for row in rows
    )


def counts(connection: Connection, live_since: datetime) -> dict[str, Any]:
    """Figures of COMMANDS `demo-check`; readings count as live when they arrived after `live_since`."""
    report: dict[str, Any] = {}
    with connection.cursor() as cursor:
        for key, query in COUNTS.items():
            cursor.execute(query)
            row = cursor.fetchone()
            assert row is not None
            report[key] = int(row[0])
    live = fetch_dicts(
        connection,
        "SELECT count(*) AS readings, count(DISTINCT d.site_id) AS sites FROM reading r JOIN series s USING (series_id)"
        " JOIN device d USING (device_id) WHERE r.time >= %s::timestamptz - interval '3 days' AND r.received_at >= %s",
        (live_since, live_since),
    )[0]
    devices = fetch_dicts(connection, "SELECT count(DISTINCT site_id) AS sites FROM device")[0]
    report["readings_via_mqtt"] = int(live["readings"])
    report["sites_with_devices"] = int(devices["sites"])
    report["sites_heard_via_mqtt"] = int(live["sites"])
    return report


def judge_storylines(connection: Connection, storylines: Sequence[Storyline]) -> dict[str, dict[str, object]]:
    """For each storyline whether its own rule fired at its own site, after the onset and within its time."""
    verdicts: dict[str, dict[str, object]] = {}
    for story in storylines:
        raised = fetch_dicts(
            connection,
            "SELECT min(raised_at) AS first FROM alert"
            " WHERE rule = %s AND site_id = %s AND raised_at > %s AND raised_at <= %s",
            (story.rule, story.site, story.onset, story.onset + timedelta(days=story.within_days)),
        )[0]["first"]
        days = None if raised is None else round((raised - story.onset).total_seconds() / 86_400, 1)
        verdicts[story.name] = {
            "detected": raised is not None, "rule": story.rule, "site": story.site, "days_after_onset": days,
        }
    return verdicts


def healthy_false_alerts(connection: Connection, storylines: Sequence[Storyline]) -> list[dict[str, Any]]:
    """Alerts above low on sites without a storyline of their own: twins and plain healthy ones."""
    ill = [story.site for story in storylines]
    return fetch_dicts(
        connection,
        "SELECT rule, site_id, priority, raised_at FROM alert WHERE priority <> 'low' AND NOT site_id = ANY(%s)"
        " ORDER BY raised_at",
        (ill,),
    )


def failures(report: Mapping[str, Any]) -> list[str]:
    """The points of the check that do not hold, in words; empty when all do."""
    detected = sum(1 for verdict in report["storylines"].values() if verdict["detected"])
    points = {
        f"sites {report['sites']} < {MIN_SITES}": report["sites"] >= MIN_SITES,
        f"scores {report['scores']} differ from sites {report['sites']}": report["scores"] == report["sites"],
        f"{report['imaged_sites_without_observation']} imaged sites have no CNN observation":
            report["imaged_sites_without_observation"] == 0 and report["cnn_observations"] > 0,
        f"only {report['sites_heard_via_mqtt']} of {report['sites_with_devices']} sites with devices were heard via MQTT":
            report["sites_heard_via_mqtt"] == report["sites_with_devices"] > 0,
        f"sites with both sources {report['sites_with_both_sources']} < {MIN_BOTH_SOURCES}":
            report["sites_with_both_sources"] >= MIN_BOTH_SOURCES,
        f"dashboard answered {report['dashboard_http']}": report["dashboard_http"] == 200,
        f"{len(report['screenshots'])} of 2 screenshots": len(report["screenshots"]) >= 2,
        f"storylines detected {detected} < {MIN_STORYLINES}": detected >= MIN_STORYLINES,
        f"{report['healthy_false_alerts']} alerts above low on healthy sites": report["healthy_false_alerts"] == 0,
    }
    return [text for text, holds in points.items() if not holds]
