"""A model card as a page for people (docs/model-cards/NAME.md). A test keeps page and card the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detection.weightfile import Card

_FIGURES = [
    "n",
    "images",
    "objects",
    "f1_iou30",
    "f1_iou50",
    "precision_iou30",
    "recall_iou30",
    "count_error",
    "count_error_group",
    "precision",
    "recall",
    "f1",
    "iou",
    "area_error",
    "accuracy",
    "interval95",
    "balanced_accuracy",
    "unknown",
    "ece",
    "threshold",
]


def page(card: Card) -> str:
    """Markdown of one card."""
    return "\n".join(_lines(card)) + "\n"


def _lines(card: Card) -> Iterator[str]:
    yield f"# {card.name}"
    yield ""
    yield f"Network `{card.network}`; grid {card.gsd_m} m per pixel; bands {card.bands}; SHA-256 `{card.sha256}`."
    yield (
        f"Threshold {card.threshold:.3f} on the confidence, calibrated as sigmoid({card.calibration[0]:.3f} logit(raw) "
        f"{card.calibration[1]:+.3f}); both from {card.held_out}."
    )
    yield ""
    yield "## Training data"
    yield ""
    yield "| source | licence | pictures | objects |"
    yield "|---|---|---|---|"
    for row in card.training_data:
        yield f"| {row['source']} | {row['licence']} | {row['pictures']} | {row['objects']} |"
    yield ""
    yield "Schedule: " + ", ".join(f"{key} {value}" for key, value in card.config.items()) + "."
    yield ""
    yield "## Figures (data that was not trained on)"
    for title, figures in card.figures.items():
        if isinstance(figures, Mapping):
            yield from _table(title, figures)
    yield ""
    yield "## Known to fail"
    yield ""
    yield from (f"- {failure}" for failure in card.known_failures)


def _table(title: str, figures: Mapping[str, object]) -> Iterator[str]:
    yield ""
    yield f"### {title}"
    yield ""
    columns: dict[str, Mapping[str, object]] = {"all": figures}
    for part in ("by_source", "by_group"):
        groups = figures.get(part)
        if isinstance(groups, Mapping):
            columns.update({str(name): values for name, values in groups.items() if isinstance(values, Mapping)})
    yield "| | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for key in _FIGURES:
        if key in figures:
            yield f"| {key} | " + " | ".join(_shown(values.get(key)) for values in columns.values()) + " |"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return " to ".join(_shown(v) for v in value)
    return "" if value is None else str(value)
