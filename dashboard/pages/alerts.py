"""`/alerts`: all alerts the person may see, newest first, waiting ones at the beginning."""

from __future__ import annotations

from collections.abc import Sequence

from dash import Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from collateral.domain import AlertState, Priority
from dashboard import browser
from dashboard.auth import viewer as current_viewer
from dashboard.components.parts import aria, empty, kept, priority_badge, state_badge
from dashboard.ids import Alerts
from dashboard.model import AlertView, Viewer
from dashboard.queries import MOST_ALERTS, Queries

_LIST = "all-alerts"
_WAITING = [state.value for state in AlertState if state is not AlertState.CLEARED]


def layout(viewer: Viewer) -> Component:
    """Filters and the list, which a callback fills."""
    t = viewer.t
    states = [{"label": t(f"state.{state}"), "value": state.value} for state in AlertState]
    priorities = [{"label": t(f"priority.{one}"), "value": one.value} for one in reversed(Priority)]
    return html.Div(
        [
            html.H1(t("alerts.all")),
            html.Div(
                [
                    html.Div(
                        dcc.Checklist(
                            states, value=_WAITING, id=Alerts.STATE, inline=True, className="checks", **kept(viewer)
                        ),
                        role="group", **aria(label=t("alerts.filter_state")),
                    ),
                    html.Div(
                        dcc.Checklist(
                            priorities, value=[one.value for one in Priority], id=Alerts.PRIORITY, inline=True,
                            className="checks", **kept(viewer),
                        ),
                        role="group", **aria(label=t("alerts.filter_priority")),
                    ),
                ],
                className="filters",
            ),
            html.Section(html.Div(id=_LIST), className="card"),
        ],
        className="page page-alerts",
    )


def alert_table(viewer: Viewer, found: Sequence[AlertView]) -> Component:
    """One row per alert, leading to its place on the site's page."""
    t, f = viewer.t, viewer.f
    if not found:
        return empty(t("alerts.none"))
    names = ("priority", "rule", "site", "raised", "state", "by")
    head = html.Tr([html.Th(t(f"alerts.column_{name}"), scope="col") for name in names])
    rows = [
        html.Tr(
            [
                html.Td(priority_badge(one.alert.priority, t)),
                html.Td(
                    dcc.Link(
                        t.named("rule", one.alert.rule), href=f"/site/{one.alert.site_id}#alert-{one.alert.alert_id}"
                    )
                ),
                html.Td(
                    [html.Span(f.name(one.site_name, one.site_name_en)), html.Span(one.alert.site_id, className="note")]
                ),
                html.Td(f.moment(one.alert.raised_at, one.time_zone), className="number-left"),
                html.Td(state_badge(one.alert.state, t)),
                html.Td(t("actor.engine") if one.alert.actor == "engine" else one.alert.actor),
            ]
        )
        for one in found
    ]
    table = html.Div(html.Table([html.Thead(head), html.Tbody(rows)], className="table"), className="scroll")
    more = [html.P(t("alerts.most", n=MOST_ALERTS), className="note")] if len(found) == MOST_ALERTS else []
    return html.Div([html.P(t("alerts.count", n=f.number(len(found))), role="status", className="note"), table, *more])


def register(app: Dash, queries: Queries) -> None:
    """The callbacks of this page."""

    @app.callback(Output(_LIST, "children"), Input(Alerts.STATE, "value"), Input(Alerts.PRIORITY, "value"))
    def show(states: object, priorities: object) -> Component:
        viewer = current_viewer()
        wanted = browser.texts("states", states), browser.texts("priorities", priorities)
        return alert_table(viewer, queries.alerts(viewer, *wanted))
