"""Plans which windows must be read, reads and judges them, hands them to the detectors, and resumes where it stopped.

The unit of work is (scene, site, detector, weights). Reading and judging run one window ahead in a thread of their own while
the detector works. What fails for one window leaves a row that says why, and the rest goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from shapely import STRtree

from collateral.db.scenes import ScanResult
from collateral.domain import Observation, Quality
from collateral.progress import progress
from imagery.grid import NO_SHIFT
from imagery.quality import Overview, Verdict, assess, cloud_shadows, clouds
from imagery.raster import RasterFacts, RasterRejectedError, Reason, inspect_scene
from imagery.reader import Pixels, ReadCost, WindowDamagedError, moved_mask, read_pixels
from imagery.reference import Reference, ReferenceStore, build_reference, overview_of, reference_at
from imagery.register import Alignment, align
from imagery.scan_summary import ScanSummary
from imagery.scenes import SceneFile, scene_of
from imagery.target import SiteTarget

log = logging.getLogger(__name__)

_WINDOWS_PER_COMMIT = 16
WorkKey = tuple[str, str, str, str]


@dataclass(frozen=True)
class SiteWindow:
    """One site in one scene, aligned and on a detector's grid."""

    scene: SceneFile
    target: SiteTarget
    pixels: Pixels
    """On the site's own fixed grid, displacement put right; `valid` is False under cloud too."""
    hidden_share: float
    """Share of the site under cloud or without data, 0 to 1."""
    quality: Quality
    known_at: datetime
    figures: Mapping[str, object]
    """Of quality and registration, for evidence."""
    on_grids: Mapping[float, Pixels] = field(default_factory=dict)
    """The same window on the grids of all detectors that see it, by pixel size in metres."""


@dataclass(frozen=True)
class WindowReading:
    """What a detector makes of a window."""

    observations: tuple[Observation, ...]
    figures: Mapping[str, object] = field(default_factory=dict)


class WindowConsumer(Protocol):
    """A detector as the scan sees it."""

    @property
    def name(self) -> str:
        """Detector name, stored with results."""

    @property
    def model_sha256(self) -> str:
        """Weights: other weights make the work due again."""

    @property
    def gsd_m(self) -> float:
        """Pixel of the grid it wants."""

    def wants(self, target: SiteTarget) -> bool:
        """Whether this site is its business."""

    def consume(self, window: SiteWindow) -> WindowReading:
        """Reads one window."""


class ScanStore(Protocol):
    """Where the scan keeps what it did."""

    def register(self, scenes: Sequence[SceneFile]) -> None:
        """Writes scenes before their results."""

    def reject(self, error: RasterRejectedError) -> None:
        """Notes a file that cannot become a scene."""

    def finished(self, scenes: Sequence[SceneFile]) -> set[WorkKey]:
        """Work of these scenes that is done."""

    def save(self, results: Sequence[ScanResult], observations: Sequence[Observation]) -> int:
        """Stores results with their observations, all or nothing; returns the observations written."""


@dataclass(frozen=True)
class WindowTask:
    """One window and the detectors that still have to see it."""

    scene: SceneFile
    target: SiteTarget
    consumers: tuple[WindowConsumer, ...]


@dataclass(frozen=True)
class Prepared:
    """A window after reading and judging."""

    reason: str
    """Empty when accepted."""
    windows: Mapping[float, SiteWindow]
    """By pixel size."""
    cost: ReadCost
    figures: Mapping[str, object]


def open_scenes(
    paths: Iterable[Path], store: ScanStore, inspector: Callable[[Path], RasterFacts] = inspect_scene
) -> tuple[list[SceneFile], ScanSummary]:
    """Opens and registers what can be a scene; what cannot is noted with its reason.

    `inspector`: `imagery.raster.inspect_scene`, or one that remembers (`imagery.seen`).
    """
    scenes: dict[str, SceneFile] = {}
    rejected: dict[str, int] = {}
    files = list(paths)
    with ThreadPoolExecutor(2, "scene") as pool:
        for outcome in progress(pool.map(partial(_try_open, inspector), files), "scenes", len(files), "file"):
            if isinstance(outcome, SceneFile):
                scenes.setdefault(outcome.record.scene_id, outcome)
            else:
                store.reject(outcome)
                log.warning("%s", outcome)
                rejected[outcome.reason.value] = rejected.get(outcome.reason.value, 0) + 1
    found = list(scenes.values())
    store.register(found)
    count = sum(rejected.values())
    return found, ScanSummary(windows=count, rejected=rejected, scenes=len(found), scenes_rejected=count)


def _try_open(inspector: Callable[[Path], RasterFacts], path: Path) -> SceneFile | RasterRejectedError:
    try:
        return scene_of(inspector(path))
    except RasterRejectedError as error:
        return error
    except Exception as error:  # one file must not stop the others; the row says what happened
        return RasterRejectedError(path, Reason.UNREADABLE, f"{said(error)}; copy it again, or leave it out.")


def plan(
    scenes: Sequence[SceneFile],
    targets: Sequence[SiteTarget],
    consumers: Sequence[WindowConsumer],
    finished: set[WorkKey],
) -> tuple[list[WindowTask], int]:
    """Which windows have work left, ordered by site and time, and how many pieces of work are finished already."""
    tasks: list[WindowTask] = []
    skipped = 0
    for scene, target in windows_of(scenes, targets):
        wanting = [consumer for consumer in consumers if consumer.wants(target)]
        left = tuple(consumer for consumer in wanting if _key(scene, target, consumer) not in finished)
        skipped += len(wanting) - len(left)
        if left:
            tasks.append(WindowTask(scene, target, left))
    tasks.sort(key=lambda t: (t.target.site.site_id, t.scene.record.acquired_at, t.scene.record.scene_id))
    return tasks, skipped


def windows_of(scenes: Sequence[SceneFile], targets: Sequence[SiteTarget]) -> Iterator[tuple[SceneFile, SiteTarget]]:
    """Every site in every scene whose footprint it touches."""
    tree = STRtree([target.site.geometry for target in targets])
    for scene in scenes:
        for index in tree.query(scene.record.footprint, predicate="intersects"):
            yield scene, targets[int(index)]


def _key(scene: SceneFile, target: SiteTarget, consumer: WindowConsumer) -> WorkKey:
    return (scene.record.scene_id, target.site.site_id, consumer.name, consumer.model_sha256)


class Scanner:
    """Runs a plan."""

    def __init__(
        self,
        store: ScanStore,
        references: ReferenceStore,
        history: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """With `history`, observations are known from the time the scene became available, else from now."""
        self._store = store
        self._references = references
        self._history = history
        self._now = now
        self._versions: tuple[str, tuple[Reference, ...]] = ("", ())
        """Site whose windows are being read, and its references."""
        self._results: list[ScanResult] = []
        self._observations: list[Observation] = []
        self._written = 0

    def run(
        self,
        scenes: Sequence[SceneFile],
        targets: Sequence[SiteTarget],
        consumers: Sequence[WindowConsumer],
        force: bool = False,
    ) -> ScanSummary:
        """Scans what is not finished (everything with `force`) and says what was done."""
        started = time.monotonic()
        tasks, skipped = plan(scenes, targets, consumers, set() if force else self._store.finished(scenes))
        candidates: dict[str, list[SceneFile]] = {}
        for task in tasks:
            candidates.setdefault(task.target.site.site_id, []).append(task.scene)
        summary = ScanSummary(windows=skipped, skipped=skipped)
        try:
            for task, prepared in progress(self._ahead(tasks, candidates), "windows", len(tasks), "window"):
                summary += self._consume(task, prepared)
                if len(self._results) >= _WINDOWS_PER_COMMIT:
                    self._flush()
        finally:
            self._flush()
        return summary + ScanSummary(seconds=time.monotonic() - started, observations=self._written)

    def _ahead(
        self, tasks: Sequence[WindowTask], candidates: Mapping[str, Sequence[SceneFile]]
    ) -> Iterator[tuple[WindowTask, Prepared | Exception]]:
        """Prepares one window while the one before is worked on."""
        with ThreadPoolExecutor(1, "reader") as pool:
            waiting: tuple[WindowTask, Future[Prepared | Exception]] | None = None
            for task in tasks:
                future = pool.submit(self._try_prepare, task, candidates[task.target.site.site_id])
                if waiting is not None:
                    yield waiting[0], waiting[1].result()
                waiting = (task, future)
            if waiting is not None:
                yield waiting[0], waiting[1].result()

    def _try_prepare(self, task: WindowTask, candidates: Sequence[SceneFile]) -> Prepared | Exception:
        try:
            return self._prepare(task, candidates)
        except WindowDamagedError as error:  # the same bytes will not become better: not tried again
            log.warning("%s", error)
            return Prepared(Reason.DAMAGED.value, {}, ReadCost(), {"detail": str(error)})
        except Exception as error:  # one window must not stop the others; the row says what happened
            return error

    def _prepare(self, task: WindowTask, candidates: Sequence[SceneFile]) -> Prepared:
        reference = self._reference(task.target, candidates, task.scene.record.acquired_at)
        overview, cost = overview_of(task.scene, task.target)
        hidden, verdict = _judged(overview, task.scene, reference)
        figures: dict[str, object] = dict(verdict.figures.as_dict())
        if not verdict.accepted:
            return Prepared(verdict.reason, {}, cost, figures)
        alignment = Alignment(True, NO_SHIFT, 1.0)
        if reference is not None:
            alignment, reference, replaced = self._aligned(task, overview, ~hidden, reference)
            figures |= _registration_figures(alignment, reference)
            if replaced:
                figures["reference_replaced"] = True
                verdict = replace(verdict, doubtful=True)
        if not alignment.aligned:
            return Prepared("not_aligned", {}, cost, figures)
        on_grids: dict[float, Pixels] = {}
        for gsd_m in sorted({consumer.gsd_m for consumer in task.consumers}):
            pixels = read_pixels(task.scene.facts, task.target.grid(gsd_m), alignment.shift)
            cost += pixels.cost
            if hidden.any():
                unseen = moved_mask(hidden, overview.grid, pixels.grid, alignment.shift)
                pixels = replace(pixels, valid=pixels.valid & ~unseen)
            on_grids[gsd_m] = pixels
        windows = {gsd_m: self._window(task, gsd_m, on_grids, verdict, figures) for gsd_m in on_grids}
        return Prepared("", windows, cost, figures)

    def _aligned(
        self, task: WindowTask, overview: Overview, usable: NDArray[np.bool_], reference: Reference
    ) -> tuple[Alignment, Reference, bool]:
        """The alignment, what it is with, and whether this window completed a new reference."""
        alignment = align(overview.luminance, reference.luminance, overview.grid, usable)
        if alignment.aligned:
            self._references.settled(task.target, task.scene)
            return alignment, reference, False
        rebuilt = self._references.stray(task.target, task.scene)
        if rebuilt is None:
            return alignment, reference, False
        log.warning("%s: its reference is replaced from %s on", task.target.site.site_id, rebuilt.version)
        self._versions = (task.target.site.site_id, self._references.versions(task.target))
        return align(overview.luminance, rebuilt.luminance, overview.grid, usable), rebuilt, True

    def _window(
        self, task: WindowTask, gsd_m: float, on_grids: Mapping[float, Pixels], verdict: Verdict,
        figures: Mapping[str, object],
    ) -> SiteWindow:
        known_at = task.scene.available_at if self._history else self._now()
        told = verdict.figures
        hidden = 1 - (1 - told.nodata_share) * (1 - told.cloud_share) * (1 - told.shadow_share)
        quality = Quality.DOUBTFUL if verdict.doubtful else Quality.GOOD
        return SiteWindow(task.scene, task.target, on_grids[gsd_m], hidden, quality, known_at, figures, on_grids)

    def _reference(self, target: SiteTarget, candidates: Sequence[SceneFile], at: datetime) -> Reference | None:
        if self._versions[0] != target.site.site_id:
            versions = self._references.versions(target)
            if reference_at(versions, at) is None:
                first = build_reference(target, candidates)
                if first is not None:
                    self._references.put(target, first)
                    versions = (first, *versions)
            self._versions = (target.site.site_id, versions)
        return reference_at(self._versions[1], at)

    def _consume(self, task: WindowTask, prepared: Prepared | Exception) -> ScanSummary:
        if isinstance(prepared, Exception):
            for consumer in task.consumers:
                self._note(task, consumer, "failed", said(prepared), {})
            return ScanSummary(windows=len(task.consumers), failed=len(task.consumers))
        summary = ScanSummary(cost=prepared.cost)
        for consumer in task.consumers:
            if prepared.reason:
                self._note(task, consumer, "rejected", prepared.reason, prepared.figures)
                summary += ScanSummary(windows=1, rejected={prepared.reason: 1})
                continue
            try:
                reading = consumer.consume(prepared.windows[consumer.gsd_m])
            except Exception as error:  # as in _try_prepare
                log.warning("%s", said(error))
                self._note(task, consumer, "failed", said(error), prepared.figures)
                summary += ScanSummary(windows=1, failed=1)
                continue
            self._observations += reading.observations
            self._note(task, consumer, "done", "", {**prepared.figures, **reading.figures})
            summary += ScanSummary(windows=1, done=1)
        return summary

    def _note(
        self, task: WindowTask, consumer: WindowConsumer, status: str, reason: str, figures: Mapping[str, object]
    ) -> None:
        self._results.append(ScanResult(*_key(task.scene, task.target, consumer), status, reason, figures))

    def _flush(self) -> None:
        if self._results:
            results, observations = self._results, self._observations
            self._results, self._observations = [], []
            self._written += self._store.save(results, observations)


def said(error: Exception) -> str:
    """An error as a reason: its kind and words, on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _judged(overview: Overview, scene: SceneFile, reference: Reference | None) -> tuple[NDArray[np.bool_], Verdict]:
    """What cloud and its shadow hide, and the verdict."""
    told = None if reference is None else reference.luminance
    covered = clouds(overview, told)
    shaded = None if told is None else cloud_shadows(overview, told, covered)
    verdict = assess(overview, covered, reference=told, shaded=shaded, acquisition=scene.acquisition)
    return (covered if shaded is None else covered | shaded), verdict


def _registration_figures(alignment: Alignment, reference: Reference) -> dict[str, object]:
    shift = alignment.shift
    return {
        "shift_east_m": round(shift.east_m, 2), "shift_north_m": round(shift.north_m, 2),
        "turn_deg": round(shift.turn_deg, 3), "scale": round(shift.scale, 5), "agreement": round(alignment.agreement, 3),
        "matched_share": round(alignment.matched_share, 3), "reference": reference.version,
        "reference_scenes": len(reference.scene_ids),
    }
