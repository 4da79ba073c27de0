"""A model card as a page for people: Markdown (docs/model-cards/NAME.md; a test keeps page and card the same) or HTML."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from detection.gallery import Written, read_gallery
from detection.weightfile import Card

_FIGURES = [
    "n",
    "images",
    "objects",
    "f1_iou30",
    "f1_iou30_interval95",
    "f1_iou50",
    "precision_iou30",
    "recall_iou30",
    "count_error",
    "count_error_group",
    "precision",
    "recall",
    "f1",
    "iou",
    "iou_interval95",
    "area_error",
    "fault_accuracy",
    "accuracy",
    "interval95",
    "balanced_accuracy",
    "unknown",
    "ece",
    "ece_interval95",
    "brier",
    "brier_interval95",
    "threshold",
]
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1b2430;background:#fff}
table{border-collapse:collapse;display:block;overflow-x:auto;margin:.5rem 0}
td,th{border-bottom:1px solid #d5dce5;padding:3px 10px;text-align:left;font-variant-numeric:tabular-nums}
code{overflow-wrap:anywhere}figure{display:inline-block;margin:0 10px 10px 0;width:200px;vertical-align:top}
figure img{width:100%;border-radius:4px}figcaption{font-size:13px}
"""


@dataclass(frozen=True)
class Block:
    """One part of the page."""

    kind: str
    """h1, h2, h3, p, list, pictures (text, file) or table (first row: its head)."""
    text: str = ""
    rows: tuple[tuple[str, ...], ...] = ()


def page(card: Card) -> str:
    """Markdown of one card."""
    return "\n".join(line for block in _blocks(card) for line in _markdown(block)).rstrip() + "\n"


def html_page(card: Card, gallery: Path | None = None, most: int = 12) -> str:
    """The same as one HTML file; with a `gallery` folder its strongest errors are shown, inside the file.

    Raises `InvalidInputError` when `gallery` is none.
    """
    shown = _pictures(read_gallery(gallery), most) if gallery is not None else ""
    body = "".join(_html(block) for block in _blocks(card))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Model card: {escape(card.name)}</title>'
        f"<style>{_STYLE}</style>{body}{shown}</html>\n"
    )


def _markdown(block: Block) -> Iterator[str]:
    if block.kind == "table":
        for number, row in enumerate(block.rows):
            yield "| " + " | ".join(row) + " |"
            if number == 0:
                yield "|---" * len(row) + "|"
    elif block.kind == "pictures":
        yield " ".join(f"![{text}]({file})" for text, file in block.rows)
    elif block.kind == "list":
        yield from (f"- {row[0]}" for row in block.rows)
    else:
        mark = {"h1": "# ", "h2": "## ", "h3": "### "}.get(block.kind, "")
        yield mark + block.text
    yield ""


def _html(block: Block) -> str:
    if block.kind == "table":
        head = "".join(f"<th>{escape(cell)}</th>" for cell in block.rows[0])
        rest = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows[1:])
        return f"<table><tr>{head}</tr>{rest}</table>"
    if block.kind in ("list", "pictures"):
        return "<ul>" + "".join(f"<li>{escape(row[0])}</li>" for row in block.rows) + "</ul>"
    return f"<{block.kind}>{escape(block.text)}</{block.kind}>"


def _pictures(gallery: Written, most: int) -> str:
    figures = []
    for case in gallery.worst(most):
        data = base64.b64encode((gallery.folder / str(case["file"])).read_bytes()).decode()
        text = escape(failure_text(case))
        figures.append(f'<figure><img alt="" src="data:image/jpeg;base64,{data}"><figcaption>{text}</figcaption></figure>')
    return f"<h2>Where it fails, in pictures</h2><div>{''.join(figures)}</div>"


def failure_text(case: Mapping[str, object]) -> str:
    """What a case of a gallery is, in a few words."""
    return f"{case['kind']}, {case['name']}, {float(str(case['confidence'])):.2f}"


def _blocks(card: Card) -> Iterator[Block]:
    yield Block("h1", card.name)
    grid = f"grid {card.gsd_m} m per pixel; bands {card.bands}" if card.gsd_m else f"bands {card.bands}"
    yield Block("p", f"Network `{card.network}`; {grid}; SHA-256 `{card.sha256}`.")
    yield Block("p", f"Threshold {card.threshold:.3f} on the confidence, {_calibration(card)}; both from {card.held_out}.")
    yield Block("h2", "Training data")
    keys = ("source", "licence", "pictures", "objects")
    yield Block("table", rows=(keys, *(tuple(str(row.get(key, "")) for key in keys) for row in card.training_data)))
    plain = ((key, value) for key, value in card.config.items() if not isinstance(value, Mapping))
    yield Block("p", "Schedule: " + ", ".join(f"{key} {value}" for key, value in plain) + ".")
    if card.versions:
        yield Block("p", "Trained with " + ", ".join(f"{key} {value}" for key, value in card.versions.items()) + ".")
    if card.data_digest:
        digests = ", ".join(f"{key} {str(value)[:16]}" for key, value in card.data_digest.items())
        yield Block("p", f"Data read (SHA-256): {digests}.")
    yield from _confidence(card)
    yield Block("h2", "Figures (data that was not trained on)")
    for title, figures in card.figures.items():
        if isinstance(figures, Mapping):
            yield Block("h3", title)
            yield _table(figures)
    yield Block("h2", "Known to fail")
    yield Block("list", rows=tuple((failure,) for failure in card.known_failures))
    if card.failure_pictures:
        yield Block("pictures", rows=tuple((row["text"], row["file"]) for row in card.failure_pictures))


def _calibration(card: Card) -> str:
    chosen = card.calibrator.get("chosen")
    method = str(chosen.get("method")) if isinstance(chosen, Mapping) else "platt"
    slope, intercept = card.calibration
    if method == "platt":
        return f"calibrated as sigmoid({slope:.3f} logit(raw) {intercept:+.3f})"
    return f"calibrated by {method} (plain: sigmoid({slope:.3f} logit(raw) {intercept:+.3f}))"


def _confidence(card: Card) -> Iterator[Block]:
    about = card.config.get("presence_calibrator") or card.calibrator
    compared = about.get("compared_on_left_out_groups") if isinstance(about, Mapping) else None
    if isinstance(compared, Sequence) and compared:
        yield Block("h2", "Calibration, compared on groups left out in turn")
        keys = ("method", "log_loss", "brier", "ece")
        yield Block("table", rows=(keys, *(tuple(_shown(row[key]) for key in keys) for row in compared)))
    if card.counting:
        yield Block("h2", "Counting")
        yield Block("p", "Counts are corrected by ratio / recall; place_spread is that of log counts between places.")
        columns = ("label", "gsd_m", "groups", "pictures", "objects", "recall", "recall95", "ratio", "place_spread")
        yield Block("table", rows=(columns, *(tuple(_shown(row.get(key)) for key in columns) for row in card.counting)))


def _table(figures: Mapping[str, object]) -> Block:
    columns: dict[str, Mapping[str, object]] = {"all": figures}
    for part in ("by_source", "by_group"):
        groups = figures.get(part)
        if isinstance(groups, Mapping):
            columns.update({str(name): values for name, values in groups.items() if isinstance(values, Mapping)})
    rows = [("", *columns)]
    rows += [(key, *(_shown(values.get(key)) for values in columns.values())) for key in _FIGURES if key in figures]
    return Block("table", rows=tuple(rows))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, (list, tuple)):
        return " to ".join(_shown(v) for v in value)
    return "" if value is None else str(value)
