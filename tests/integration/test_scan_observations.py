"""`collateral scan` on rendered scenes with the shipped weights and a real database.

The sites are cut down to their yard, so that a window is a few tenths of a megapixel.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import orjson
import psycopg2
import pytest
import rasterio
import torch
from psycopg2.extensions import connection as Connection  # noqa: N812
from shapely.geometry import box, shape
from shapely.ops import unary_union

from collateral.cli import main
from collateral.db import reference
from collateral.db.observations import observation_revisions
from collateral.db.pool import Pool, Role, fetch_dicts
from collateral.db.scenes import scenes_of_site
from collateral.domain import Borrower, Observation, Portfolio, Quality, Site, SiteKind, Slot, Source, SubjectKind
from collateral.errors import UsageError
from collateral.settings import Settings
from data_samples.layout import make_layout, to_lonlat
from data_samples.render import render_scene
from data_samples.scene_model import ArrayState, SceneState, SiteLayout
from detection.scan_command import run_scan
from detection.weightfile import default_path, read_card, read_weights, write_weights
from imagery.scan_summary import ScanSummary
from tests.bad_rasters import BAD, spoil_block

TAKEN = datetime(2026, 4, 10, 2, 30, tzinfo=UTC)
WAREHOUSE = make_layout("W1", "warehouse", 121.2, 31.1, 7)
SOLAR = make_layout("S1", "solar", 119.9, 31.9, 7)
POLYGONS = {
    "W1": unary_union([slot.polygon for slot in WAREHOUSE.slots]).convex_hull.buffer(5, join_style="mitre"),
    "S1": SOLAR.arrays[0].polygon.convex_hull.buffer(12, join_style="mitre"),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scene of each site, and another of the warehouse with all bays empty and no vehicle."""
    folder = tmp_path_factory.mktemp("world") / "scenes"
    bays = [slot.slot_id for slot in WAREHOUSE.slots_of("yard_bay")]
    full = SceneState(TAKEN, gsd_m=0.3, cars=12, heavy=4, occupied=dict.fromkeys(bays, "container"), seed=5)
    panels = {array.array_id: ArrayState() for array in SOLAR.arrays}
    render_scene([WAREHOUSE], [full], folder / "w1.tif")
    render_scene([SOLAR], [replace(full, arrays=panels, occupied={})], folder / "s1.tif")
    render_scene([WAREHOUSE], [replace(full, cars=0, heavy=0, occupied={})], folder.parent / "swapped" / "w1.tif")
    return folder


def site_of(layout: SiteLayout, kind: SiteKind) -> Site:
    return Site(layout.site_id, "B1", "场地", "Place", kind, "Asia/Shanghai", layout.utm_epsg,
                to_lonlat(POLYGONS[layout.site_id], layout.utm_epsg), False, 900.0, 5000.0, 20)


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models derived from the weights, made once for all tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def pool(settings: Settings, derived: Path) -> Iterator[Pool]:
    settings.runtime.mkdir(parents=True, exist_ok=True)
    (settings.runtime / "models").symlink_to(derived)
    slots = tuple(
        Slot(slot.slot_id, "W1", slot.slot_id, "yard_bay", "", 20.0, to_lonlat(slot.polygon, WAREHOUSE.utm_epsg))
        for slot in WAREHOUSE.slots_of("yard_bay")
    )
    given = Portfolio(
        borrowers=(Borrower("B1", "甲", "A", "", "logistics"),),
        sites=(site_of(WAREHOUSE, SiteKind.WAREHOUSE), site_of(SOLAR, SiteKind.SOLAR)), slots=slots,
    )
    with Pool(settings.require_database(), Role.APP) as pool:
        with pool.connection() as connection:
            reference.write_portfolio(connection, given, datetime(2026, 1, 1, tzinfo=UTC), "test")
        yield pool


@pytest.fixture
def zeroed(tmp_path: Path) -> Path:
    """The three networks with every weight 0, each with a card that says so."""
    folder = tmp_path / "zeroed"
    folder.mkdir()
    for name in ("vehicles", "slots", "panels"):
        state, card = read_weights(default_path(name), name)
        empty = {key: torch.zeros_like(value) for key, value in state.items()}
        write_weights(folder / f"{name}.safetensors", empty, card)
    return folder


def newest(connection: Connection) -> list[Observation]:
    """The newest statement about each subject and quantity."""
    rows = sorted(observation_revisions(connection), key=lambda o: (o.valid_from, o.known_at, o.revision or 0))
    return list({(o.subject_kind, o.subject_id, o.quantity, o.source): o for o in rows}.values())


def values(pool: Pool) -> dict[tuple[str, str], float]:
    with pool.connection() as connection:
        return {(o.subject_id, o.quantity): o.value for o in newest(connection)}


def test_a_scan_leaves_observations_evidence_and_results(settings: Settings, pool: Pool, scenes: Path) -> None:
    summary = run_scan(str(scenes), settings, pool, history=True)
    assert (summary.done, summary.failed, summary.rejected, summary.scenes) == (5, 0, {}, 2)
    with pool.connection() as connection:
        found = newest(connection)
        (warehouse,) = scenes_of_site(connection, "W1")
        models = fetch_dicts(connection, "SELECT name, sha256, card ->> 'sha256' AS on_card FROM model")
    assert {row["name"] for row in models} == {"vehicles", "slots", "panels", "stock"}
    assert all(row["sha256"] == row["on_card"] for row in models)
    by_quantity: dict[str, list[Observation]] = {}
    for observation in found:
        by_quantity.setdefault(observation.quantity, []).append(observation)
        _check(observation, settings)
    bays = len(WAREHOUSE.slots_of("yard_bay"))
    assert {key: len(rows) for key, rows in by_quantity.items()} == {
        "vehicle_count": 1, "heavy_vehicle_count": 1, "slot_occupancy": 1, "slot_occupied": bays, "panel_area_m2": 1,
    }
    assert by_quantity["slot_occupancy"][0].evidence["denominator"] == bays
    assert warehouse.usable and warehouse.scene.acquired_at == TAKEN
    assert summary.observations == len(found)


def _check(observation: Observation, settings: Settings) -> None:
    assert observation.source is Source.IMAGERY and observation.quality is not Quality.BAD
    assert observation.valid_from == TAKEN and observation.valid_to == TAKEN + timedelta(seconds=1)
    name = {"S1": "panels"}.get(observation.site_id, "slots" if "slot" in observation.quantity else "vehicles")
    assert observation.method == f"{name}@{read_card(default_path(name)).sha256[:12]}"
    assert observation.known_at == TAKEN
    assert observation.subject_kind is (SubjectKind.SLOT if observation.quantity == "slot_occupied" else SubjectKind.SITE)
    picture = cv2.imread(str(settings.evidence / str(observation.evidence["png"])))
    assert picture is not None and picture.shape[0] > 100
    told = json.loads((settings.evidence / str(observation.evidence["geojson"])).read_text())
    layout = WAREHOUSE if observation.site_id == "W1" else SOLAR
    site = to_lonlat(POLYGONS[observation.site_id], layout.utm_epsg)
    assert site.within(box(*told["bbox"]))
    for feature in told["features"]:
        assert shape(feature["geometry"]).centroid.within(site) and 0 <= feature["properties"]["confidence"] <= 1


def test_the_same_scan_writes_nothing_and_force_agrees_with_itself(settings: Settings, pool: Pool, scenes: Path) -> None:
    run_scan(str(scenes / "w1.tif"), settings, pool)
    with pool.connection() as connection:
        before = observation_revisions(connection)
    again = run_scan(str(scenes / "w1.tif"), settings, pool)
    assert (again.done, again.skipped, again.observations) == (0, 3, 0)
    forced = run_scan(str(scenes / "w1.tif"), settings, pool, force=True)
    assert (forced.done, forced.observations) == (3, 0)
    with pool.connection() as connection:
        assert observation_revisions(connection) == before


def test_swapping_the_scene_changes_the_observations(settings: Settings, pool: Pool, scenes: Path) -> None:
    run_scan(str(scenes / "w1.tif"), settings, pool)
    first = values(pool)
    run_scan(str(scenes.parent / "swapped" / "w1.tif"), settings, pool)
    second = values(pool)
    assert second[("W1", "vehicle_count")] < first[("W1", "vehicle_count")]
    assert second[("W1", "slot_occupancy")] < first[("W1", "slot_occupancy")]
    with pool.connection() as connection:
        counts = [o.revision for o in observation_revisions(connection, quantities=["vehicle_count"])]
    assert counts == [1, 2], "the same instant seen otherwise is the next revision, the first stays"


def test_zeroed_weights_change_the_observations(settings: Settings, pool: Pool, scenes: Path, zeroed: Path) -> None:
    run_scan(str(scenes), settings, pool)
    shipped = values(pool)
    summary: ScanSummary = run_scan(str(scenes), settings, pool, weights=zeroed)
    assert summary.done == 5, "other weights make the work due"
    with pool.connection() as connection:
        methods = {card.sha256[:12] for card in (read_card(path) for path in zeroed.glob("*.safetensors"))}
        rows = [o for o in observation_revisions(connection) if o.method.split("@")[1] in methods]
    empty = {(o.subject_id, o.quantity): o.value for o in rows}
    for key in (("W1", "vehicle_count"), ("W1", "slot_occupancy"), ("S1", "panel_area_m2")):
        assert empty.get(key) != pytest.approx(shipped[key], rel=1e-3)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_the_command_reports_and_a_bad_file_is_a_row(
    settings: Settings,
    pool: Pool,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "s1.tif").write_bytes((scenes / "s1.tif").read_bytes())
    for name, (_, make) in BAD.items():
        make(folder / f"{name}.tif")
    hole = folder / "yard_with_a_hole.tif"  # sound where the inspection looks, in its overviews
    hole.write_bytes((scenes / "w1.tif").read_bytes())
    with rasterio.open(hole) as dataset:
        assert dataset.overviews(1)
        height, width = (edge // block // 2 for edge, block in zip(dataset.shape, dataset.block_shapes[0], strict=True))
    spoil_block(hole, width, height)
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", settings.require_database())
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(settings.runtime))
    assert main(["scan", str(folder), "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    reasons = Counter(reason.value for reason, _ in BAD.values())
    windows = told["rejected"]["damaged"] - reasons["damaged"]
    assert (told["done"], told["failed"]) == (2, 0) and windows > 0
    assert told["rejected"] == {**reasons, "damaged": reasons["damaged"] + windows}
    assert told["windows"] == 2 + len(BAD) + windows
    assert told["bytes_read"] >= told["bytes_needed"] > 0 and told["requests"] > 0 and told["megapixels"] > 0
    with closing(psycopg2.connect(settings.require_database())) as connection:
        rows = fetch_dicts(connection, "SELECT path, reason, detail FROM scene_rejection ORDER BY reason")
        unread = fetch_dicts(connection, "SELECT status, figures FROM scan_result WHERE reason = 'damaged'")
    assert {Path(row["path"]).stem: row["reason"] for row in rows} == {name: reason for name, (reason, _) in BAD.items()}
    assert all(len(row["detail"]) > 20 for row in rows)
    assert {row["status"] for row in unread} == {"rejected"}
    assert "yard_with_a_hole.tif" in unread[0]["figures"]["detail"]
    with pytest.raises(UsageError, match="NOPE"):
        run_scan(str(folder), settings, pool, site_ids=("NOPE",))
