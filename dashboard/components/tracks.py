"""Trips and stops of a site's movables: map, marks, table, choice of period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import dash_leaflet as dl
from dash import dcc, html
from dash.development.base_component import Component

from collateral.db.geofences import FenceKind
from collateral.db.journeys import SITE_PLACE, STOP, TRIP, Journey
from dashboard.components.parts import aria, card, empty, notice
from dashboard.formats import NOTHING
from dashboard.ids import Tracks as Ids
from dashboard.model import SiteView, Viewer
from dashboard.tracks import (
    MOST_JOURNEYS,
    PERIODS,
    TracksView,
    area_features,
    bounds_of,
    flag_features,
    hours_of,
    last_day_of,
    line_features,
    stop_features,
    thinned,
)

MOST_ROWS = 200
PANES = ("tracks-areas", "tracks-trips", "tracks-marks", "tracks-stops")
"""Layers of the map, each above the one before."""
_UNITS: Mapping[str, str] = {
    "route_deviation": "m", "learnt_route_deviation": "m", "outside_region": "m", "moved_engine_off": "m", "jump": "m",
    "forbidden_area": "hours", "unexplained_stop": "hours", "speed": "km_h", "contradicted": "km_h",
}  # fmt: skip
"""What the figure of a mark is."""


def tracks_card(viewer: Viewer, view: SiteView) -> Component:
    """The frame, filled when it is there; nothing where no tracker is registered."""
    followed = {one.asset_id for one in view.devices if "longitude_deg" in one.quantities and one.asset_id}
    movables = [one for one in view.assets if one.asset_id in followed]
    if not movables:
        return html.Div()
    t = viewer.t
    names = [{"label": one.name or one.asset_id, "value": one.asset_id} for one in movables]
    periods = [{"label": t("tracks.one_day") if n == 1 else t("tracks.days", n=n), "value": n} for n in PERIODS]
    several = {} if len(movables) > 1 else {"display": "none"}
    return card(
        t("tracks.title"),
        html.P(t("tracks.key"), className="note"),
        html.Div(
            [
                dcc.Dropdown(
                    names, id=Ids.ASSET, placeholder=t("tracks.all"), clearable=True, searchable=False, className="select",
                    style=several,
                ),
                dcc.Dropdown(periods, value=7, id=Ids.PERIOD, clearable=False, searchable=False, className="select"),
                html.Button(t("tracks.earlier"), id=Ids.EARLIER, n_clicks=0, className="act"),
                html.Button(t("tracks.later"), id=Ids.LATER, n_clicks=0, className="act"),
                html.Span(id=Ids.SHOWN, role="status", className="count", **aria(live="polite")),
            ],
            className="tracks-choice", role="group", **aria(label=t("tracks.choice")),
        ),
        dcc.Store(id=Ids.LAST_DAY),
        html.Div(id=Ids.BODY),
        id=Ids.CARD,
    )


def tracks_body(viewer: Viewer, view: TracksView) -> Component:
    """Map and table of one period."""
    t = viewer.t
    if view.newest is None:
        return empty(t("tracks.never"))
    several = len({one.asset_id for one in view.journeys}) > 1
    more = [notice(t("tracks.most", n=MOST_JOURNEYS), "warn")] if view.cut else []
    if not view.journeys:
        return html.Div([_map(viewer, view), empty(t("tracks.none"))])
    return html.Div([*more, _map(viewer, view), _legend(viewer, view), _sum(viewer, view), _table(viewer, view, several)])


def _map(viewer: Viewer, view: TracksView) -> Component:
    t, f = viewer.t, viewer.f
    drawn = thinned(view.journeys)
    tips = [_tip(viewer, view, one) for one in drawn]
    said = {str(kind): t.named("track_area", kind) for kind in (*FenceKind, "site", "agreed")}
    names = {one.fence_id: f.name(one.name, one.name_en) for one in view.fences}
    marks = flag_features(drawn, [[mark(viewer, flag) for flag in one.flags] for one in drawn])
    layers = (area_features(view, said, names), line_features(drawn, tips), marks, stop_features(drawn, tips))
    counts = {"trips": _count(view, TRIP), "stops": _count(view, STOP), "flags": sum(len(one.flags) for one in drawn)}
    shown: Component = dl.MapContainer(
        [
            dl.ScaleControl(imperial=False, position="bottomleft"),
            *(
                dl.Pane(
                    dl.GeoJSON(
                        data={"type": "FeatureCollection", "features": features}, hideout={"locale": viewer.locale},
                        style={"variable": "collateral.trackStyle"}, pointToLayer={"variable": "collateral.trackPoint"},
                        onEachFeature={"variable": "collateral.trackFeature"},
                    ),
                    name=pane, style={"zIndex": 410 + 10 * PANES.index(pane)},
                )
                for pane, features in zip(PANES, layers, strict=True)
            ),
        ],
        id=Ids.MAP, className="map", bounds=bounds_of(view), attributionControl=False, maxZoom=18, minZoom=2, zoomSnap=0.25,
        trackViewport=False,
    )
    return html.Div(shown, className="tracks-map", role="region", **aria(label=t("tracks.map", **counts)))


def _legend(viewer: Viewer, view: TracksView) -> Component:
    """What is drawn, and only that."""
    t = viewer.t
    there = {one.kind for one in view.journeys} | ({"flagged"} if any(one.flags for one in view.journeys) else set())
    lines = [(kind, t(f"track.{kind}")) for kind in ("trip", "stop", "silence", "flagged") if kind in there]
    drawn = {one.kind.value for one in view.fences} | ({"agreed"} if any(one.corridor for one in view.assets) else set())
    drawn = drawn - {"corridor"} if "agreed" in drawn else drawn
    areas = [(kind, t.named("track_area", kind)) for kind in ("site", "agreed", *FenceKind) if kind in drawn | {"site"}]
    items = [
        html.Li([html.Span(className=f"swatch swatch-{kind}", **aria(hidden="true")), html.Span(text)])
        for kind, text in (*lines, *areas)
    ]
    return html.Ul(items, className="tracks-legend", **aria(label=t("tracks.legend")))


def _sum(viewer: Viewer, view: TracksView) -> Component:
    f = viewer.f
    trips = [one for one in view.journeys if one.kind == TRIP]
    figures = {
        "trips": f.number(len(trips)), "km": f.number(sum(one.length_m for one in trips) / 1000),
        "stops": f.number(_count(view, STOP)), "flags": f.number(sum(len(one.flags) for one in view.journeys)),
    }
    return html.P(viewer.t("tracks.sum", **figures), className="measured", id=Ids.SUM)


def _count(view: TracksView, kind: str) -> int:
    return sum(one.kind == kind for one in view.journeys)


def _table(viewer: Viewer, view: TracksView, several: bool) -> Component:
    """Every trip, and stops and silences that are marked; newest first."""
    t = viewer.t
    rows = [one for one in view.journeys if one.kind != STOP or one.flags][:MOST_ROWS]
    columns = ["when", *(["who"] if several else []), "what", "where", "far", "fast", "marks"]
    numbers = {"far", "fast"}
    head = html.Tr(
        [html.Th(t(f"tracks.{name}"), scope="col", className="number" if name in numbers else "") for name in columns]
    )
    body = html.Tbody([_row(viewer, view, one, several) for one in rows])
    return html.Div(
        html.Table([html.Thead(head), body], className="table"), className="scroll tracks-table", id=Ids.TABLE,
    )


def _row(viewer: Viewer, view: TracksView, one: Journey, several: bool) -> Component:
    t, f = viewer.t, viewer.f
    zone = view.site.time_zone
    trip = one.kind != STOP
    who = [html.Td(_who(view, one))] if several else []
    marks = [html.Span(mark(viewer, flag), className="tag") for flag in one.flags]
    where: list[str | Component] = [_place(viewer, view, one.place, one.lon, one.lat)]
    where += [html.Span(" → "), _place(viewer, view, one.place_to, one.lon_to, one.lat_to)] if trip else []
    speed = NOTHING if one.top_km_h is None else t("tracks.km_h", n=f.number(one.top_km_h))
    return html.Tr(
        [
            html.Td([f.moment(one.begins, zone), html.Span(_lasting(viewer, hours_of(one)), className="note")]),
            *who,
            html.Td(t(f"track.{one.kind}")),
            html.Td(where, className="tracks-where"),
            html.Td(t("tracks.km", n=f.number(one.length_m / 1000, 1)) if trip else NOTHING, className="number"),
            html.Td(speed, className="number"),
            html.Td(marks, className="tracks-marks"),
        ],
        className="marked" if marks else "",
    )


def _who(view: TracksView, one: Journey) -> str:
    return next((asset.name for asset in view.assets if asset.asset_id == one.asset_id), one.asset_id)


def _place(viewer: Viewer, view: TracksView, place: str, lon: float, lat: float) -> str:
    """Name of a known place, else its coordinates."""
    if place == SITE_PLACE:
        return viewer.t("tracks.site")
    known = next((one for one in view.fences if one.fence_id == place), None)
    return viewer.f.name(known.name, known.name_en) if known else f"{lat:.3f}, {lon:.3f}"


def _lasting(viewer: Viewer, hours: float) -> str:
    t, f = viewer.t, viewer.f
    return t("tracks.minutes", n=f.number(hours * 60)) if hours < 1 else t("tracks.hours", n=f.number(hours, 1))


def mark(viewer: Viewer, flag: Mapping[str, Any]) -> str:
    """What is marked, with its figure."""
    t, f = viewer.t, viewer.f
    what, most = t.named("track_flag", str(flag["kind"])), float(flag["most"])
    unit = _UNITS.get(str(flag["kind"]), "")
    if most == 0:
        return what
    if unit == "m":
        size = t("tracks.km", n=f.number(most / 1000, 1)) if most >= 1000 else t("tracks.m", n=f.number(most))
    elif unit == "hours":
        size = _lasting(viewer, most)
    else:
        size = t("tracks.km_h", n=f.number(most))
    return f"{what} · {size}"


def _tip(viewer: Viewer, view: TracksView, one: Journey) -> str:
    """Lines of a text beside a trip or stop."""
    t, f = viewer.t, viewer.f
    zone = view.site.time_zone
    lines = [f"{t(f'track.{one.kind}')} · {_who(view, one)}", f.moment(one.begins, zone), _lasting(viewer, hours_of(one))]
    if one.kind == TRIP:
        lines.append(t("tracks.km", n=f.number(one.length_m / 1000, 1)))
    lines += [mark(viewer, flag) for flag in one.flags][:4]
    return "\n".join(lines)


def shown_text(viewer: Viewer, view: TracksView) -> str:
    """Which days are shown."""
    return viewer.t("tracks.shown", first=view.first_day.isoformat(), last=view.last_day.isoformat())


def frame_of(view: TracksView) -> Sequence[bool]:
    """Whether `earlier` and `later` lead nowhere."""
    zone = view.site.time_zone
    if view.oldest is None or view.newest is None:
        return True, True
    first = view.oldest.astimezone(ZoneInfo(zone)).date()
    return first >= view.first_day, last_day_of(view.newest, zone) <= view.last_day
