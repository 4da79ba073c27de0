"""Pictures of a site before and after, with what the detectors found drawn on them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.components.parts import card, empty, notice
from dashboard.ids import Site as Ids
from dashboard.model import SiteView, Viewer
from dashboard.pictures import Picture, before_and_after, pictures, sight

EVIDENCE = "/evidence/"
_COUNTS = ("vehicles", "heavy", "occupied", "denominator", "panel_area_m2")


def imagery_card(viewer: Viewer, view: SiteView, now: datetime) -> Component:
    """Two pictures side by side, each chosen from a list, and how old the newest usable one is."""
    t = viewer.t
    found = pictures(view.scenes, view.site.kind)
    before, after = before_and_after(found)
    if after is None:
        return card(t("imagery.title"), *_sight(viewer, view, now), empty(t("imagery.none")), id=Ids.IMAGERY)
    return card(
        t("imagery.title"),
        *_sight(viewer, view, now),
        html.Div(
            [
                _side(viewer, view, found, before, "imagery.before", Ids.BEFORE_CHOICE, Ids.BEFORE),
                _side(viewer, view, found, after, "imagery.after", Ids.AFTER_CHOICE, Ids.AFTER),
            ],
            className="two",
        ),
        html.P(t("imagery.key"), className="note"),
        id=Ids.IMAGERY,
    )


def picture(viewer: Viewer, site_name: str, zone: str, shown: Picture | None) -> Component:
    """One picture with its date, resolution and counts."""
    t, f = viewer.t, viewer.f
    if shown is None:
        return empty(t("imagery.no_earlier"))
    address = address_of(shown.path)
    counts = [
        t(f"found.{name}", n=f.number(_float(shown.figures[name]), 0)) for name in _COUNTS if name in shown.figures
    ]
    return html.Figure(
        [
            html.A(
                html.Img(
                    src=address, alt=t("imagery.alt", site=site_name, at=f.moment(shown.taken_at, zone)),
                ),
                href=address, target="_blank", rel="noopener",
            ),
            html.Figcaption(
                [html.Strong(f.moment(shown.taken_at, zone)),
                 html.Span(" · ".join([t("imagery.gsd", gsd=f.number(shown.gsd_m, 2)), *counts]))]
            ),
        ],
        className="picture",
    )


def address_of(path: str) -> str:
    """Address of an evidence file."""
    return EVIDENCE + quote(path)


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _side(
    viewer: Viewer,
    view: SiteView,
    found: Sequence[Picture],
    shown: Picture | None,
    title: str,
    choice_id: str,
    picture_id: str,
) -> Component:
    t, f = viewer.t, viewer.f
    zone = view.site.time_zone
    options = [
        {"label": f"{f.day(one.taken_at, zone)} · {t.named('detector', one.detector)}", "value": one.path} for one in found
    ]
    return html.Div(
        [
            html.Div(
                [
                    html.H3(t(title)),
                    dcc.Dropdown(
                        options, value=None if shown is None else shown.path, id=choice_id, clearable=False,
                        searchable=False,
                        className="select", placeholder=t("imagery.choose"),
                    ),
                ],
                className="picture-head",
            ),
            html.Div(picture(viewer, f.name(view.site.name, view.site.name_en), zone, shown), id=picture_id),
        ],
        className="picture-side",
    )


def _sight(viewer: Viewer, view: SiteView, now: datetime) -> list[Component]:
    t, f = viewer.t, viewer.f
    seen = sight(view.scenes, now)
    zone = view.site.time_zone
    reasons = ", ".join(f"{t.named('rejection', reason)} {count}" for reason, count in seen.refused.items())
    if seen.refused and seen.newest is not None:
        return [notice(t("imagery.refused_since", since=f.moment(seen.newest, zone), reasons=reasons), "warn")]
    if seen.refused:
        return [notice(t("imagery.all_refused", reasons=reasons), "warn")]
    if seen.stale and seen.newest is not None:
        days = (now - seen.newest).days
        return [notice(t("imagery.stale", since=f.moment(seen.newest, zone), days=days), "warn")]
    return []
