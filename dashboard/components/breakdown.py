"""The score in words: headline, scale, and what each indicator takes off, adding up exactly."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from dash import html
from dash.development.base_component import Component

from collateral.domain import Contribution, Score
from dashboard.components.parts import card, empty, grade_badge, graph
from dashboard.figures.score import Scale, score_scale
from dashboard.ids import Site as Ids
from dashboard.model import Viewer

FULL = 10_000
_OLD_S = 36 * 3600


def score_card(viewer: Viewer, score: Score | None, grades: Scale, zone: str, now: datetime) -> Component:
    """Value, interval, grade and support; says so when there is no score or an old one."""
    t, f = viewer.t, viewer.f
    if score is None:
        return card(t("score.title"), html.Div(empty(t("score.none_yet")), id=Ids.SCORE), className="score-card")
    age_s = (now - score.at).total_seconds()
    return card(
        t("score.title"),
        html.Div(
            [
                html.Div(
                    [
                        grade_badge(score.grade, t, large=True),
                        html.Div(
                            [
                                html.Div(
                                    [html.Strong(f.points(score.value, 1)), html.Span(t("score.of_100"))],
                                    className="headline",
                                ),
                                html.Div(t("score.between", interval=f.interval(score.lower, score.upper))),
                            ]
                        ),
                        html.Div(
                            [
                                html.Div([html.Strong(f.percent(score.support))], className="headline headline-small"),
                                html.Div(t("score.support")),
                            ]
                        ),
                    ],
                    className="score-head",
                ),
                graph(
                    score_scale(score, grades),
                    t("score.scale_label", value=f.points(score.value, 1), interval=f.interval(score.lower, score.upper)),
                ),
                html.P(t("score.grade_rule"), className="note"),
                html.P(
                    t("score.as_of", at=f.moment(score.at, zone), policy=score.policy_version, engine=score.engine_version),
                    className="note note-warn" if age_s > _OLD_S else "note",
                ),
            ],
            id=Ids.SCORE,
        ),
        className="score-card",
    )


def breakdown_card(viewer: Viewer, score: Score | None) -> Component:
    """One row per indicator; the points taken add up to what is missing from 100."""
    t, f = viewer.t, viewer.f
    if score is None:
        return card(t("breakdown.title"), empty(t("score.none_yet")))
    head = html.Tr(
        [html.Th(t(f"breakdown.{name}"), scope="col", className="" if name == "indicator" else "number")
         for name in ("indicator", "weight", "shortfall", "evidence", "points")]
    )
    taken = sum(part.points for part in score.contributions)
    rows = [_row(viewer, part) for part in sorted(score.contributions, key=lambda part: -part.points)]
    total = html.Tr(
        [
            html.Th(t("breakdown.sum"), scope="row", colSpan=4),
            html.Td(html.Strong(f"−{f.points(taken)}"), className="number"),
        ]
    )
    return card(
        t("breakdown.title"),
        html.Div(html.Table([html.Thead(head), html.Tbody(rows), html.Tfoot(total)], className="table"), className="scroll"),
        html.P(
            t("breakdown.equation", taken=f.points(taken), value=f.points(FULL - taken)),
            className="note", id="breakdown-equation",
        ),
        id=Ids.BREAKDOWN,
    )


def _row(viewer: Viewer, part: Contribution) -> Component:
    t, f = viewer.t, viewer.f
    support = _support(part.detail)
    prior = [] if part.supported else [html.Span(t("breakdown.prior"), className="tag")]
    return html.Tr(
        [
            html.Th([t.named("indicator", part.indicator), *prior], scope="row"),
            html.Td(f.number(part.weight, 0), className="number"),
            html.Td(f.percent(part.expected_shortfall, 1), className="number"),
            html.Td(f.percent(support), className="number"),
            html.Td(
                [
                    html.Span(className="bar", style={"width": f"{min(100.0, part.points / max(part.weight, 1e-9)):.1f}%"}),
                    html.Span(f"−{f.points(part.points)}" if part.points else f.points(0), className="bar-text"),
                ],
                className="number bar-cell",
            ),
        ]
    )


def _support(detail: Mapping[str, object]) -> float | None:
    support = detail.get("support")
    return float(support) if isinstance(support, (int, float)) else None
