"""Colours and the common look of all figures. Colours of grades differ in lightness too, and a letter stands beside each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

GRADE_COLOURS: Mapping[str, str] = {
    "A": "#1b6ca8", "B": "#8cc3e0", "C": "#f2d36b", "D": "#ea8a3a", "E": "#b2182b", "U": "#6b7280",
}
"""Blue to red through yellow (told apart with red-green weakness), grey for unknown."""
INK = "#1c2733"
SOFT_INK = "#5b6774"
LINE = "#d9dfe6"
ABOVE = "#8a4fa3"
INSIDE = "#0f766e"
BAND = "rgba(91, 103, 116, 0.16)"
DOUBT = "rgba(180, 83, 9, 0.55)"
FONT = (
    'system-ui, -apple-system, "Segoe UI", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "WenQuanYi Micro Hei",'
    " sans-serif"
)

GRAPH_OPTIONS: Any = {"displayModeBar": False, "responsive": True, "scrollZoom": False}
"""For `dcc.Graph(config=...)`."""


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The common look: quiet axes, no title, margins for labels only."""
    figure.update_layout(
        height=height,
        margin={"l": 44, "r": 12, "t": 10, "b": 30},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 12, "color": INK},
        showlegend=False,
        hovermode="x unified",
        hoverlabel={"font": {"family": FONT, "size": 12}},
        dragmode=False,
    )
    figure.update_xaxes(
        gridcolor=LINE, zeroline=False, linecolor=LINE, tickfont={"color": SOFT_INK}, fixedrange=True,
    )
    figure.update_yaxes(gridcolor=LINE, zeroline=False, linecolor=LINE, tickfont={"color": SOFT_INK}, fixedrange=True)
    return figure


def dated(figure: go.Figure) -> go.Figure:
    """Times on the horizontal axis in digits: the same in every language."""
    figure.update_xaxes(type="date", hoverformat="%Y-%m-%d %H:%M", tickformat="%Y-%m-%d")
    return figure
