"""Counts of the running system, for `collateral status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812

_COUNTS: Mapping[str, str] = {
    "sites": "SELECT count(*) FROM site",
    "scenes_scanned": "SELECT count(DISTINCT scene_id) FROM scan_result WHERE status = 'done'",
    "cnn_observations": "SELECT count(*) FROM observation WHERE source = 'imagery'",
    "imaged_sites_without_observation": """
        SELECT count(DISTINCT site_id) FROM scan_result s WHERE status = 'done'
            AND NOT EXISTS (SELECT FROM observation o WHERE o.site_id = s.site_id AND o.source = 'imagery')""",
    "readings_via_mqtt": "SELECT coalesce(sum(stored), 0) FROM ingest_tally",
    "scores": "SELECT count(DISTINCT subject_id) FROM score JOIN site ON site_id = subject_id WHERE subject_kind = 'site'",
    "sites_with_both_sources": """
        SELECT count(*) FROM (
            SELECT site_id FROM observation JOIN site USING (site_id) GROUP BY site_id HAVING count(DISTINCT source) = 2
        ) AS both_sides""",
    "alerts": "SELECT count(*) FROM alert_current WHERE state <> 'cleared'",
    "quarantined": "SELECT count(*) FROM quarantine WHERE retried_at IS NULL",
    "dirty_sites": "SELECT count(*) FROM dirty_site",
}

_LAG = """
SELECT extract(epoch FROM now() - least(
        (SELECT min(marked_at) FROM dirty_range), (SELECT min(marked_at) FROM dirty_site)))::float8,
    extract(epoch FROM now() - (SELECT max(last_received_at) FROM device_state))::float8
"""


@dataclass(frozen=True)
class Lag:
    """How far behind the system is."""

    work_s: float
    """Age of the oldest change that is not yet in observations or scores; 0 when nothing waits."""
    reading_s: float | None
    """Since any device was last heard; None when none ever was."""


def counts(connection: Connection) -> dict[str, int]:
    """Figures of COMMANDS `demo-check` that the tables can give; alerts are those not cleared."""
    found: dict[str, int] = {}
    with connection.cursor() as cursor:
        for key, query in _COUNTS.items():
            cursor.execute(query)
            row = cursor.fetchone()
            assert row is not None
            found[key] = int(row[0])
    return found


def lag(connection: Connection) -> Lag:
    """What waits, and when a device was last heard."""
    with connection.cursor() as cursor:
        cursor.execute(_LAG)
        row = cursor.fetchone()
        assert row is not None
        return Lag(max(float(row[0] or 0.0), 0.0), None if row[1] is None else float(row[1]))
