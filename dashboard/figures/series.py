"""One quantity in time beside its normal band."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

from collateral.domain import Quality, Source
from dashboard.figures.theme import ABOVE, BAND, DOUBT, INSIDE, SOFT_INK, dated, styled
from dashboard.i18n import Texts
from dashboard.normal import Chart


def series(chart: Chart, zone: str, t: Texts) -> go.Figure:
    """Telemetry as a line, pictures as dots with their 95 % interval; doubtful and bad values are hollow.

    Days on which the readings behind a value are doubted are hatched.
    """
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
    _hatch(figure, chart.doubted)
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
    figure.update_layout(yaxis={"rangemode": "tozero", "nticks": 4})
    figure.update_xaxes(nticks=4, tickangle=0)
    return figure


def _hatch(figure: go.Figure, runs: Sequence[tuple[date, date]]) -> None:
    """Days on which readings are doubted, from edge to edge of the figure."""
    if not runs:
        return
    x: list[datetime | None] = []
    y: list[float | None] = []
    for first, last in runs:
        begin, end = datetime.combine(first, time()), datetime.combine(last + timedelta(days=1), time())
        x += [begin, begin, end, end, None]
        y += [0.0, 1.0, 1.0, 0.0, None]
    figure.add_trace(
        go.Scatter(
            x=x, y=y, yaxis="y2", mode="lines", line={"width": 0}, hoverinfo="skip", fill="toself",
            fillpattern={"shape": "/", "fgcolor": DOUBT, "bgcolor": "rgba(0,0,0,0)", "size": 6, "solidity": 0.35},
        )
    )
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})


def _interval(chart: Chart) -> dict[str, object]:
    return {
        "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": ABOVE,
        "array": [one.upper - one.value for one in chart.points],
        "arrayminus": [one.value - one.lower for one in chart.points],
    }
