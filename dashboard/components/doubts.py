"""Readings of a site that are doubted, and why."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from dashboard.components.parts import card, empty, told
from dashboard.doubts import Doubt, joined
from dashboard.ids import Site as Ids
from dashboard.model import SiteView, Viewer

MOST = 40
_COLUMNS = ("when", "reading", "what", "readings")


def doubts_card(viewer: Viewer, view: SiteView) -> Component:
    """Stretches of the last months, newest first."""
    t = viewer.t
    if not view.devices:
        return card(t("doubt.title"), empty(t("doubt.no_device")), id=Ids.DOUBTS)
    rows = joined(view.doubts)
    if not rows:
        return card(t("doubt.title"), empty(t("doubt.none")), id=Ids.DOUBTS)
    head = html.Tr([html.Th(t(f"doubt.{name}"), scope="col", className=_class(name)) for name in _COLUMNS])
    more = [html.P(t("doubt.most", n=MOST), className="note")] if len(rows) > MOST or view.doubts_cut else []
    return card(
        t("doubt.title"),
        html.P(t("doubt.key"), className="note"),
        html.Div(
            html.Table(
                [html.Thead(head), html.Tbody([_row(viewer, view.site.time_zone, one) for one in rows[:MOST]])],
                className="table",
            ),
            className="scroll",
        ),
        *more, id=Ids.DOUBTS,
    )  # fmt: skip


def _class(name: str) -> str:
    return "number" if name == "readings" else ""


def _row(viewer: Viewer, zone: str, one: Doubt) -> Component:
    t, f = viewer.t, viewer.f
    ahead = []
    if one.clock_ahead_s is not None:
        way = "ahead" if one.clock_ahead_s > 0 else "behind"
        ahead = [told(t(f"doubt.{way}", n=f.figure(abs(one.clock_ahead_s) / 60)))]
    until = [told(t("doubt.until", at=f.moment(one.time_to, zone)))] if one.time_to > one.time_from else []
    return html.Tr(
        [
            html.Td([f.moment(one.time_from, zone), *until]),
            html.Td([t.named("reading", one.quantity), told(one.device_id)]),
            html.Td([", ".join(t.named("doubt_reason", name) for name in one.reasons), *ahead]),
            html.Td(f.number(one.readings), className="number"),
        ]
    )
