"""Small parts used by several pages."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from dashboard.auth import with_next
from dashboard.figures.theme import GRAPH_OPTIONS
from dashboard.i18n import Texts
from dashboard.model import SiteRow, Viewer


def aria(**values: str) -> dict[str, Any]:
    """Attributes `aria-*` as keyword arguments of a component."""
    return {f"aria-{name}": value for name, value in values.items()}


def grade_badge(grade: str, t: Texts, large: bool = False) -> Component:
    """The letter on its colour, with the word for those who hear the page."""
    size = " grade-large" if large else ""
    return html.Span(grade, className=f"grade grade-{grade}{size}", title=t(f"grade.{grade}"),
                     **aria(label=t("grade.label", grade=grade, meaning=t(f"grade.{grade}"))), role="img")


def priority_badge(priority: str, t: Texts, count: int | None = None) -> Component:
    """Priority of an alert, with a number where several are meant."""
    text = t(f"priority.{priority}")
    return html.Span(text if count is None else f"{text} {count}", className=f"priority priority-{priority}")


def state_badge(state: str, t: Texts) -> Component:
    """Where an alert stands."""
    return html.Span(t(f"state.{state}"), className=f"state state-{state}")


def alert_counts(row: SiteRow, t: Texts) -> list[Component]:
    """Waiting alerts of a site by priority; nothing where there are none."""
    counts = (("high", row.high), ("medium", row.medium), ("low", row.low))
    return [priority_badge(name, t, count) for name, count in counts if count]


def card(title: str, *content: Component, **attributes: Any) -> Component:
    """A titled section."""
    classes = f"card {attributes.pop('className', '')}".strip()
    return html.Section([html.H2(title), *content], className=classes, **attributes)


def empty(text: str) -> Component:
    """What stands where there is nothing to show."""
    return html.P(text, className="empty")


def notice(text: str, kind: str = "info") -> Component:
    """A sentence that must be seen: `info`, `warn`, `bad` or `good`."""
    return html.P(text, className=f"notice notice-{kind}", role="status")


def told(text: str) -> Component:
    """A second, quieter line in a cell."""
    return html.Span(text, className="note")


def graph(figure: go.Figure, label: str, **attributes: Any) -> Component:
    """A figure with a description for those who do not see it."""
    return html.Div(
        dcc.Graph(figure=figure, config=GRAPH_OPTIONS), role="img", **aria(label=label), **attributes
    )


def term(name: str, *value: str | Component) -> Component:
    """One name with its value, inside a `html.Dl`."""
    return html.Div([html.Dt(name), html.Dd(list(value))], className="term")


def kept(viewer: Viewer) -> dict[str, Any]:
    """Of a filter: what this person chose stays chosen in this tab, after Back, a reload and another language."""
    return {"persistence": viewer.user.username, "persistence_type": "session"}


def page_header(viewer: Viewer, path: str, token: str) -> Component:
    """Name, main links, language, person, sign-out."""
    t = viewer.t
    links = (("/", "nav.map"), ("/alerts", "nav.alerts"))
    return html.Header(
        [
            html.A(t("nav.skip"), href="#content", className="skip"),
            dcc.Link(
                [html.Img(src="/assets/favicon.svg", alt="", width="28", height="28"), html.Span(t("app.name"))],
                href="/", className="brand",
            ),
            html.Nav(
                [
                    dcc.Link(t(key), href=href, className="nav-on" if path == href else "nav-off")
                    for href, key in links
                ],
                **aria(label=t("nav.label")),
            ),
            html.Div(
                [
                    html.A(
                        t("language.other"), id="language-switch", className="language",
                        href=with_next(f"/language/{t('language.other_code')}", path), lang=t("language.other_code"),
                    ),
                    html.Span(
                        [html.Span(viewer.user.display_name, className="person-name"),
                         html.Span(_place(viewer), className="person-place")],
                        className="person",
                    ),
                    html.Form(
                        [
                            dcc.Input(type="hidden", name="token", value=token),
                            html.Button(t("nav.logout"), type="submit", id="logout"),
                        ],
                        action="/logout", method="POST",
                    ),
                ],
                className="header-right",
            ),
        ],
        className="top",
    )


def _place(viewer: Viewer) -> str:
    role = viewer.t(f"role.{viewer.user.role}")
    return f"{role} · {viewer.branch or viewer.t('branch.all')}"
