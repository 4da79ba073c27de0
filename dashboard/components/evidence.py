"""Charts of what each side observes, and the table of witnesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from collateral.domain import Quality, Source
from collateral.quantities import OBSERVATION_QUANTITIES
from dashboard.components.parts import card, empty, graph
from dashboard.figures.series import series
from dashboard.ids import Site as Ids
from dashboard.model import SiteView, Viewer
from dashboard.normal import Chart

_UNITS: Mapping[str, str] = {
    "1": "", "kW.h/d": "kWh", "h/d": "h", "m2": "m²", "kW.h/m2/d": "kWh/m²", "1/d": "", "h": "h", "m": "m", "kg": "kg",
}
"""UCUM codes as people write them."""


def unit_of(quantity: str) -> str:
    """Unit of an observed quantity as people write it; empty for plain numbers and what is not known."""
    found = OBSERVATION_QUANTITIES.get(quantity)
    return "" if found is None else _UNITS.get(found.unit, found.unit)


def charts_card(viewer: Viewer, view: SiteView, found: Sequence[Chart], source: Source) -> Component:
    """All charts of one side."""
    t = viewer.t
    shown = [chart for chart in found if chart.source is source]
    identity = {"id": Ids.TELEMETRY} if source is Source.TELEMETRY else {}
    if not shown:
        return card(t(f"side.{source}"), empty(t(f"side.{source}_none")), className=f"side-{source}", **identity)
    return card(
        t(f"side.{source}"),
        html.P(t("series.key") if source is Source.TELEMETRY else t("series.key_pictures"), className="note"),
        html.Div([_chart(viewer, view, chart) for chart in shown], className="charts"),
        className=f"side-{source}", **identity,
    )


def _chart(viewer: Viewer, view: SiteView, chart: Chart) -> Component:
    t, f = viewer.t, viewer.f
    asset = next((one.name for one in view.assets if one.asset_id == chart.subject_id), "")
    subject = "" if chart.subject_id == view.site.site_id else f" · {asset or chart.subject_id}"
    value = f"{f.figure(chart.newest.value)} {unit_of(chart.quantity)}".strip()
    title = f"{t.named('quantity', chart.quantity)}{subject}"
    usual = chart.usual
    outside = usual is not None and not usual.low <= chart.newest.value <= usual.high
    return html.Div(
        [
            html.Div(
                [
                    html.H3(title),
                    html.Div(
                        [
                            html.Strong(value),
                            html.Span(_beside(viewer, chart), className="outside" if outside else ""),
                            *([html.Span(t(f"quality.{chart.newest.quality}"), className="tag")]
                              if chart.newest.quality is not Quality.GOOD else []),
                        ],
                        className="chart-value",
                    ),
                ],
                className="chart-head",
            ),
            graph(series(chart, view.site.time_zone, t), t("series.label", title=title, value=value)),
        ],
        className="chart",
    )


def _beside(viewer: Viewer, chart: Chart) -> str:
    """What the newest value is compared with."""
    t, f = viewer.t, viewer.f
    if chart.usual is not None:
        return t("series.normal", low=f.figure(chart.usual.low), high=f.figure(chart.usual.high))
    if chart.reference is not None:
        return t("series.reference", value=f"{f.figure(chart.reference)} {unit_of(chart.quantity)}".strip())
    return t("series.no_normal") if chart.judged else ""


def witnesses_card(viewer: Viewer, told: Mapping[Source, Sequence[str]], roofed: bool) -> Component:
    """Which sides speak about this site; one witness is shown as one."""
    t = viewer.t
    speaking = [source for source in Source if told.get(source)]
    key = {0: "witness.none", 1: "witness.one", 2: "witness.two"}[len(speaking)]
    rows = [
        html.Div(
            [
                html.Dt(t(f"side.{source}"), className=f"side-name side-name-{source}"),
                html.Dd(", ".join(t.named("quantity", name) for name in told.get(source, ())) or t("witness.silent")),
            ],
            className="term",
        )
        for source in Source
    ]
    return card(
        t("witness.title"),
        html.P(t(key), className="note" if len(speaking) == 2 else "notice notice-warn"),
        html.Dl(rows, className="terms"),
        *([html.P(t("witness.roofed"), className="note")] if roofed else []),
        id=Ids.WITNESSES,
    )
