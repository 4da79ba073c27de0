"""`/site/{site_id}`: score, its reasons, pictures, telemetry, witnesses, loans and alerts of one site."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from dash import ALL, Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from collateral.domain import Source
from collateral.errors import InvalidInputError
from dashboard import browser
from dashboard.auth import viewer as current_viewer
from dashboard.changes import comparisons
from dashboard.components.alerts import alerts_card
from dashboard.components.breakdown import breakdown_card, score_card
from dashboard.components.changes import changes_card, changes_table, more_style, more_text, of_kinds
from dashboard.components.doubts import doubts_card
from dashboard.components.evidence import charts_card, witnesses_card
from dashboard.components.imagery import imagery_card, picture
from dashboard.components.loans import facts_card
from dashboard.components.parts import aria, card, empty, grade_badge, graph, notice
from dashboard.components.tracks import tracks_card
from dashboard.components.unusual import unusual_card
from dashboard.figures.score import score_history
from dashboard.ids import Alerts, Site
from dashboard.model import SiteView, Viewer
from dashboard.normal import charts, witnesses
from dashboard.pictures import pictures
from dashboard.queries import Queries
from scoring.policy import Policy

log = logging.getLogger(__name__)
WITNESSED = timedelta(days=60)
"""A side that said nothing for longer is no witness."""


def layout(viewer: Viewer, view: SiteView, policy: Policy, now: datetime) -> Component:
    """The whole page."""
    t, f = viewer.t, viewer.f
    site, score = view.site, view.score
    at = shown_at(view, now)
    found = charts(view, policy, at)
    return html.Div(
        [
            dcc.Store(id=Site.SITE_ID, data=site.site_id),
            html.Nav([dcc.Link(t("nav.map"), href="/"), html.Span("›"), html.Span(site.site_id)], className="crumbs"),
            html.Div(
                [
                    grade_badge(score.grade if score else "U", t, large=True),
                    html.Div(
                        [
                            html.H1(f.name(site.name, site.name_en)),
                            html.P(" · ".join([t(f"kind.{site.kind}"), site.site_id, _owner(viewer, view)])),
                        ]
                    ),
                ],
                className="site-title",
            ),
            html.Div(id=Alerts.RESULT, role="status", **aria(live="polite")),
            html.Div(
                [
                    html.Div(
                        [
                            score_card(viewer, score, policy.grades, site.time_zone, now),
                            breakdown_card(viewer, score),
                            _history(viewer, view, policy),
                        ],
                        className="column",
                    ),
                    html.Div(
                        [
                            html.Div(alerts_card(viewer, view, found), id=Alerts.LIST),
                            witnesses_card(viewer, witnesses(view, at - WITNESSED), site.roofed),
                            facts_card(viewer, view),
                        ],
                        className="column",
                    ),
                ],
                className="columns",
            ),
            imagery_card(viewer, view, now),
            changes_card(viewer, view),
            tracks_card(viewer, view),
            charts_card(viewer, view, found, Source.TELEMETRY),
            doubts_card(viewer, view),
            unusual_card(viewer, view),
            charts_card(viewer, view, found, Source.IMAGERY),
        ],
        className="page page-site",
    )


def _owner(viewer: Viewer, view: SiteView) -> str:
    borrower = view.borrower
    return viewer.f.name(borrower.name, borrower.name_en) if borrower else view.site.borrower_id


def _history(viewer: Viewer, view: SiteView, policy: Policy) -> Component:
    t = viewer.t
    if len(view.history) < 2:
        return card(t("history.title"), empty(t("history.none")))
    figure = score_history(view.history, policy.grades, view.site.time_zone, t)
    return card(
        t("history.title"), graph(figure, t("history.label", n=len(view.history)), id=Site.HISTORY),
        html.P(t("history.key"), className="note"),
    )


def register(app: Dash, queries: Queries, policy: Policy) -> None:
    """The callbacks of this page."""
    for choice_id, picture_id in ((Site.BEFORE_CHOICE, Site.BEFORE), (Site.AFTER_CHOICE, Site.AFTER)):

        @app.callback(
            Output(picture_id, "children"), Input(choice_id, "value"), State(Site.SITE_ID, "data"),
            prevent_initial_call=True,
        )  # fmt: skip
        def show(path: object, site_id: object) -> object:
            return _picture(queries, browser.text("site", site_id), path)

    @app.callback(
        Output(Site.CHANGE_LIST, "children"), Output(Site.CHANGE_MORE, "children"), Output(Site.CHANGE_MORE, "style"),
        Input(Site.CHANGE_KINDS, "value"), Input(Site.CHANGE_MORE, "n_clicks"), State(Site.SITE_ID, "data"),
        prevent_initial_call=True,
    )  # fmt: skip
    def choose(kinds: object, clicks: object, site_id: object) -> tuple[object, ...]:
        everything = browser.whole("clicks", clicks) % 2 == 1
        return _changes(queries, browser.text("site", site_id), browser.texts("kinds", kinds), everything)

    @app.callback(
        Output(Alerts.LIST, "children"), Output(Alerts.RESULT, "children"),
        Input({"type": Alerts.ACT, "alert": ALL, "verb": ALL}, "n_clicks"),
        State({"type": Alerts.REASON, "alert": ALL, "verb": ALL}, "value"),
        State({"type": Alerts.REASON, "alert": ALL, "verb": ALL}, "id"),
        State({"type": Alerts.HOURS, "alert": ALL, "verb": ALL}, "value"),
        prevent_initial_call=True,
    )  # fmt: skip
    def act(
        clicks: list[int], reasons: object, places: object, hours: object
    ) -> tuple[object, object]:
        button = browser.pressed()
        if not isinstance(button, dict) or not any(browser.listed("clicks", clicks)):
            return no_update, no_update
        alert_id, verb = browser.whole("alert", button.get("alert")), browser.text("verb", button.get("verb"))
        reason, lasts = _form(alert_id, browser.listed("alerts", places), browser.listed("reasons", reasons),
                              browser.listed("hours", hours))
        return _act(queries, policy, alert_id, verb, reason, lasts)


def _form(
    alert_id: int, places: Sequence[object], reasons: Sequence[object], hours: Sequence[object]
) -> tuple[str, float]:
    """Reason and hours that stand in the form of one alert."""
    for place, reason, lasts in zip(places, reasons, hours, strict=False):
        if isinstance(place, dict) and place.get("alert") == alert_id:
            return browser.text("reason", reason), browser.number("hours", lasts)
    raise browser.OddValueError("alert", alert_id, "an alert with a form")


def _picture(queries: Queries, site_id: str, path: object) -> object:
    viewer = current_viewer()
    view = queries.site(viewer, site_id)
    if view is None:
        return no_update
    shown = next((one for one in pictures(view.scenes, view.site.kind) if one.path == path), None)
    return picture(viewer, viewer.f.name(view.site.name, view.site.name_en), view.site.time_zone, shown)


def _changes(queries: Queries, site_id: str, kinds: list[str], everything: bool) -> tuple[object, ...]:
    viewer = current_viewer()
    view = queries.site(viewer, site_id)
    if view is None:
        return (no_update,) * 3
    found = comparisons(view.observations, view.scenes)
    count = len(of_kinds(found, kinds))
    return changes_table(viewer, view, found, kinds, everything), more_text(viewer, count, everything), more_style(count)


def _act(queries: Queries, policy: Policy, alert_id: int, verb: str, reason: str, hours: float) -> tuple[object, object]:
    viewer = current_viewer()
    t = viewer.t
    if verb in ("shelve", "clear") and not reason.strip():
        return no_update, notice(t("alerts.need_reason"), "bad")
    try:
        site_id = queries.act(viewer, alert_id, verb, reason, hours)
    except InvalidInputError as error:
        log.warning("%s could not %s alert %s: %s", viewer.user.username, verb, alert_id, error)
        return no_update, notice(t("alerts.refused"), "bad")
    view = queries.site(viewer, site_id)
    done = notice(t("alerts.done", verb=t(f"alerts.{verb}")), "good")
    if view is None:
        return no_update, done
    return alerts_card(viewer, view, charts(view, policy, shown_at(view, datetime.now(UTC)))), done


def shown_at(view: SiteView, now: datetime) -> datetime:
    """The time for which the page speaks: that of the score, so that bands are those the score used."""
    return view.score.at if view.score is not None else now
