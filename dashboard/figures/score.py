"""The score on its scale of grades, and through time with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from zoneinfo import ZoneInfo

import plotly.graph_objects as go

from collateral.domain import Score
from dashboard.figures.theme import GRADE_COLOURS, INK, LINE, SOFT_INK, dated, styled
from dashboard.i18n import Texts
from dashboard.model import HistoryPoint

Scale = Sequence[tuple[str, float]]
"""Grade and smallest points, best first."""


def score_scale(score: Score, grades: Scale) -> go.Figure:
    """Value and 95 % interval on a line from 0 to 100 coloured by the grades' thresholds."""
    ends = [100.0, *(least for _, least in grades), 0.0]
    figure = go.Figure()
    for name, (high, low) in zip([*(name for name, _ in grades), "E"], pairwise(ends), strict=True):
        figure.add_shape(
            type="rect", x0=low, x1=high, y0=-0.32, y1=0.32, line_width=0, fillcolor=GRADE_COLOURS[name],
            opacity=0.8, layer="below",
        )
        figure.add_annotation(x=(low + high) / 2, y=-0.8, text=name, showarrow=False, font={"color": SOFT_INK, "size": 12})
    low, value, high = score.lower / 100, score.value / 100, score.upper / 100
    figure.add_shape(type="line", x0=low, x1=high, y0=0, y1=0, line={"color": INK, "width": 4}, layer="below")
    for end in (low, high):
        figure.add_shape(type="line", x0=end, x1=end, y0=-0.45, y1=0.45, line={"color": INK, "width": 3}, layer="below")
    figure.add_trace(
        go.Scatter(
            x=[value], y=[0], mode="markers", hoverinfo="skip",
            marker={"size": 16, "color": "white", "line": {"color": INK, "width": 3}},
        )
    )
    styled(figure, 84)
    figure.update_layout(margin={"l": 8, "r": 8, "t": 0, "b": 20}, hovermode=False)
    figure.update_xaxes(range=[-1, 101], showgrid=False, tickvals=sorted(ends))
    figure.update_yaxes(range=[-1.1, 0.8], visible=False)
    return figure


def score_history(points: Sequence[HistoryPoint], grades: Scale, zone: str, t: Texts) -> go.Figure:
    """Value with its interval through time, dots coloured by grade."""
    local = ZoneInfo(zone)
    times = [point.at.astimezone(local).replace(tzinfo=None) for point in points]
    figure = go.Figure()
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(x=times, y=[point.upper / 100 for point in points], **band))
    lower = [point.lower / 100 for point in points]
    figure.add_trace(go.Scatter(x=times, y=lower, fill="tonexty", fillcolor="rgba(27,108,168,0.16)", **band))
    figure.add_trace(
        go.Scatter(
            x=times, y=[point.value / 100 for point in points], mode="lines+markers",
            line={"color": INK, "width": 1.5},
            marker={
                "size": 7, "color": [GRADE_COLOURS[point.grade] for point in points], "line": {"color": INK, "width": 0.7},
            },
            customdata=[[point.lower / 100, point.upper / 100, point.grade] for point in points],
            hovertemplate=t("history.hover"),
        )
    )
    for _, least in grades:
        figure.add_shape(
            type="line", x0=0, x1=1, xref="paper", y0=least, y1=least, line={"color": LINE, "width": 1, "dash": "dot"},
            layer="below",
        )
    dated(styled(figure, 240))
    figure.update_yaxes(range=[0, 102], showgrid=False, tickvals=sorted({0.0, 100.0, *(least for _, least in grades)}))
    return figure
