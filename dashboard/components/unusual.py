"""Unusual readings of a site: hints for a closer look, without any effect on the score."""

from __future__ import annotations

import re

from dash import html
from dash.development.base_component import Component

from collateral.db.anomalies import AnomalyEpisode
from dashboard.components.parts import card, empty, told
from dashboard.ids import Site as Ids
from dashboard.model import SiteView, Viewer

_YEAR = 365.0
_COLUMNS = ("when", "reading", "what")


def unusual_card(viewer: Viewer, view: SiteView) -> Component:
    """The newest episodes, newest first."""
    t = viewer.t
    if not view.unusual:
        return card(t("unusual.title"), empty(t("unusual.none")), id=Ids.UNUSUAL)
    head = html.Tr([html.Th(t(f"unusual.{name}"), scope="col") for name in _COLUMNS])
    rows = [_row(viewer, view.site.time_zone, one) for one in view.unusual]
    return card(
        t("unusual.title"),
        html.P(t("unusual.key"), className="note"),
        html.Div(html.Table([html.Thead(head), html.Tbody(rows)], className="table"), className="scroll"),
        id=Ids.UNUSUAL,
    )


def _row(viewer: Viewer, zone: str, one: AnomalyEpisode) -> Component:
    t, f = viewer.t, viewer.f
    hours = (one.time_to - one.time_from).total_seconds() / 3600
    lasting = [told(t("unusual.lasting", n=f.number(hours, 1)))] if hours > 0 else []
    late = [html.Span(t("unusual.late"), className="tag")] if one.late else []
    return html.Tr(
        [
            html.Td([f.moment(one.time_from, zone), *lasting]),
            html.Td([t.named("reading", one.quantity), told(one.device_id)]),
            html.Td(
                [
                    t.named("unusual_reason", reason_family(one.reason)), *late,
                    told(_rarity(viewer, one.wait_days)),
                ]
            ),
        ]
    )


def reason_family(reason: str) -> str:
    """The statistic without its length."""
    return re.sub(r"_\d+$", "", reason)


def _rarity(viewer: Viewer, days: float) -> str:
    t, f = viewer.t, viewer.f
    if days < _YEAR:
        return t("unusual.once_in_days", n=f.number(days))
    if days < 100 * _YEAR:
        return t("unusual.once_in_years", n=f.number(days / _YEAR))
    return t("unusual.unheard_of")
