"""The part of the site page with trips and stops: filled, and moved through time."""

from __future__ import annotations

from datetime import timedelta

from dash import Dash, Input, Output, State, no_update

from dashboard import browser
from dashboard.auth import viewer as current_viewer
from dashboard.components.tracks import frame_of, shown_text, tracks_body
from dashboard.ids import Site, Tracks
from dashboard.queries import Queries
from dashboard.tracks import PERIODS


def register(app: Dash, queries: Queries) -> None:
    """The callbacks of this part."""

    @app.callback(
        Output(Tracks.BODY, "children"), Output(Tracks.SHOWN, "children"), Output(Tracks.LAST_DAY, "data"),
        Output(Tracks.EARLIER, "disabled"), Output(Tracks.LATER, "disabled"),
        Input(Tracks.ASSET, "value"), Input(Tracks.PERIOD, "value"), Input(Tracks.EARLIER, "n_clicks"),
        Input(Tracks.LATER, "n_clicks"), State(Tracks.LAST_DAY, "data"), State(Site.SITE_ID, "data"),
    )  # fmt: skip
    def show(
        asset_id: object, days: int, earlier: int, later: int, last_day: object, site_id: object
    ) -> tuple[object, ...]:
        step = {Tracks.EARLIER: -1, Tracks.LATER: 1}.get(str(browser.pressed()), 0)
        return _shown(queries, site_id, asset_id, days if days in PERIODS else PERIODS[-1], last_day, step)


def _shown(
    queries: Queries, site_id: object, asset_id: object, days: int, last_day: object, step: int
) -> tuple[object, ...]:
    viewer = current_viewer()
    shown = browser.day("last day", last_day)
    last = None if shown is None else shown + timedelta(days=step * days)
    view = queries.tracks(viewer, browser.text("site", site_id), browser.text("asset", asset_id), days, last)
    if view is None:
        return (no_update,) * 5
    return tracks_body(viewer, view), shown_text(viewer, view), view.last_day.isoformat(), *frame_of(view)
