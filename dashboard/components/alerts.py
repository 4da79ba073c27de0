"""Alerts with the evidence of both sides, their history, and the forms to act on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import dcc, html
from dash.development.base_component import Component

from collateral.db.alerts import MOVES, Alert, AlertEvent
from collateral.domain import AlertState, Observation, SubjectKind
from dashboard.components.evidence import unit_of
from dashboard.components.imagery import address_of
from dashboard.components.parts import aria, card, empty, graph, priority_badge, state_badge
from dashboard.figures.series import series
from dashboard.ids import Alerts as Ids
from dashboard.ids import Site as SiteIds
from dashboard.model import SiteView, Viewer
from dashboard.normal import Chart

SHELVE_HOURS = (8, 24, 72, 168)
_ENDS = ("above", "inside", "register", "loan")
_HIDDEN = frozenset({"observation_id", "quantity"})
_PERCENT = frozenset(
    {
        "share_of_normal", "running_share_of_normal", "tags_present_share", "reporting_ratio", "working_inverters",
        "inverter_yield_ratio", "gap", "sigma",
    }
)
_MONEY = frozenset({"value", "outstanding"})
_RATIO = frozenset({"coverage", "coverage_by_most_favourable_witness", "covenant", "pledge_ratio"})
_VERBS: Mapping[str, AlertState] = {
    "acknowledge": AlertState.ACKNOWLEDGED, "shelve": AlertState.SHELVED, "unshelve": AlertState.OPEN,
    "clear": AlertState.CLEARED,
}


def alerts_card(viewer: Viewer, view: SiteView, charts: Sequence[Chart]) -> Component:
    """Waiting alerts in full, ended ones folded away."""
    t = viewer.t
    waiting = [one for one in view.alerts if one.state is not AlertState.CLEARED]
    ended = [one for one in view.alerts if one.state is AlertState.CLEARED]
    parts = [alert_card(viewer, view, charts, one) for one in waiting] or [empty(t("alerts.none_waiting"))]
    if ended:
        parts.append(
            html.Details(
                [html.Summary(t("alerts.ended", n=len(ended))), *(alert_card(viewer, view, charts, one) for one in ended)],
                className="ended",
            )
        )
    return card(t("alerts.title"), html.Div(parts, className="alerts"), id=SiteIds.ALERTS)


def alert_card(viewer: Viewer, view: SiteView, charts: Sequence[Chart], alert: Alert) -> Component:
    """One alert: what, since when, the evidence, what was done, what can be done."""
    t, f = viewer.t, viewer.f
    zone = view.site.time_zone
    expiry = [html.Span(t("alerts.until", at=f.moment(alert.expires_at, zone)))] if alert.expires_at else []
    return html.Article(
        [
            html.Div(
                [
                    priority_badge(alert.priority, t),
                    html.H3(t.named("rule", alert.rule)),
                    *_subject(view, alert),
                    state_badge(alert.state, t),
                    *expiry,
                    html.Span(t("alerts.raised", at=f.moment(alert.raised_at, zone)), className="when"),
                ],
                className="alert-head",
            ),
            html.P(t.named("rule_meaning", alert.rule), className="note"),
            *_figure(viewer, alert),
            *_besides(viewer, alert),
            _sides(viewer, view, charts, alert),
            _events(viewer, zone, view.events.get(alert.alert_id, ())),
            *_actions(viewer, alert),
        ],
        className=f"alert alert-{alert.priority} alert-{alert.state}", id=f"alert-{alert.alert_id}",
    )


def _subject(view: SiteView, alert: Alert) -> list[Component]:
    """Which thing, yard or loan an alert is about; nothing where it is the site."""
    if alert.subject_kind is SubjectKind.SITE:
        return []
    names = {one.asset_id: one.name for one in view.assets} if alert.subject_kind is SubjectKind.ASSET else {}
    return [html.Span(names.get(alert.subject_id) or alert.subject_id)]


def _figure(viewer: Viewer, alert: Alert) -> list[Component]:
    """The measured figure against the threshold that raised it."""
    t, f = viewer.t, viewer.f
    figures = alert.evidence.get("figures")
    if not isinstance(figures, Mapping):
        return []
    samples = figures.get("samples")
    values = [one.get("figure") for one in samples if isinstance(one, Mapping)] if isinstance(samples, list) else []
    shown = ", ".join(f.figure(float(value)) for value in values if isinstance(value, (int, float)))
    limit = figures.get("raise_at")
    if not shown or not isinstance(limit, (int, float)):
        return []
    return [html.P(t("alerts.figure", figures=shown, limit=f.figure(float(limit))), className="measured")]


def _besides(viewer: Viewer, alert: Alert) -> list[Component]:
    """Figures that belong to neither side alone, e.g. the gap between both."""
    t = viewer.t
    rows = [
        html.Div([html.Dt(t.named("fact", key)), html.Dd(_value(viewer, key, value))], className="term")
        for key, value in alert.evidence.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return [html.Dl(rows, className="terms")] if rows else []


def _sides(viewer: Viewer, view: SiteView, charts: Sequence[Chart], alert: Alert) -> Component:
    by_id = {one.observation_id: one for one in view.observations}
    seen = alert.evidence.get("observations")
    behind = [by_id[one] for one in seen if one in by_id] if isinstance(seen, list) else []
    panels = [
        html.Div(
            [
                *_facts(viewer, name, facts, _currency(view, alert) if name == "loan" else ""),
                *_image(viewer, _picture_of(name, facts, by_id, behind)),
                *_course(viewer, view, charts, name, facts),
            ],
            className=f"side side-{name}",
        )
        for name in _ENDS
        if isinstance(facts := alert.evidence.get(name), Mapping)
    ]
    return html.Div(panels, className="two sides")


def _picture_of(
    name: str, facts: Mapping[str, object], by_id: Mapping[int | None, Observation], behind: Sequence[Observation]
) -> str | None:
    if name != "above":
        return None
    named = facts.get("observation_id")
    chosen = by_id.get(named) if isinstance(named, int) else None
    candidates = [one for one in (chosen, *reversed(behind)) if one is not None]
    return next((str(one.evidence["png"]) for one in candidates if "png" in one.evidence), None)


def _currency(view: SiteView, alert: Alert) -> str:
    """Of the loan an alert is about; empty where it is about none."""
    return next((one.loan.currency for one in view.loans if one.loan.loan_id == alert.subject_id), "")


def _facts(viewer: Viewer, name: str, facts: Mapping[str, object], currency: str) -> list[Component]:
    t = viewer.t
    quantity = str(facts.get("quantity") or "")
    rows = [
        html.Div([html.Dt(t.named("fact", key)), html.Dd(_value(viewer, key, value, quantity, currency))], className="term")
        for key, value in facts.items()
        if key not in _HIDDEN and value is not None and value != ""
    ]
    heading = t(f"side.{name}") + (f" · {t.named('quantity', quantity)}" if quantity else "")
    return [html.H4(heading), html.Dl(rows, className="terms")]


def _image(viewer: Viewer, path: str | None) -> list[Component]:
    if path is None:
        return []
    address = address_of(path)
    image = html.Img(src=address, alt=viewer.t("alerts.picture"))
    return [html.A(image, href=address, target="_blank", rel="noopener", className="side-picture")]


def _course(
    viewer: Viewer, view: SiteView, charts: Sequence[Chart], name: str, facts: Mapping[str, object]
) -> list[Component]:
    """The course of the quantity that the devices told, where the alert names it."""
    quantity = facts.get("quantity")
    told = [one for one in charts if one.quantity == quantity and one.subject_id == view.site.site_id]
    if name != "inside" or not told:
        return []
    t = viewer.t
    label = t("series.label", title=t.named("quantity", str(quantity)), value="")
    return [graph(series(told[0], view.site.time_zone, t), label)]


def _value(viewer: Viewer, key: str, value: object, quantity: str = "", currency: str = "") -> str:
    if isinstance(value, bool):
        return viewer.t("answer.yes" if value else "answer.no")
    if isinstance(value, (int, float)):
        if key in _RATIO:
            return viewer.f.ratio(float(value))
        if currency and key in _MONEY:
            return viewer.f.money(float(value), currency)
        if key in _PERCENT:
            return viewer.f.percent(float(value))
        unit = unit_of(quantity) if key in ("value", "normal") else ""
        return f"{viewer.f.figure(float(value))} {unit}".strip()
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    return str(value)


def _events(viewer: Viewer, zone: str, events: Sequence[AlertEvent]) -> Component:
    t, f = viewer.t, viewer.f
    items = [
        html.Li(
            [
                state_badge(event.state, t),
                html.Span(f.moment(event.at, zone)),
                html.Span(t("actor.engine") if event.actor == "engine" else event.actor),
                *([html.Q(event.reason)] if event.reason else []),
            ]
        )
        for event in events
    ]
    return html.Details([html.Summary(t("alerts.history", n=len(items))), html.Ol(items, className="events")])


def _actions(viewer: Viewer, alert: Alert) -> list[Component]:
    t = viewer.t
    verbs = [verb for verb, state in _VERBS.items() if state in MOVES[alert.state]]
    if not verbs or not viewer.may_act:
        return []
    hours = [{"label": t("alerts.hours", n=n) if n < 48 else t("alerts.days", n=n // 24), "value": n} for n in SHELVE_HOURS]
    return [
        html.Div(
            [
                dcc.Input(
                    id=Ids.part(Ids.REASON, alert.alert_id), placeholder=t("alerts.reason"), maxLength=500,
                    className="reason", type="text",
                ),
                dcc.Dropdown(
                    hours, value=24, clearable=False, searchable=False, id=Ids.part(Ids.HOURS, alert.alert_id),
                    className="select hours",
                    style={} if "shelve" in verbs else {"display": "none"},
                ),
                *(
                    html.Button(
                        t(f"alerts.{verb}"), id=Ids.part(Ids.ACT, alert.alert_id, verb), n_clicks=0,
                        className=f"act act-{verb}",
                    )
                    for verb in verbs
                ),
            ],
            className="actions", role="group", **aria(label=t("alerts.actions")),
        )
    ]
