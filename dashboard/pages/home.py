"""`/`: the map coloured by grade, and beside it the sites ranked worst first."""

from __future__ import annotations

from collections.abc import Sequence

import dash_leaflet as dl
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html
from dash.development.base_component import Component

from collateral.domain import SiteKind
from dashboard import browser
from dashboard.auth import viewer as current_viewer
from dashboard.components.parts import alert_counts, aria, empty, grade_badge, kept
from dashboard.formats import GRADES
from dashboard.ids import Home, Shell
from dashboard.model import SiteRow, Snapshot, Viewer
from dashboard.portfolio import PAGE_ROWS, Choice, bounds, choice, chosen, grade_counts, page_of
from dashboard.queries import Queries

GEOJSON = "/data/sites.geojson"
_CLUSTER = {"radius": 60, "maxZoom": 12}


def layout(viewer: Viewer, snapshot: Snapshot) -> Component:
    """Filters, map with legend, ranked list."""
    t = viewer.t
    if not snapshot.rows:
        return html.Div(
            [html.H1(t("home.title")), html.Div(id=Home.MAP, className="map map-empty", children=empty(t("home.no_sites")))],
            className="page home-empty",
        )
    return html.Div(
        [
            html.H1(t("home.title"), className="visually-hidden"),
            _filters(viewer, snapshot),
            html.Div(
                [
                    html.Section(
                        [_map(viewer, snapshot.rows), _legend(viewer)], className="map-side", **aria(label=t("home.map"))
                    ),
                    html.Section(
                        [
                            html.Div(
                                [html.H2(t("home.list")), html.Span(id=Home.COUNT, role="status", className="count")],
                                className="list-head",
                            ),
                            html.Div(id=Home.LIST, className="list"),
                            _pager(viewer),
                        ],
                        className="list-side",
                    ),
                ],
                className="home",
            ),
            dcc.Store(id=Home.PAGE, data=0),
        ],
        className="page page-home",
    )


def _filters(viewer: Viewer, snapshot: Snapshot) -> Component:
    t = viewer.t
    counts = grade_counts(snapshot.rows)
    kinds = [{"label": t(f"kind.{kind}"), "value": kind.value} for kind in SiteKind]
    grades = [
        {
            "label": html.Span(
                [grade_badge(grade, t), html.Span(viewer.f.number(counts[grade]), className="grade-count")], className="chip"
            ),
            "value": grade,
        }
        for grade in GRADES
    ]
    branches = dcc.Dropdown(
        snapshot.branches, id=Home.BRANCH, placeholder=t("filter.branch"), clearable=True, className="select",
        **kept(viewer), style={} if len(snapshot.branches) > 1 else {"display": "none"},
    )
    return html.Div(
        [
            dcc.Input(
                id=Home.SEARCH, type="search", placeholder=t("filter.text"), debounce=0.3, className="search",
                maxLength=80, **kept(viewer),
            ),
            dcc.Dropdown(
                kinds, id=Home.KIND, placeholder=t("filter.kind"), clearable=True, searchable=False, className="select",
                **kept(viewer),
            ),
            branches,
            html.Div(
                dcc.Checklist(grades, value=[], id=Home.GRADE, inline=True, className="grades", **kept(viewer)),
                role="group", **aria(label=t("filter.grade")),
            ),
        ],
        className="filters", role="search",
    )


def _map(viewer: Viewer, rows: Sequence[SiteRow]) -> Component:
    t = viewer.t
    names = {name: t(f"kind.{name}") for name in SiteKind}
    shown: Component = dl.MapContainer(
        [
            dl.ScaleControl(imperial=False, position="bottomleft"),
            dl.GeoJSON(
                id=Home.SITES, url=GEOJSON, cluster=True, superClusterOptions=_CLUSTER, zoomToBoundsOnClick=True,
                pointToLayer={"variable": "collateral.siteMarker"}, clusterToLayer={"variable": "collateral.clusterMarker"},
                hideout={"locale": viewer.locale, "kinds": names, "unknown": t("score.none"), "sites": t("home.sites")},
            ),
        ],
        id=Home.MAP, className="map", bounds=bounds(rows), attributionControl=False, maxZoom=18, minZoom=2,
        worldCopyJump=True, trackViewport=False, zoomSnap=0.25,
    )
    return shown


def _legend(viewer: Viewer) -> Component:
    t = viewer.t
    items = [html.Li([grade_badge(grade, t), html.Span(t(f"grade.{grade}"))]) for grade in GRADES]
    return html.Div([html.H3(t("legend.title")), html.Ul(items)], className="legend")


def _pager(viewer: Viewer) -> Component:
    t = viewer.t
    return html.Div(
        [
            html.Button(t("list.previous"), id=Home.PREVIOUS, n_clicks=0),
            html.Span(id=Home.POSITION, className="position"),
            html.Button(t("list.next"), id=Home.NEXT, n_clicks=0),
        ],
        className="pager",
    )


def site_list(viewer: Viewer, rows: Sequence[SiteRow], first: int) -> Component:
    """One page of the ranked list; `first` is the rank of its first row."""
    t = viewer.t
    if not rows:
        return empty(t("list.none"))
    return html.Ol(
        [html.Li(_line(viewer, row, first + place), className="site-item") for place, row in enumerate(rows)],
        className="sites", start=str(first),
    )


def _line(viewer: Viewer, row: SiteRow, rank: int) -> Component:
    t, f = viewer.t, viewer.f
    facts = [t(f"kind.{row.kind}"), row.site_id, f.name(row.borrower, row.borrower_en)]
    if not viewer.branch:
        facts.append("、".join(row.branches) if viewer.locale == "zh" else ", ".join(row.branches))
    return dcc.Link(
        [
            html.Span(str(rank), className="rank"),
            grade_badge(row.grade, t),
            html.Span(
                [
                    html.Span(f.name(row.name, row.name_en), className="site-name"),
                    html.Span(" · ".join(part for part in facts if part), className="site-facts"),
                    html.Span(alert_counts(row, t), className="site-alerts"),
                ],
                className="site-text",
            ),
            _score(viewer, row),
        ],
        href=f"/site/{row.site_id}", className="site-link",
    )


def _score(viewer: Viewer, row: SiteRow) -> Component:
    t, f = viewer.t, viewer.f
    if row.value is None or row.lower is None or row.upper is None:
        return html.Span(t("score.none"), className="site-score-none")
    reach = {"left": f"{row.lower / 100}%", "width": f"{(row.upper - row.lower) / 100}%"}
    whisker = html.Span(
        [
            html.Span(className="whisker-range", style=reach),
            html.Span(className="whisker-dot", style={"left": f"{row.value / 100}%"}),
        ],
        className="whisker", **aria(hidden="true"),
    )
    return html.Span(
        [
            html.Span(f.points(row.value, 1), className="site-value"),
            html.Span(f.interval(row.lower, row.upper), className="site-interval", title=t("score.interval")),
            whisker,
        ],
        className="site-figures",
    )


def register(app: Dash, queries: Queries) -> None:
    """The callbacks of this page."""

    @app.callback(
        Output(Home.LIST, "children"), Output(Home.COUNT, "children"), Output(Home.POSITION, "children"),
        Output(Home.PAGE, "data"), Output(Home.PREVIOUS, "disabled"), Output(Home.NEXT, "disabled"),
        Output(Home.SITES, "url"),
        Input(Home.SEARCH, "value"), Input(Home.KIND, "value"), Input(Home.GRADE, "value"), Input(Home.BRANCH, "value"),
        Input(Home.PREVIOUS, "n_clicks"), Input(Home.NEXT, "n_clicks"), State(Home.PAGE, "data"),
    )  # fmt: skip
    def show(
        text: object, kind: object, grades: object, branch: object, previous: int, following: int, page: object
    ) -> tuple[object, ...]:
        step = {Home.PREVIOUS: -1, Home.NEXT: 1}.get(str(browser.pressed()))
        wanted = choice(
            browser.text("search", text), browser.text("kind", kind), browser.texts("grades", grades),
            browser.text("branch", branch),
        )
        return _shown(queries, wanted, 0 if step is None else browser.whole("page", page) + step)

    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("collateral", "openSite"), Output(Shell.LOCATION, "href"), Input(Home.SITES, "clickData"),
        prevent_initial_call=True,
    )  # fmt: skip


def _shown(queries: Queries, wanted: Choice, page: int) -> tuple[object, ...]:
    viewer = current_viewer()
    snapshot = queries.portfolio(viewer)
    rows = chosen(snapshot.rows, wanted)
    shown, page, pages = page_of(rows, page)
    t, f = viewer.t, viewer.f
    first = page * PAGE_ROWS + 1
    query = wanted.query()
    return (
        site_list(viewer, shown, first),
        t("list.count", shown=f.number(len(rows)), all=f.number(len(snapshot.rows))),
        t("list.position", page=f.number(page + 1), pages=f.number(pages)),
        page, page == 0, page >= pages - 1,
        f"{GEOJSON}?{query}" if query else GEOJSON,
    )
