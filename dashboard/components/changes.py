"""What appeared, vanished or moved between two pictures of a site."""

from __future__ import annotations

from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from dashboard.changes import KINDS, Comparisons, Found, comparisons
from dashboard.components.imagery import address_of
from dashboard.components.parts import aria, card, empty, told
from dashboard.ids import Site as Ids
from dashboard.model import SiteView, Viewer

FEW = 10
"""Newest ones, shown first."""
MOST = 200
"""Shown when all are asked for."""
_COLUMNS = ("when", "what", "places", "area", "confidence", "pictures")


def changes_card(viewer: Viewer, view: SiteView) -> Component:
    """All changes, newest first, with a choice of their kind."""
    t = viewer.t
    seen = comparisons(view.observations, view.scenes)
    skipped = [html.P(t.named("not_compared", seen.skipped), className="note")] if seen.skipped else []
    if not seen.found:
        said = t("changes.calm", n=seen.pairs) if seen.pairs else t("changes.never")
        return card(t("changes.title"), empty(said), *skipped, id=Ids.CHANGES)
    present = {one.kind for one in seen.found}
    options = [{"label": t(f"change.{kind}"), "value": kind} for kind in KINDS if kind in present]
    return card(
        t("changes.title"),
        html.P(t("changes.key"), className="note"),
        html.Div(
            dcc.Dropdown(
                options, multi=True, id=Ids.CHANGE_KINDS, searchable=False, className="select",
                placeholder=t("changes.all_kinds"),
            ),
            className="choice", role="group", **aria(label=t("changes.kinds_label")),
        ),
        html.Div(changes_table(viewer, view, seen, ()), id=Ids.CHANGE_LIST),
        html.Button(
            more_text(viewer, len(seen.found), False), id=Ids.CHANGE_MORE, n_clicks=0, className="act",
            style=more_style(len(seen.found)), **aria(controls=Ids.CHANGE_LIST),
        ),
        *skipped, id=Ids.CHANGES,
    )  # fmt: skip


def of_kinds(seen: Comparisons, kinds: Sequence[str]) -> list[Found]:
    """The rows of these kinds, all where none is named."""
    return [one for one in seen.found if not kinds or one.kind in kinds]


def more_text(viewer: Viewer, count: int, everything: bool) -> str:
    """What the button below the list does next."""
    return viewer.t("changes.fewer", n=FEW) if everything else viewer.t("changes.more", n=viewer.f.number(min(count, MOST)))


def more_style(count: int) -> dict[str, str]:
    """The button is there where it would do something."""
    return {} if count > FEW else {"display": "none"}


def changes_table(
    viewer: Viewer, view: SiteView, seen: Comparisons, kinds: Sequence[str], everything: bool = False
) -> list[Component]:
    """The newest rows of these kinds, `FEW` of them or (`everything`) `MOST`."""
    t = viewer.t
    rows, most = of_kinds(seen, kinds), MOST if everything else FEW
    if not rows:
        return [empty(t("changes.none_of_kind"))]
    head = html.Tr(
        [html.Th(t(f"changes.{name}"), scope="col", className=_class(name)) for name in _COLUMNS]
    )
    body = html.Tbody([_row(viewer, view.site.time_zone, one) for one in rows[:most]])
    more = [html.P(t("changes.most", n=most, all=len(rows)), className="note", role="status")] if len(rows) > most else []
    return [html.Div(html.Table([html.Thead(head), body], className="table"), className="scroll"), *more]


def _class(name: str) -> str:
    return "number" if name in ("places", "area", "confidence") else ""


def _row(viewer: Viewer, zone: str, one: Found) -> Component:
    t, f = viewer.t, viewer.f
    since = [told(t("changes.since", day=f.day(one.since, zone)))] if one.since else []
    links = [
        html.A(t(f"imagery.{which}"), href=address_of(path), target="_blank", rel="noopener")
        for which, path in (("before", one.before), ("after", one.after))
        if path
    ]
    return html.Tr(
        [
            html.Td([f.day(one.taken_at, zone), *since], className="whole"),
            html.Td([t.named("change", one.kind), told(t.named("direction", one.direction))], className="whole"),
            html.Td(f.number(one.places), className="number"),
            html.Td(f"{f.number(one.area_m2)} m²", className="number"),
            html.Td(f.percent(one.confidence), className="number"),
            html.Td(html.Div(links, className="links") if links else t("changes.no_picture")),
        ]
    )
