"""A portfolio folder: what goes out comes in again, and every kind of mistake is named with file, row and remedy."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.affinity import translate

from collateral.coordinates import CoordinateSystem, from_wgs84
from collateral.db.reference import TABLES
from collateral.domain import Portfolio
from collateral.errors import UsageError
from collateral.portfolio.folder import read_folder, write_folder
from collateral.portfolio.problems import Problem, Severity, as_text, errors
from collateral.portfolio.schema import FILES, schema_text
from tests.portfolio_support import rectangle, small_portfolio

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(small_portfolio(), tmp_path)
    return tmp_path


def ordered(given: Portfolio) -> Portfolio:
    return Portfolio(
        **{
            table.part: tuple(sorted(getattr(given, table.part), key=lambda row: [getattr(row, k) for k in table.key]))
            for table in TABLES
        }
    )


def change_table(folder: Path, name: str, change: Callable[[list[list[str]]], None]) -> None:
    path = folder / name
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    change(rows)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def change_map(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / name
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def put(row: int, column: int, text: str) -> Callable[[list[list[str]]], None]:
    """Writes `text` into a cell; row as a spreadsheet counts it."""

    def change(rows: list[list[str]]) -> None:
        rows[row - 1][column] = text

    return change


def property_of(position: int, **values: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["features"][position - 1]["properties"].update(values)

    return change


def shape_of(position: int, shape: object) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["features"][position - 1]["geometry"] = shapely.geometry.mapping(shape) if shape is not None else None

    return change


def only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, as_text(problems)
    assert problems[0].remedy.strip().endswith((".", "says.")) and problems[0].problem.endswith(".")
    return problems[0]


def test_what_is_written_is_read_again(folder: Path) -> None:
    checked = read_folder(folder)
    assert checked.problems == ()
    assert checked.portfolio == ordered(small_portfolio())


def test_writing_what_was_read_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    write_folder(read_folder(folder).portfolio, again)
    for spec in FILES:
        assert (again / spec.name).read_bytes() == (folder / spec.name).read_bytes()


def test_the_page_of_the_schema_is_current() -> None:
    assert (DOCS / "portfolio.md").read_text(encoding="utf-8") == schema_text()


# One row per mistake: where it is made, what is expected (file, row, part of the text, severity).
CELLS = [
    ("loans.csv", put(2, 1, "B9"), 2, "borrower_id 'B9' is not in borrowers.csv", Severity.ERROR),
    ("loans.csv", put(3, 4, "RMB"), 3, "currency is 'RMB'", Severity.ERROR),
    ("loans.csv", put(2, 5, "12,5"), 2, "principal is '12,5', not a number", Severity.ERROR),
    ("loans.csv", put(2, 7, "2025-02-30"), 2, "granted_on is '2025-02-30'", Severity.ERROR),
    ("loans.csv", put(2, 8, "2020-01-01"), 2, "matures on 2020-01-01, not after", Severity.ERROR),
    ("loans.csv", put(2, 6, "31000000"), 2, "is outstanding of a principal", Severity.WARNING),
    ("loans.csv", put(2, 3, "nobody"), 2, "officer 'nobody' is not in users.csv", Severity.WARNING),
    ("loans.csv", put(3, 0, "L1"), 3, "loan_id L1 stands in row 2 already", Severity.ERROR),
    ("loan_sites.csv", put(4, 1, "S9"), 4, "site_id 'S9' is not in sites.geojson", Severity.ERROR),
    ("assets.csv", put(2, 0, "A2"), 3, "Asset A2 is pledged to loan L2 and, in row 2, to loan L1", Severity.ERROR),
    ("assets.csv", put(4, 5, "wr 77"), None, "", None),
    ("assets.csv", put(2, 5, "wr-77"), 3, "serial 'WR-77' is pledged to loan L2 and, in row 2, to", Severity.WARNING),
    ("assets.csv", put(2, 5, "WR-7-7"), 3, "has the letters and digits of 'WR-7-7' in row 2", Severity.WARNING),
    ("assets.csv", put(3, 6, "gold"), 3, "commodity 'gold' has no row in prices.csv", Severity.ERROR),
    ("assets.csv", put(2, 8, ""), 2, "neither a commodity nor a value", Severity.WARNING),
    ("assets.csv", put(2, 10, "POINT (1 2)"), 2, "corridor of asset A1 is a Point", Severity.ERROR),
    ("assets.csv", put(2, 4, ""), 2, "name is empty", Severity.ERROR),
    ("devices.csv", put(2, 5, "energy_total_kwh;vibes"), 2, "'vibes', which is not known", Severity.ERROR),
    ("devices.csv", put(2, 2, "A2"), 2, "It is at site S1, its asset A2 at S3", Severity.ERROR),
    ("devices.csv", put(2, 6, "0"), 2, "interval_s is 0", Severity.ERROR),
    ("devices.csv", put(2, 0, "a/b"), 2, "device_id is 'a/b'", Severity.ERROR),
    ("devices.csv", put(2, 0, "电表1"), 2, "device_id '电表1' cannot stand in an MQTT topic", Severity.ERROR),
    ("devices.csv", put(2, 0, "meter@1"), 2, "device_id 'meter@1' cannot stand in an MQTT topic", Severity.ERROR),
    ("prices.csv", put(3, 2, "kg"), 3, "is priced per kg and, in row 2, per t", Severity.ERROR),
    ("prices.csv", put(2, 4, "1.2"), 2, "haircut is 1.2, outside 0 to 1", Severity.ERROR),
    ("prices.csv", put(3, 5, "2025-01-01"), 3, "stands in row 2 already", Severity.ERROR),
    ("links.csv", put(2, 1, "B1"), 2, "B1 is linked to itself", Severity.ERROR),
    ("links.csv", put(2, 4, ""), 2, "An amount and its currency belong together", Severity.ERROR),
    ("users.csv", put(2, 2, "king"), 2, "role is 'king'", Severity.ERROR),
    ("users.csv", put(2, 3, "mars"), 2, "No loan is kept by branch 'mars'", Severity.WARNING),
]


@pytest.mark.parametrize(("name", "change", "row", "text", "severity"), CELLS, ids=[f"{c[0]}-{c[3]}" for c in CELLS])
def test_a_mistake_in_a_cell(
    folder: Path, name: str, change: Callable[[list[list[str]]], None], row: int | None, text: str, severity: Severity | None
) -> None:
    change_table(folder, name, change)
    problems = read_folder(folder).problems
    if severity is None:
        assert problems == ()  # the same serial twice under one loan is no double pledge
        return
    found = only(tuple(one for one in problems if one.file == name))
    assert (found.file, found.row, found.severity) == (name, row, severity)
    assert text in found.problem


def test_a_serial_is_compared_with_all_rows_above(folder: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        rows[1][5], rows[2][5], rows[3][2], rows[3][5] = "WR-7-7", "WR-77", rows[1][2], "wr77"

    change_table(folder, "assets.csv", change)
    said = [one for one in read_folder(folder).problems if one.problem.startswith("serial ")]
    assert [one.row for one in said] == [3, 4]
    assert "letters and digits of 'WR-7-7' in row 2" in said[0].problem
    assert "in row 3" in said[1].problem and "pledged to loan" in said[1].problem  # not hidden by the first row alike


BOWTIE = shapely.Polygon([(120.6, 31.3), (120.61, 31.31), (120.61, 31.3), (120.6, 31.31)])
MAPS = [
    ("sites.geojson", property_of(1, kind="castle"), 1, "kind is 'castle'", Severity.ERROR),
    ("sites.geojson", property_of(1, time_zone="CST"), 1, "time_zone is 'CST'", Severity.ERROR),
    ("sites.geojson", property_of(1, utm_epsg=32648), 1, "utm_epsg is 32648, which does not cover", Severity.ERROR),
    ("sites.geojson", property_of(1, utm_epsg=32751), 1, "utm_epsg is 32751, which does not cover", Severity.ERROR),
    ("sites.geojson", property_of(1, roofed="perhaps"), 1, "roofed is 'perhaps'", Severity.ERROR),
    ("sites.geojson", property_of(2, site_id="S1"), 2, "site_id S1 stands in row 1 already", Severity.ERROR),
    ("sites.geojson", shape_of(2, None), 2, "site S2 has no geometry", Severity.ERROR),
    ("sites.geojson", shape_of(2, BOWTIE), 2, "site S2 is not a valid polygon (Self-intersection", Severity.ERROR),
    ("sites.geojson", shape_of(2, shapely.Point(120, 31)), 2, "is a Point, not a polygon", Severity.ERROR),
    ("sites.geojson", shape_of(2, shapely.box(31, 120, 31.01, 120.01)), 2, "no longitude and latitude", Severity.ERROR),
    ("sites.geojson", shape_of(2, shapely.box(5e5, 3e6, 5.1e5, 3.1e6)), 2, "no longitude and latitude", Severity.ERROR),
    ("sites.geojson", shape_of(2, rectangle(400, 0, 1, 1)), 2, "covers 1 m2", Severity.ERROR),
    ("sites.geojson", shape_of(2, shapely.box(110, 30, 112, 32)), 2, "outside 100 to 100,000,000", Severity.ERROR),
    ("sites.geojson", shape_of(2, rectangle(200, 0, 200, 200)), 2, "S2 overlaps site S1 by 18%", Severity.WARNING),
    ("slots.geojson", property_of(1, asset_id="A9"), 1, "asset_id 'A9' is not in assets.csv", Severity.ERROR),
    ("slots.geojson", property_of(1, capacity=-1), 1, "capacity is -1", Severity.ERROR),
    ("slots.geojson", shape_of(1, rectangle(-6, 410, 12, 8)), 1, "50% of slot S3-01 lies outside its", Severity.WARNING),
    ("slots.geojson", shape_of(1, rectangle(900, 900, 12, 8)), 1, "100% of slot S3-01 lies outside", Severity.ERROR),
    ("slots.geojson", shape_of(2, rectangle(16, 410, 12, 8)), 2, "S3-02 overlaps slot S3-01 by 50%", Severity.WARNING),
    ("slots.geojson", property_of(2, slot_id="S3-01"), 2, "slot_id S3-01 stands in row 1 already", Severity.ERROR),
]


@pytest.mark.parametrize(("name", "change", "row", "text", "severity"), MAPS, ids=[f"{c[0]}-{c[3]}" for c in MAPS])
def test_a_mistake_on_the_map(
    folder: Path, name: str, change: Callable[[dict[str, Any]], None], row: int, text: str, severity: Severity
) -> None:
    change_map(folder, name, change)
    problems = [one for one in read_folder(folder).problems if one.file == name]
    found = only(tuple(problems))
    assert (found.file, found.row, found.severity) == (name, row, severity)
    assert text in found.problem


def test_sites_of_two_borrowers_may_touch_but_not_overlap(folder: Path) -> None:
    change_map(folder, "sites.geojson", shape_of(3, rectangle(0, 180, 240, 250)))  # S3 of B2, just north of S1 of B1
    assert [one for one in read_folder(folder).problems if one.file == "sites.geojson"] == []
    change_map(folder, "sites.geojson", shape_of(3, rectangle(0, 150, 240, 300)))
    found = [one for one in read_folder(folder).problems if one.file == "sites.geojson"]
    assert [(one.row, one.severity) for one in found] == [(3, Severity.ERROR)]
    assert "17%" in found[0].problem and "Two borrowers" in found[0].remedy


def test_one_place_pledged_to_two_loans_is_an_error(folder: Path) -> None:
    change_table(
        folder, "assets.csv", lambda rows: rows.append(["A4", "S3", "L1", *rows[2][3:5], "WR-9", *rows[2][6:]])
    )
    change_table(folder, "loan_sites.csv", lambda rows: rows.append(["L1", "S3"]))
    change_map(folder, "slots.geojson", property_of(2, asset_id="A4"))
    assert read_folder(folder).problems == ()
    change_map(folder, "slots.geojson", shape_of(2, rectangle(11, 410, 12, 8)))
    found = only(read_folder(folder).problems)
    assert found.severity is Severity.ERROR and "pledged to the loans L1 and L2" in found.problem
    change_map(folder, "slots.geojson", property_of(2, slot_id="S3-01"))
    texts = [one.problem for one in errors(read_folder(folder).problems)]
    assert any("Slot S3-01 holds asset A4 and, in row 1, A2" in text for text in texts)


FILES_WRONG = [
    ("borrowers.csv", None, "The file is missing"),
    ("borrowers.csv", b"", "The file is empty"),
    ("borrowers.csv", b"\xef\xbb\xbf", "The file is empty"),
    ("borrowers.csv", b",,,\n", "The file is empty"),
    ("borrowers.csv", "borrower_id,name\nB1,苏州\n".encode("gbk"), "Byte 21 is not UTF-8"),
    ("borrowers.csv", "borrower_id,name\nB1,x\n".encode("utf-16"), "is not UTF-8"),
    ("borrowers.csv", b"borrower_id,na\x00me\n", "NUL"),
    ("borrowers.csv", b"borrower_id,name\nB1,x\n", "The column name_en, group_name, industry is missing"),
    ("borrowers.csv", b"borrower_id,name,name,name_en,group_name,industry\n", "The column name stands there twice"),
    ("borrowers.csv", b'borrower_id,name,name_en,group_name,industry\nB1,"x,,,\n', "quotation marks do not match"),
    ("sites.geojson", None, "The file is missing"),
    ("sites.geojson", b"{", "The file is not JSON"),
    ("sites.geojson", b"[]", 'no list "features"'),
    ("sites.geojson", b'{"features": []}', "does not name its coordinate system"),
    ("sites.geojson", b'{"features": [], "coordinate_system": "mars"}', "'mars' is not known"),
    ("sites.geojson", b'{"features": [], "crs": {"properties": {"name": "EPSG:99999"}}}', "'EPSG:99999' cannot be used"),
    ("sites.geojson", b'{"features": [], "crs": 7}', "The crs None cannot be used"),
]


@pytest.mark.parametrize(("name", "data", "text"), FILES_WRONG, ids=[f"{c[0]}-{c[2]}" for c in FILES_WRONG])
def test_a_file_that_cannot_be_used_is_one_problem(folder: Path, name: str, data: bytes | None, text: str) -> None:
    """One problem, and no echo of it from every row that refers to the file."""
    (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
    found = only(read_folder(folder).problems)
    assert (found.file, found.row, found.severity) == (name, None, Severity.ERROR)
    assert text in found.problem


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        read_folder(tmp_path / "nowhere")


FEATURES = [
    None, 7, {}, {"properties": None},
    {"properties": {}, "geometry": {"type": "Polygon"}},
    {"properties": {"site_id": "X"}, "geometry": {"type": "Polygon", "coordinates": [[1]]}},
]


@pytest.mark.parametrize("feature", FEATURES, ids=str)
def test_features_of_any_shape_are_problems_and_no_crash(folder: Path, feature: object) -> None:
    change_map(folder, "sites.geojson", lambda document: document["features"].append(feature))
    found = [one for one in read_folder(folder).problems if one.file == "sites.geojson"]
    assert found and all(one.row == 4 for one in found)


def test_habits_of_spreadsheets_are_read(folder: Path) -> None:
    """Byte order mark, semicolons, CRLF, capital headings, blank lines, cells padded, empty cells at the end."""
    path = folder / "devices.csv"
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    rows[0] = [name.upper() for name in rows[0]] + [""]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerows([rows[0], [], *([f" {cell} " for cell in row] for row in rows[1:])])
    path.write_bytes(b"\xef\xbb\xbf" + text.getvalue().encode() + b";;;\r\n")
    checked = read_folder(folder)
    assert checked.problems == ()
    assert checked.portfolio.devices == small_portfolio().devices


def test_an_unknown_column_is_left_out_with_a_warning(folder: Path) -> None:
    change_table(folder, "users.csv", lambda rows: [row.append("x") for row in rows] and None)
    change_map(folder, "sites.geojson", property_of(1, colour="red"))
    checked = read_folder(folder)
    assert [(one.file, one.severity) for one in checked.problems] == [
        ("sites.geojson", Severity.WARNING), ("users.csv", Severity.WARNING)
    ]
    assert checked.portfolio == ordered(small_portfolio())


def test_a_short_row_is_named_and_the_others_are_read(folder: Path) -> None:
    change_table(folder, "users.csv", lambda rows: rows.append(["x", "y"]))
    found = only(read_folder(folder).problems)
    assert (found.row, "2 cells" in found.problem) == (5, True)


def test_holidays_may_be_missing(folder: Path) -> None:
    (folder / "holidays.csv").unlink()
    checked = read_folder(folder)
    assert checked.problems == () and checked.portfolio.holidays == ()


def test_the_utm_zone_is_found_when_not_given(folder: Path) -> None:
    change_map(folder, "sites.geojson", property_of(1, utm_epsg=None))
    change_map(folder, "sites.geojson", lambda document: document["features"][1]["properties"].pop("utm_epsg"))
    checked = read_folder(folder)
    assert checked.problems == () and {site.utm_epsg for site in checked.portfolio.sites} == {32651}


@pytest.mark.parametrize("system", [CoordinateSystem.GCJ02, CoordinateSystem.BD09])
def test_chinese_map_datums_are_converted(folder: Path, system: CoordinateSystem) -> None:
    """Slots and corridors too: a corridor is in the system that sites.geojson names."""

    def draw(document: dict[str, Any]) -> None:
        document["coordinate_system"] = system.value
        for feature in document["features"]:
            ring = np.array(feature["geometry"]["coordinates"][0])
            feature["geometry"]["coordinates"] = [from_wgs84(ring, system).tolist()]

    def draw_corridor(rows: list[list[str]]) -> None:
        drawn = shapely.transform(shapely.from_wkt(rows[3][10]), lambda points: from_wgs84(points, system))
        rows[3][10] = drawn.wkt

    change_map(folder, "sites.geojson", draw)
    change_map(folder, "slots.geojson", draw)
    change_table(folder, "assets.csv", draw_corridor)
    checked = read_folder(folder)
    assert checked.problems == ()
    given = ordered(small_portfolio())
    for part in ("sites", "slots"):
        for found, meant in zip(getattr(checked.portfolio, part), getattr(given, part), strict=True):
            assert found.geometry.equals_exact(meant.geometry, 1e-8)
    assert checked.portfolio.assets[2].corridor is not None and given.assets[2].corridor is not None
    assert checked.portfolio.assets[2].corridor.equals_exact(given.assets[2].corridor, 1e-8)


def test_a_projected_crs_is_converted(folder: Path) -> None:
    to_utm = pyproj.Transformer.from_crs(4326, 32651, always_xy=True)

    def draw(document: dict[str, Any]) -> None:
        del document["coordinate_system"]
        document["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32651"}}
        for feature in document["features"]:
            ring = feature["geometry"]["coordinates"][0]
            feature["geometry"]["coordinates"] = [[to_utm.transform(*point) for point in ring]]

    change_map(folder, "sites.geojson", draw)
    checked = read_folder(folder)
    assert checked.problems == ()
    for found, meant in zip(checked.portfolio.sites, small_portfolio().sites, strict=True):
        assert found.geometry.equals_exact(meant.geometry, 1e-9)


@pytest.mark.parametrize("name", ["=1+1", "+86 512", "-", "@x", "'=1", "''-a", "'quoted'", "＝1", "＋1", "－1", "＠x", "b"])
def test_no_cell_begins_a_formula_in_a_spreadsheet(tmp_path: Path, name: str) -> None:
    given = small_portfolio()
    write_folder(replace(given, borrowers=(replace(given.borrowers[0], name=name), *given.borrowers[1:])), tmp_path)
    with (tmp_path / "borrowers.csv").open(newline="") as file:
        written = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in written if cell.startswith(("=", "+", "-", "@", "＝", "＋", "－", "＠"))]
    assert name in {one.name for one in read_folder(tmp_path).portfolio.borrowers}


def test_tables_carry_the_mark_by_which_excel_knows_utf_8_and_are_read_without_it(folder: Path) -> None:
    tables = sorted(folder.glob("*.csv"))
    assert len(tables) == len([one for one in FILES if not one.is_map])
    for path in tables:
        data = path.read_bytes()
        assert data.startswith(b"\xef\xbb\xbf") and data.count(b"\xef\xbb\xbf") == 1, path.name
    with_mark = read_folder(folder)
    for path in tables:
        path.write_bytes(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    assert read_folder(folder) == with_mark
    assert not (folder / "sites.geojson").read_bytes().startswith(b"\xef"), "JSON has none (RFC 8259)"


letters = st.characters(categories=("L", "N", "P", "S"), include_characters=" ")
words = st.text(letters, max_size=30).map(str.strip)


@st.composite
def portfolios(draw: st.DrawFn) -> Portfolio:
    """The small portfolio with other texts, numbers, dates, orders and parts left out."""
    given = small_portfolio()
    name = words.filter(bool)
    shift = timedelta(days=draw(st.integers(0, 5000)))
    money = st.decimals(1, 10**12, places=2)
    loans = tuple(
        replace(one, branch=draw(name), principal=draw(money), outstanding=draw(money), granted_on=one.granted_on + shift,
                matures_on=one.matures_on + shift, covenant_min_coverage=draw(st.none() | st.decimals(0, 9, places=4)))
        for one in given.loans
    )
    sites = tuple(
        replace(one, name=draw(name), name_en=draw(words), roofed=draw(st.booleans()),
                installed_kwp=draw(st.none() | st.floats(0, 1e7)), vehicle_capacity=draw(st.none() | st.integers(0, 1000)),
                geometry=translate(one.geometry, draw(st.floats(-1e-3, 1e-3)), draw(st.floats(-1e-3, 1e-3))))
        for one in given.sites[:1]
    ) + given.sites[1:]
    assets = tuple(
        replace(one, name=draw(name), serial=draw(words), quantity=draw(st.floats(0, 1e12))) for one in given.assets
    )
    return replace(
        given, loans=loans, sites=draw(st.permutations(sites).map(tuple)), assets=assets,
        slots=draw(st.sampled_from([given.slots, ()])), devices=draw(st.permutations(given.devices).map(tuple)),
        links=(), prices=tuple(replace(one, price=draw(st.decimals(0, 10**9, places=6))) for one in given.prices),
        holidays=draw(st.sampled_from([given.holidays, ()])),
    )


@settings(max_examples=30, deadline=None)
@given(portfolios())
def test_any_portfolio_comes_back_unchanged(portfolio: Portfolio) -> None:
    with tempfile.TemporaryDirectory() as name:
        write_folder(portfolio, Path(name))
        checked = read_folder(Path(name))
    assert errors(checked.problems) == []
    assert checked.portfolio == ordered(portfolio)
    for found, meant in zip(checked.portfolio.sites, ordered(portfolio).sites, strict=True):
        assert found.geometry.wkb == meant.geometry.wkb


@pytest.mark.parametrize("text", ['""\n', "\u3000\n", "\x0c,\n", '"",""\n'])
def test_a_table_of_blanks_is_an_empty_file(folder: Path, text: str) -> None:
    (folder / "links.csv").write_text(text, encoding="utf-8")
    assert [(one.file, one.problem) for one in errors(read_folder(folder).problems)] == [("links.csv", "The file is empty.")]
