"""Planning, resuming, isolation of failures, summaries: with a store in memory and detectors of a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

from collateral.db.scenes import ScanResult
from collateral.domain import Observation, Quality, Site, SiteKind
from data_samples.layout import make_layout, to_lonlat
from data_samples.render import render_scene
from data_samples.scene_model import MapShift, SceneState, SiteLayout
from imagery.raster import RasterRejectedError
from imagery.reader import ReadCost
from imagery.reference import ReferenceStore, build_reference
from imagery.scan import Scanner, SiteWindow, WindowReading, WorkKey, open_scenes, plan
from imagery.scan_summary import ScanSummary
from imagery.scenes import SceneFile, open_scene
from imagery.target import SiteTarget, site_targets

START = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)
SHIFTS = (MapShift(1.5, -2.0), MapShift(-1.2, 0.9), MapShift(0.4, 1.1), MapShift(0.0, 0.0), MapShift(-0.6, -0.3))


@dataclass
class Memory:
    """A `ScanStore` that keeps everything."""

    results: dict[WorkKey, ScanResult] = field(default_factory=dict)
    observations: list[Observation] = field(default_factory=list)
    rejections: list[RasterRejectedError] = field(default_factory=list)
    scenes: set[str] = field(default_factory=set)

    def register(self, scenes: Sequence[SceneFile]) -> None:
        self.scenes |= {scene.record.scene_id for scene in scenes}

    def reject(self, error: RasterRejectedError) -> None:
        self.rejections.append(error)

    def finished(self, scenes: Sequence[SceneFile]) -> set[WorkKey]:
        return {key for key, result in self.results.items() if result.status != "failed"}

    def save(self, results: Sequence[ScanResult], observations: Sequence[Observation]) -> int:
        self.results |= {result.key: result for result in results}
        self.observations += observations
        return len(observations)


@dataclass
class Brightness:
    """A detector that looks at the mean only."""

    name: str = "brightness"
    model_sha256: str = "a" * 64
    gsd_m: float = 0.5
    breaks_on: str = ""
    seen: list[SiteWindow] = field(default_factory=list)

    def wants(self, target: SiteTarget) -> bool:
        return target.site.kind is SiteKind.FACTORY

    def consume(self, window: SiteWindow) -> WindowReading:
        if window.scene.record.scene_id == self.breaks_on:
            raise ZeroDivisionError("made to break")
        self.seen.append(window)
        return WindowReading((), {"mean": float(window.pixels.rgb.mean())})


def site_of(layout: SiteLayout, kind: SiteKind = SiteKind.FACTORY) -> Site:
    return Site(layout.site_id, "B1", "厂", "Plant", kind, "Asia/Shanghai", layout.utm_epsg,
                to_lonlat(layout.boundary, layout.utm_epsg), False, None, None, None)


@pytest.fixture(scope="module")
def layout() -> SiteLayout:
    return make_layout("F1", "factory", 120.6, 31.3, 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, layout: SiteLayout) -> Path:
    """Five scenes with known displacements, the last one under cloud."""
    path = tmp_path_factory.mktemp("scenes")
    for number, shift in enumerate(SHIFTS):
        cloud = 0.7 if number == 4 else 0.0
        state = SceneState(START + timedelta(days=number), gsd_m=0.5, cars=6, shift=shift, seed=number, cloud_cover=cloud)
        render_scene([layout], [state], path / f"s{number}.tif")
    return path


@pytest.fixture
def targets(layout: SiteLayout) -> list[SiteTarget]:
    elsewhere = make_layout("F9", "factory", 118.0, 30.0, 2)
    return site_targets([site_of(layout), site_of(elsewhere)], [])


def scanned(folder: Path, targets: list[SiteTarget], store: Memory, detector: Brightness, home: Path, force: bool = False,
            history: bool = False) -> ScanSummary:
    scenes, summary = open_scenes(sorted(folder.glob("*.tif")), store)
    scanner = Scanner(store, ReferenceStore(home), history)
    return summary + scanner.run(scenes, targets, [detector], force)


def test_scan_resumes_and_force_does_it_again(folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    store, detector = Memory(), Brightness()
    first = scanned(folder, targets, store, detector, tmp_path)
    assert (first.windows, first.done, first.rejected, first.failed) == (5, 4, {"cloud": 1}, 0)
    assert first.cost.bytes_read > 0 and first.cost.megapixels > 0 and first.seconds > 0
    again = scanned(folder, targets, store, detector, tmp_path)
    assert (again.windows, again.done, again.skipped) == (5, 0, 5) and len(detector.seen) == 4
    assert scanned(folder, targets, store, detector, tmp_path, force=True).done == 4
    other = Brightness(model_sha256="b" * 64)
    assert scanned(folder, targets, store, other, tmp_path).done == 4, "other weights make the work due again"


def test_a_failing_window_leaves_a_row_and_is_tried_again(folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    store = Memory()
    bad = open_scene(folder / "s1.tif").record.scene_id
    summary = scanned(folder, targets, store, Brightness(breaks_on=bad), tmp_path)
    assert (summary.done, summary.failed) == (3, 1)
    failed = [result for result in store.results.values() if result.status == "failed"]
    assert [(r.scene_id, r.reason) for r in failed] == [(bad, "ZeroDivisionError: made to break")]
    assert scanned(folder, targets, store, Brightness(), tmp_path).done == 1


def test_files_that_are_no_scenes_do_not_stop_the_scan(folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "good.tif").write_bytes((folder / "s0.tif").read_bytes())
    (tmp_path / "scenes" / "cut.tif").write_bytes((folder / "s1.tif").read_bytes()[:9000])
    (tmp_path / "scenes" / "zero.tif").touch()
    (tmp_path / "scenes" / "when.tif").write_bytes((folder / "s2.tif").read_bytes())
    with rasterio.open(tmp_path / "scenes" / "when.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dataset:
        dataset.update_tags(ACQUIRED_AT="0001-01-01T00:00:00+14:00")  # before the first moment of UTC
    store = Memory()
    summary = scanned(tmp_path / "scenes", targets, store, Brightness(), tmp_path)
    assert (summary.done, summary.scenes, summary.rejected) == (
        1, 1, {"truncated": 1, "empty_file": 1, "no_time": 1},
    )  # fmt: skip
    assert summary.windows == 4
    assert {error.path.name for error in store.rejections} == {"cut.tif", "zero.tif", "when.tif"}


def test_displacements_are_put_right_in_the_window(folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    """Read windows of one site lie on each other, whatever their files say."""
    store, detector = Memory(), Brightness()
    scanned(folder, targets, store, detector, tmp_path)
    middle = np.median([(shift.east_m, shift.north_m) for shift in SHIFTS[:4]], axis=0)
    for window in detector.seen:
        shift = SHIFTS[(window.scene.record.acquired_at - START).days]
        east, north = (float(str(window.figures[key])) for key in ("shift_east_m", "shift_north_m"))
        assert east == pytest.approx(shift.east_m - middle[0], abs=0.25)
        assert north == pytest.approx(shift.north_m - middle[1], abs=0.35)
    assert len({window.pixels.grid for window in detector.seen}) == 1


def test_known_at_is_now_or_the_time_of_availability(folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    live, past = Brightness(), Brightness()
    scanned(folder, targets, Memory(), live, tmp_path)
    scanned(folder, targets, Memory(), past, tmp_path, history=True)
    assert all(abs(window.known_at - datetime.now(UTC)) < timedelta(minutes=5) for window in live.seen)
    assert [w.known_at for w in past.seen] == [w.scene.available_at for w in past.seen]


def test_plan_takes_only_sites_in_the_scene_and_work_not_done(folder: Path, targets: list[SiteTarget]) -> None:
    scene, detector = open_scene(folder / "s0.tif"), Brightness()
    tasks, skipped = plan([scene], targets, [detector], set())
    assert [task.target.site.site_id for task in tasks] == ["F1"] and skipped == 0
    key = (scene.record.scene_id, "F1", detector.name, detector.model_sha256)
    assert plan([scene], targets, [detector], {key}) == ([], 1)
    assert plan([], [], [detector], set()) == ([], 0)


def test_a_reference_is_kept_until_the_site_changes(folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    scenes = [open_scene(path) for path in sorted(folder.glob("*.tif"))]
    reference = build_reference(targets[0], scenes)
    assert reference is not None and len(reference.scene_ids) == 4, "the cloudy scene is no reference"
    store = ReferenceStore(tmp_path / "reference")
    store.put(targets[0], reference)
    kept = store.get(targets[0])
    assert kept is not None and np.array_equal(kept.luminance, reference.luminance) and kept.grid == reference.grid
    changed = SiteTarget(targets[0].site, targets[0].polygon.buffer(9), (), {})
    assert store.get(changed) is None
    (tmp_path / "reference" / "F1.png").write_bytes(b"damaged")
    assert store.get(targets[0]) is None


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Path:
    """Three scenes of the old site, then, at the same place, four of another one that was built there."""
    path = tmp_path_factory.mktemp("rebuilt")
    other = replace(make_layout("F1", "warehouse", 120.6, 31.3, 77), site_id="F1")
    for number in range(3):
        (path / f"s{number}.tif").write_bytes((folder / f"s{number}.tif").read_bytes())
    for number in range(10, 14):
        state = SceneState(START + timedelta(days=number), gsd_m=0.5, cars=4, seed=number)
        render_scene([other], [state], path / f"s{number}.tif", margin_m=60.0)
    return path


def test_a_rebuilt_site_gets_a_new_reference_and_keeps_the_old_one(
    rebuilt: Path, targets: list[SiteTarget], tmp_path: Path
) -> None:
    store, detector = Memory(), Brightness()
    for path in sorted(rebuilt.glob("*.tif"), key=lambda file: int(file.stem[1:])):  # one scan a day: the count outlives it
        scenes, _ = open_scenes([path], store)
        Scanner(store, ReferenceStore(tmp_path)).run(scenes, targets, [detector])
    rows = sorted(store.results.values(), key=lambda row: _day(row.scene_id, rebuilt))
    assert [row.reason for row in rows] == ["", "", "", "not_aligned", "not_aligned", "", ""]
    assert rows[5].figures["reference_replaced"] and rows[5].figures["reference"] == rows[6].figures["reference"] != "first"
    assert [window.quality for window in detector.seen[3:]] == [Quality.DOUBTFUL, Quality.GOOD]
    kept = ReferenceStore(tmp_path).versions(targets[0])
    assert [reference.version for reference in kept] == ["first", "20260422T023000Z"]
    assert set(kept[1].scene_ids) == {row.scene_id for row in rows[3:6]}
    again = Memory()
    scanned(rebuilt, targets, again, Brightness(), tmp_path, force=True)
    reasons = {_day(row.scene_id, rebuilt): row.reason for row in again.results.values()}
    assert [reasons[day] for day in sorted(reasons)] == [row.reason for row in rows], "older scenes keep the older reference"


def _day(scene_id: str, folder: Path) -> datetime:
    records = (open_scene(path).record for path in folder.glob("*.tif"))
    return next(record.acquired_at for record in records if record.scene_id == scene_id)


def test_single_strangers_replace_nothing(rebuilt: Path, folder: Path, targets: list[SiteTarget], tmp_path: Path) -> None:
    store = ReferenceStore(tmp_path)
    first = build_reference(targets[0], [open_scene(folder / "s0.tif")])
    assert first is not None
    store.put(targets[0], first)
    strangers = [open_scene(rebuilt / f"s{number}.tif") for number in (10, 11, 12)]
    assert store.stray(targets[0], strangers[0]) is None and store.stray(targets[0], strangers[0]) is None
    assert store.stray(targets[0], strangers[1]) is None
    store.settled(targets[0], strangers[1])  # a picture of that day aligned after all
    assert store.stray(targets[0], strangers[2]) is None
    assert len(store.versions(targets[0])) == 1


summaries = st.builds(
    ScanSummary, windows=st.integers(0, 9), done=st.integers(0, 9), failed=st.integers(0, 9),
    rejected=st.dictionaries(st.sampled_from(["cloud", "haze"]), st.integers(1, 5)),
    cost=st.builds(ReadCost, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.just(0.5)),
)


@given(summaries, summaries, summaries)
def test_summaries_add_up_in_any_order(a: ScanSummary, b: ScanSummary, c: ScanSummary) -> None:
    assert ((a + b) + c).as_dict() == (c + (b + a)).as_dict()
    assert (a + ScanSummary()).as_dict() == a.as_dict()
    required = {"windows", "done", "skipped", "rejected", "failed", "seconds", "bytes_read", "bytes_needed", "requests",
                "megapixels"}
    assert required <= set(a.as_dict()) and str(a.done) in a.as_text()
