"""What is shown where a page cannot be: no such page, or no database."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.model import Viewer


def layout(viewer: Viewer, what: str) -> Component:
    """`what` is `missing` (no such page, or not this person's) or `database` (it does not answer)."""
    t = viewer.t
    return html.Div(
        [html.H1(t(f"problem.{what}")), html.P(t(f"problem.{what}_remedy")), dcc.Link(t("problem.back"), href="/")],
        className="page page-problem", id=f"problem-{what}",
    )
