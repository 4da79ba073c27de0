"""One quantity in time beside its normal band."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import plotly.graph_objects as go

from collateral.domain import Quality, Source
from dashboard.figures.theme import ABOVE, BAND, INSIDE, SOFT_INK, dated, styled
from dashboard.i18n import Texts
from dashboard.normal import Chart


def series(chart: Chart, zone: str, t: Texts) -> go.Figure:
    """Telemetry as a line, pictures as dots with their 95 % interval; doubtful and bad values are hollow."""
    local = ZoneInfo(zone)
    figure = go.Figure()
    if chart.band:
        days = [band.day for band in chart.band]
        quiet = {"mode": "lines", "hoverinfo": "skip"}
        edge = {"width": 0, "shape": "hvh"}
        low = [band.low for band in chart.band]
        figure.add_trace(go.Scatter(x=days, y=[band.high for band in chart.band], line=edge, **quiet))
        figure.add_trace(go.Scatter(x=days, y=low, fill="tonexty", fillcolor=BAND, line=edge, **quiet))
        middle = [band.middle for band in chart.band]
        figure.add_trace(
            go.Scatter(x=days, y=middle, line={"width": 1, "dash": "dot", "color": SOFT_INK, "shape": "hvh"}, **quiet)
        )
    if chart.reference is not None:
        figure.add_hline(y=chart.reference, line={"width": 1, "dash": "dot", "color": SOFT_INK}, layer="below")
    above = chart.source is Source.IMAGERY
    colour = ABOVE if above else INSIDE
    figure.add_trace(
        go.Scatter(
            x=[one.valid_from.astimezone(local).replace(tzinfo=None) for one in chart.points],
            y=[one.value for one in chart.points],
            mode="markers" if above else "lines+markers",
            line={"color": colour, "width": 1.5},
            marker={
                "size": 8 if above else 4,
                "color": [colour if one.quality is Quality.GOOD else "white" for one in chart.points],
                "line": {"color": colour, "width": 1.5 if above else 1},
            },
            error_y=_interval(chart) if above else None,
            customdata=[[one.lower, one.upper, t(f"quality.{one.quality}")] for one in chart.points],
            hovertemplate=t("series.hover"),
        )
    )
    dated(styled(figure, 170))
    figure.update_yaxes(rangemode="tozero", nticks=4)
    figure.update_xaxes(nticks=4, tickangle=0)
    return figure


def _interval(chart: Chart) -> dict[str, object]:
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": ABOVE,
        "array": [one.upper - one.value for one in chart.points],
        "arrayminus": [one.value - one.lower for one in chart.points],
    }
