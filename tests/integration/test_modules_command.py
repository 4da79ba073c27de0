"""`collateral modules` on a drawn infrared orthomosaic with the shipped weights and a real database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from shapely.geometry import Polygon

from collateral.cli import main
from collateral.db import reference
from collateral.db.observations import observation_revisions
from collateral.db.pool import Pool, Role
from collateral.domain import Borrower, Portfolio, Site, SiteKind, Source
from collateral.errors import InvalidInputError, UsageError
from collateral.settings import Settings
from detection.module_command import scan_modules
from tests.infrared_support import DrawnPlant, draw_plant

TAKEN = datetime(2026, 5, 4, 3, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> DrawnPlant:
    return draw_plant(tmp_path_factory.mktemp("plant"), seed=5, rows=4, columns=10, fault_share=0.25)


@pytest.fixture
def pool(settings: Settings, plant: DrawnPlant) -> Iterator[Pool]:
    settings.runtime.mkdir(parents=True, exist_ok=True)
    place = Polygon(plant.footprint)
    away = Polygon([(x + 0.1, y) for x, y in plant.footprint])
    sites = tuple(
        Site(name, "B1", "电站", "Plant", SiteKind.SOLAR, "Asia/Shanghai", 32650, shape, False, 0.0, 70.0, 0)
        for name, shape in (("S1", place), ("S2", away))
    )
    with Pool(settings.require_database(), Role.APP) as pool:
        with pool.connection() as connection:
            portfolio = Portfolio(borrowers=(Borrower("B1", "甲", "A", "", "power"),), sites=sites)
            reference.write_portfolio(connection, portfolio, datetime(2026, 1, 1, tzinfo=UTC), "test")
        yield pool


def test_share_of_faulty_modules_is_observed_once_with_evidence_and_rows(
    pool: Pool, settings: Settings, plant: DrawnPlant, tmp_path: Path
) -> None:
    first = scan_modules(plant.mosaic, plant.outlines, "S1", settings, pool)
    again = scan_modules(plant.mosaic, plant.outlines, "S1", settings, pool)
    assert (first.written, again.written) == (1, 0)
    with pool.connection() as connection:
        (seen,) = observation_revisions(connection, ["S1"], ["faulty_module_share"])
    assert (seen.source, seen.valid_from) == (Source.IMAGERY, TAKEN)
    assert seen.evidence["denominator"] == plant.modules == 40
    assert seen.evidence["faulty"] == first.reading.faulty
    assert seen.lower <= seen.value <= seen.upper
    assert (settings.evidence / str(seen.evidence["png"])).stat().st_size > 1000
    features = json.loads((settings.evidence / str(seen.evidence["geojson"])).read_text())["features"]
    assert {f["properties"]["module_id"] for f in features} == {m.module_id for m in first.reading.modules}
    fault = {m.module_id: m.fault or 0.0 for m in first.reading.modules}
    hot = [p for name, p in fault.items() if name in plant.faults]
    sound = [p for name, p in fault.items() if name not in plant.faults]
    assert sum(hot) / len(hot) > sum(sound) / len(sound) + 0.4


def test_command_prints_rows_and_says_what_is_wrong(
    pool: Pool, settings: Settings, plant: DrawnPlant, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    content = json.loads(plant.outlines.read_text())
    shape = content["features"][0]["geometry"]["coordinates"]
    moved = [[[x + 0.0002, y + 0.0002] for x, y in ring] for ring in shape]
    content["features"].append({"type": "Feature", "id": "far", "geometry": {"type": "Polygon", "coordinates": moved}})
    outlines, out = tmp_path / "outlines.geojson", tmp_path / "modules.geojson"
    outlines.write_text(json.dumps(content))
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", settings.require_database())
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(settings.runtime))
    code = main(["modules", str(plant.mosaic), "--modules", str(outlines), "--site", "S1", "--out", str(out), "--json"])
    said = orjson.loads(capsys.readouterr().out)
    assert code == 0
    assert (said["modules"], said["judged"], said["unknown"]) == (41, 40, {"outside": 1})
    assert {row["module_id"]: row["class"] for row in said["rows"]}["far"] == "unknown"
    assert said["interval95"][0] <= said["faulty_module_share"] <= said["interval95"][1]
    assert len(json.loads(out.read_text())["features"]) == 41
    assert main(["modules", str(plant.mosaic), "--modules", str(outlines), "--site", "S9", "--json"]) == 2
    assert "S9" in orjson.loads(capsys.readouterr().out)["error"]
    with pytest.raises(InvalidInputError, match="lie on site 'S2'"):
        scan_modules(plant.mosaic, outlines, "S2", settings, pool)
    with pytest.raises(UsageError, match="no site"):
        scan_modules(plant.mosaic, outlines, "S3", settings, pool)


def test_turned_grid_and_counts_give_the_same_modules(pool: Pool, settings: Settings, tmp_path: Path) -> None:
    degrees = draw_plant(tmp_path / "a", seed=5, rows=4, columns=10, fault_share=0.25)
    counts = draw_plant(tmp_path / "b", seed=5, rows=4, columns=10, fault_share=0.25, dtype="uint16")
    assert degrees.faults == counts.faults
    one = scan_modules(degrees.mosaic, degrees.outlines, "S1", settings, pool)
    other = scan_modules(counts.mosaic, counts.outlines, "S1", settings, pool)
    same = [a.faulty == b.faulty for a, b in zip(one.reading.modules, other.reading.modules, strict=True)]
    assert sum(same) >= 38
    assert replace(one.reading, gain=1.0).unknown == other.reading.unknown == {}
