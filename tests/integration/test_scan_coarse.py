"""`collateral scan` of a satellite's scene of 10 m with a real database: verdicts per site, never silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from shapely.geometry import Polygon, box

from collateral.cli import main
from collateral.db import reference
from collateral.db.pool import Pool, Role, fetch_dicts
from collateral.db.scenes import SiteScene, scenes_of_site
from collateral.domain import Borrower, Portfolio, Site, SiteKind
from collateral.settings import Settings
from dashboard.pictures import sight
from data_samples.spectral_scene import GSD_M, SpectralScene, Weather, paint_scene, write_scene
from detection.scan_command import run_scan
from imagery import coarse, sentinel2
from imagery.spectral import NEEDED
from imagery.target import to_lonlat
from tests.bad_rasters import write_tif

EPSG, WEST, NORTH, EDGE = 32651, 350_000.0, 3_450_000.0, 600
TAKEN = datetime(2026, 5, 4, 2, 50, tzinfo=UTC)
CLEAR, CLOUDY = "CLEAR", "CLOUDY"
with_extra = pytest.mark.skipif(
    sentinel2.model_for(NEEDED, "l2a") is None, reason="the extra sentinel2 is not installed"
)


def patch(column: int, row: int) -> Polygon:
    """A site of 400 m whose middle lies at that pixel of the scene."""
    east, north = WEST + column * GSD_M, NORTH - row * GSD_M
    return box(east - 200, north - 200, east + 200, north + 200)


def half_cloudy() -> SpectralScene:
    """Clouds over the western part, none over the eastern."""
    clear, clouds = paint_scene(EDGE, Weather(), 5), paint_scene(EDGE, Weather(cover=1.0, depth=20, size_m=3000), 5)
    share = np.clip((260 - np.arange(EDGE, dtype=np.float32)) / 60, 0, 1)[None].astype(np.float32)
    bands = {name: np.float32(1 - share) * clear.bands[name] + clouds.bands[name] * share for name in clear.bands}
    return SpectralScene(bands, clouds.depth * share, clouds.shade * share)


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inbox")
    write_scene(folder / "s2.tif", half_cloudy(), EPSG, WEST, NORTH, TAKEN, PROCESSING_BASELINE="03.01", PRODUCT_LEVEL="L2A")
    return folder


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    settings.runtime.mkdir(parents=True, exist_ok=True)
    sites = tuple(
        Site(name, "B1", "场地", "Place", SiteKind.FACTORY, "Asia/Shanghai", EPSG, to_lonlat(where, EPSG), False, 900.0,
             5000.0, 20)
        for name, where in ((CLEAR, patch(440, 300)), (CLOUDY, patch(110, 300)))
    )  # fmt: skip
    with Pool(settings.require_database(), Role.APP) as pool:
        with pool.connection() as connection:
            given = Portfolio(borrowers=(Borrower("B1", "甲", "A", "", "logistics"),), sites=sites)
            reference.write_portfolio(connection, given, datetime(2026, 1, 1, tzinfo=UTC), "test")
        yield pool


def rows(pool: Pool) -> dict[str, SimpleNamespace]:
    with pool.connection() as connection:
        found = fetch_dicts(connection, "SELECT * FROM scan_result ORDER BY scanned_at")
    return {row["site_id"]: SimpleNamespace(**row) for row in found}


def seen(pool: Pool, site_id: str) -> list[SiteScene]:
    with pool.connection() as connection:
        return scenes_of_site(connection, site_id)


@with_extra
def test_numbers_that_are_no_reflectances_are_refused(settings: Settings, pool: Pool, inbox: Path, tmp_path: Path) -> None:
    with rasterio.open(inbox / "s2.tif") as dataset:
        profile, pixels, names, tags = dataset.profile, dataset.read(), dataset.descriptions, dataset.tags()
    with rasterio.open(tmp_path / "float.tif", "w", **{**profile, "dtype": "float32"}) as dataset:
        dataset.write(pixels.astype(np.float32))
        dataset.descriptions = names
        dataset.update_tags(**{key: value for key, value in tags.items() if key == "ACQUIRED_AT"})
    assert run_scan(str(tmp_path), settings, pool).rejected == {"no_reflectance": 2}
    assert "10,000" in rows(pool)[CLEAR].figures["detail"]


@with_extra
def test_a_scene_too_narrow_for_the_model_does_not_ask_for_its_installation(
    settings: Settings, pool: Pool, tmp_path: Path
) -> None:
    scene = paint_scene(EDGE, Weather(), 5)
    where = slice(300 - 47, 300 + 47), slice(440 - 23, 440 + 23)
    cut = SpectralScene({name: band[where] for name, band in scene.bands.items()}, scene.depth[where], scene.shade[where])
    west, north = WEST + where[1].start * GSD_M, NORTH - where[0].start * GSD_M
    write_scene(tmp_path / "narrow.tif", cut, EPSG, west, north, TAKEN, PROCESSING_BASELINE="03.01")
    assert run_scan(str(tmp_path), settings, pool).rejected == {"nodata": 1}
    figures = rows(pool)[CLEAR].figures
    assert figures["nodata_share"] < 0.1 and "480 m" in figures["detail"]


@with_extra
def test_each_site_gets_its_verdict_and_none_a_usable_picture(settings: Settings, pool: Pool, inbox: Path) -> None:
    summary = run_scan(str(inbox), settings, pool)
    assert (summary.windows, summary.done, summary.failed, summary.observations) == (2, 0, 0, 0)
    assert summary.rejected == {"cloud": 1, "too_coarse": 1}
    found = rows(pool)
    cloudy, clear = found[CLOUDY], found[CLEAR]
    assert (cloudy.detector, cloudy.status, cloudy.reason) == ("clouds", "rejected", "cloud")
    assert cloudy.figures["cloud_share"] > 0.9 and cloudy.figures["method"].startswith("ukis-csmask 1.0")
    assert (clear.status, clear.reason) == ("rejected", "too_coarse")
    assert clear.figures["cloud_share"] == 0 and clear.figures["haze"] < coarse.HAZE_LIMIT
    assert "10 m" in clear.figures["detail"] and clear.figures["level"] == "l2a"
    with pool.connection() as connection:
        (model,) = fetch_dicts(connection, "SELECT name, sha256, card FROM model")
    assert model["sha256"] == clear.model_sha256 == cloudy.model_sha256 and model["card"]["licence"] == "Apache-2.0"
    for site in (CLEAR, CLOUDY):
        assert [one.usable for one in seen(pool, site)] == [False]
    told = sight(seen(pool, CLOUDY), TAKEN + timedelta(days=9))
    assert told.newest is None and dict(told.refused) == {"cloud": 1}
    again = run_scan(str(inbox), settings, pool)
    assert (again.windows, again.skipped) == (2, 2)


def test_without_the_extra_the_row_says_what_to_install(
    settings: Settings, pool: Pool, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr(sentinel2, "find_spec", lambda name: None)
        summary = run_scan(str(inbox), settings, pool)
        assert summary.rejected == {"no_cloud_model": 2} and summary.failed == 0
        first = rows(pool)[CLEAR]
        assert first.figures["nodata_share"] == 0 and "[sentinel2]" in first.figures["detail"]
        assert run_scan(str(inbox), settings, pool).skipped == 2
    if sentinel2.model_for(NEEDED, "l2a") is not None:  # installed since: the verdict is made, and it speaks
        assert run_scan(str(inbox), settings, pool, site_ids=(CLOUDY,)).rejected == {"cloud": 1}
        assert dict(sight(seen(pool, CLOUDY), TAKEN).refused) == {"cloud": 1}


def test_bad_and_coarse_colour_files_are_refused_and_the_command_ends_well(
    settings: Settings, pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLATERAL_DATABASE_URL", settings.require_database())
    monkeypatch.setenv("COLLATERAL_RUNTIME", str(settings.runtime))
    write_tif(tmp_path / "colour.tif", transform=Affine(29.9, 0, WEST, 0, -29.9, NORTH))
    nameless = np.full((6, 64, 64), 900, np.uint16)
    write_tif(tmp_path / "nameless.tif", nameless, transform=Affine(10, 0, WEST, 0, -10, NORTH))
    assert main(["scan", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["rejected"] == {"too_coarse": 2, "wrong_bands": 1} and told["failed"] == 0
    assert {row.model_sha256 for row in rows(pool).values()} == {""}
    with pool.connection() as connection:
        (refused,) = fetch_dicts(connection, "SELECT detail FROM scene_rejection")
    assert "BANDS=B02" in refused["detail"]
