"""How far confidences can be believed: calibration error, Brier score, reliability table and its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from collateral.errors import UsageError
from detection.arrays import Floats
from detection.bootstrap import bootstrap, cluster_sums, ratio_of
from detection.metrics import calibration_error, wilson

BINS = 15
"""Of equal width, as in the calibration error."""
_SIDE, _MARGIN = 360, 48


def brier(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Mean squared difference of confidence and outcome (Brier 1950, Monthly Weather Review 78, 1)."""
    return float(np.mean((confidence.astype(np.float64) - right) ** 2)) if len(confidence) else 0.0


def confidence_figures(
    confidence: Floats, right: NDArray[np.bool_], cluster: NDArray[np.int64] | None = None
) -> dict[str, object]:
    """`ece` and `brier`; with the cluster of each answer also their 95 % bootstrap intervals and the `reliability` table.

    Args:
        confidence: of N answers, 0..1.
        right: whether each was right.
        cluster: number of the cluster each belongs to (see `detection.bootstrap`).
    """
    figures: dict[str, object] = {"ece": calibration_error(confidence, right, BINS), "brier": brier(confidence, right)}
    if cluster is None:
        return figures
    p, hit = confidence.astype(np.float64), right.astype(np.float64)
    squares = np.stack([(p - hit) ** 2, np.ones(len(p))], 1)
    return {
        **figures,
        "ece_interval95": bootstrap(cluster_sums(_binned(p, hit), cluster), _ece_of_sums),
        "brier_interval95": bootstrap(cluster_sums(squares, cluster), ratio_of(0, 1)),
        "reliability": reliability_table(confidence, right),
    }


def _binned(p: NDArray[np.float64], hit: NDArray[np.float64]) -> NDArray[np.float64]:
    """N x 2 BINS: the gap p - hit in the answer's bin, and one answer there."""
    out = np.zeros((len(p), 2 * BINS))
    index = np.minimum((p * BINS).astype(int), BINS - 1)
    out[np.arange(len(p)), index] = p - hit
    out[np.arange(len(p)), BINS + index] = 1
    return out


def _ece_of_sums(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.abs(sums[:, :BINS]).sum(axis=1) / np.maximum(sums[:, BINS:].sum(axis=1), 1))


def reliability_table(confidence: Floats, right: NDArray[np.bool_]) -> list[dict[str, object]]:
    """One row per bin that holds answers: limits, number, mean confidence, share right and its 95 % interval."""
    index = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rows: list[dict[str, object]] = []
    for number in range(BINS):
        chosen = index == number
        n, hits = int(chosen.sum()), int(right[chosen].sum())
        if n:
            rows.append({
                "low": number / BINS,
                "high": (number + 1) / BINS,
                "n": n,
                "confidence": float(confidence[chosen].mean()),
                "right": hits / n,
                "interval95": list(wilson(hits, n)),
            })  # fmt: skip
    return rows


def reliability_svg(title: str, rows: Sequence[Mapping[str, object]], note: str = "") -> str:
    """The table as a picture: share right over confidence with its interval, the number of answers as bars."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIDE + 2 * _MARGIN} {_SIDE + 2 * _MARGIN + 20}" '
        f'font-family="sans-serif" font-size="12" role="img"><title>{escape(title)}</title>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_MARGIN}" y="20" font-size="14">{escape(title)}</text>',
        f'<text x="{_MARGIN}" y="36" fill="#555">{escape(note)}</text>',
        *_axes(),
    ]
    most = max((float(str(row["n"])) for row in rows), default=1.0)
    for row in rows:
        parts += _mark({k: float(str(row[k])) for k in ("low", "high", "n", "confidence", "right")}, row["interval95"], most)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(value: float) -> float:
    return round(_MARGIN + value * _SIDE, 1)


def _y(value: float) -> float:
    return round(_MARGIN + (1 - value) * _SIDE, 1)


def _axes() -> list[str]:
    lines = [
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#999" stroke-dasharray="4 4"/>',
        f'<rect x="{_x(0)}" y="{_y(1)}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#333"/>',
    ]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        lines.append(f'<text x="{_x(tick)}" y="{_y(0) + 16}" text-anchor="middle">{tick:g}</text>')
        lines.append(f'<text x="{_x(0) - 6}" y="{_y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    lines.append(f'<text x="{_x(0.5)}" y="{_y(0) + 34}" text-anchor="middle">confidence</text>')
    lines.append(f'<text transform="translate(14 {_y(0.5)}) rotate(-90)" text-anchor="middle">share right</text>')
    return lines


def _mark(row: Mapping[str, float], interval: object, most: float) -> list[str]:
    low, high = interval if isinstance(interval, (list, tuple)) else (row["right"], row["right"])
    width, height = (row["high"] - row["low"]) * _SIDE, row["n"] / most * 0.25
    said = f"{row['n']:.0f} answers, confidence {row['confidence']:.2f}, right {row['right']:.2f}"
    return [
        f'<g><title>{said}</title>',
        f'<rect x="{_x(row["low"])}" y="{_y(height)}" width="{width:.1f}" height="{height * _SIDE:.1f}" fill="#dbe4f0"/>',
        f'<line x1="{_x(row["confidence"])}" x2="{_x(row["confidence"])}" y1="{_y(low)}" y2="{_y(high)}" stroke="#20558a"/>',
        f'<circle cx="{_x(row["confidence"])}" cy="{_y(row["right"])}" r="4" fill="#20558a"/></g>',
    ]


def write_reliability(path: Path, title: str, figures: Mapping[str, object]) -> None:
    """Writes the plot of figures that hold `reliability`. Raises `UsageError` for another suffix than .svg."""
    if path.suffix.lower() != ".svg":
        raise UsageError(f"The reliability plot is written as SVG: name a file with that suffix, not {path.name}.")
    rows = figures.get("reliability")
    note = ", ".join(f"{key} {float(str(figures[key])):.3f}" for key in ("ece", "brier") if key in figures)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(reliability_svg(title, rows if isinstance(rows, list) else [], note), encoding="utf-8")
