"""Keeps a scan's results in the database."""

from __future__ import annotations

from collections.abc import Sequence

from collateral.db.observations import mark_dirty, write_observations
from collateral.db.pool import Pool
from collateral.db.scenes import ScanResult, finished_work, write_scan_results, write_scene, write_scene_rejection
from collateral.domain import Observation
from imagery.raster import RasterRejectedError
from imagery.scan import WorkKey
from imagery.scenes import SceneFile


class DatabaseScanStore:
    """A `ScanStore` on the tables scene, scene_rejection, scan_result and observation."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def register(self, scenes: Sequence[SceneFile]) -> None:
        """Writes scenes not known yet."""
        with self._pool.connection() as connection:
            for scene in scenes:
                write_scene(connection, scene.record, scene.available_at)

    def reject(self, error: RasterRejectedError) -> None:
        """Notes a file that cannot become a scene."""
        with self._pool.connection() as connection:
            write_scene_rejection(connection, str(error.path), error.sha256, error.reason.value, error.detail)

    def finished(self, scenes: Sequence[SceneFile]) -> set[WorkKey]:
        """Work of these scenes that is done or was refused for the picture's sake."""
        with self._pool.connection() as connection:
            return finished_work(connection, [scene.record.scene_id for scene in scenes])

    def save(self, results: Sequence[ScanResult], observations: Sequence[Observation]) -> int:
        """One transaction. A site whose picture was refused is scored anew too: its evidence grows old."""
        with self._pool.connection() as connection:
            written = write_observations(connection, observations, "scan").written
            write_scan_results(connection, results)
            mark_dirty(connection, {r.site_id for r in results if r.status == "rejected"}, "picture rejected")
        return written
