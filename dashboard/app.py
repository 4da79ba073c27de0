"""Puts the dashboard together: Flask server, guard, routes, Dash shell, pages."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2
from dash import ClientsideFunction, Dash, Input, Output, dcc, html
from dash.development.base_component import Component
from flask import Flask, has_request_context
from flask_login import current_user
from werkzeug.wrappers import Response

from collateral.errors import CollateralError
from collateral.settings import Settings
from dashboard import auth, browser, outage, routes
from dashboard.components.parts import page_header
from dashboard.i18n import DEFAULT_LOCALE, texts
from dashboard.ids import Shell
from dashboard.model import Viewer
from dashboard.pages import alerts, home, problem, site, tracks
from dashboard.queries import Queries
from scoring.policy import Policy, load_policy

log = logging.getLogger(__name__)

INDEX = """<!DOCTYPE html>
<html lang="{locale}">
  <head>
    {{%metas%}}
    <title>{title}</title>
    <link rel="icon" href="/assets/favicon.svg">
    {{%css%}}
  </head>
  <body>
    {{%app_entry%}}
    {{%config%}}
    {{%scripts%}}
    {{%renderer%}}
  </body>
</html>"""


class Dashboard(Dash):
    """Dash whose page carries the language of the person who asks for it."""

    def interpolate_index(self, **parts: Any) -> str:  # type: ignore[override]
        """The index page with `lang` and title in the session's language."""
        locale = _locale()
        page = INDEX.format(locale=locale, title=texts(locale)("app.name"))
        for name in ("metas", "css", "app_entry", "config", "scripts", "renderer"):
            page = page.replace(f"{{%{name}%}}", parts.get(name, ""))
        return page


def create_app(settings: Settings, queries: Queries, policy: Policy | None = None) -> Dash:
    """The dashboard, ready to be served.

    Args:
        settings: evidence folder and key of the sessions.
        queries: the database.
        policy: thresholds of grades and baselines; None takes the shipped one.
    """
    here = Path(__file__).parent
    server = Flask("dashboard", template_folder=str(here / "templates"), static_folder=None)
    outage.install(server)
    auth.install(server, queries, settings)
    routes.install(server, queries, settings)
    app = Dashboard(
        "dashboard", server=server,  # type: ignore[arg-type]  # annotated narrower than documented
        assets_folder=str(here / "assets"), use_pages=False, pages_folder="",
        suppress_callback_exceptions=True, serve_locally=True, update_title="", title="Collateral Watch",
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}], enable_mcp=False,
        assets_ignore="favicon.svg", on_error=browser.told,
    )
    app.layout = _shell
    thresholds = policy or load_policy()
    _route(app, queries, thresholds)
    home.register(app, queries)
    site.register(app, queries, thresholds)
    tracks.register(app, queries)
    alerts.register(app, queries)
    _install_headers(server, app)
    return app


def _locale() -> str:
    """The language of who asks; Dash itself asks too, before anybody has signed in."""
    return auth.viewer().locale if has_request_context() and current_user.is_authenticated else DEFAULT_LOCALE


def _shell() -> Component:
    return html.Div(
        [
            dcc.Location(id=Shell.LOCATION, refresh="callback-nav"), dcc.Store(id=Shell.ANCHOR),
            html.Div(id=Shell.ODD, role="alert"),
            html.Div(
                html.P(texts(_locale())("problem.unanswered"), className="notice notice-bad"),
                id=Shell.UNANSWERED, role="alert", hidden=True,
            ),
            html.Div(id=Shell.PAGE),
        ],
        className="app",
    )


def _route(app: Dash, queries: Queries, policy: Policy) -> None:
    @app.callback(Output(Shell.PAGE, "children"), Input(Shell.LOCATION, "pathname"))
    def show(path: str | None) -> list[Component]:
        viewer, path = auth.viewer(), browser.text("address", path, 2_000) or "/"
        header = page_header(viewer, path, auth.form_token())
        try:
            content = page_for(queries, policy, viewer, path)
        except (CollateralError, psycopg2.Error):
            log.exception("page %s could not be made", path)
            content = problem.layout(viewer, "database")
        return [header, html.Main(content, id=Shell.CONTENT, tabIndex="-1")]


    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("collateral", "showAnchor"), Output(Shell.ANCHOR, "data"), Input(Shell.PAGE, "children"),
        prevent_initial_call=True,
    )


def page_for(queries: Queries, policy: Policy, viewer: Viewer, path: str) -> Component:
    """The layout of one address."""
    if path == "/":
        return home.layout(viewer, queries.portfolio(viewer))
    if path == "/alerts":
        return alerts.layout(viewer)
    if path.startswith("/site/") and "\0" not in unquote(path):
        view = queries.site(viewer, unquote(path.removeprefix("/site/")))
        if view is not None:
            return site.layout(viewer, view, policy, datetime.now(UTC))
    return problem.layout(viewer, "missing")


def _install_headers(server: Flask, app: Dash) -> None:
    """Nothing from elsewhere is loaded, nothing frames us. Inline scripts are Dash's own, allowed by their checksums."""
    scripts = " ".join(["'self'", *(f"'{one}'" if not one.startswith("'") else one for one in app.csp_hashes())])
    policy = (
        f"default-src 'self'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    )

    @server.after_request
    def add(answer: Response) -> Response:
        answer.headers.setdefault("Content-Security-Policy", policy)
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        answer.headers.setdefault("X-Frame-Options", "DENY")
        answer.headers.setdefault("Referrer-Policy", "same-origin")
        if "Cache-Control" not in answer.headers:
            answer.headers["Cache-Control"] = "no-store"
        return answer
