"""`collateral models list`, `card` and `verify`."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict, replace
from pathlib import Path

from collateral.command import Command, Outcome
from collateral.errors import UsageError
from collateral.progress import progress
from collateral.settings import Settings
from detection.card_page import failure_text, html_page, page
from detection.gallery import Written, read_gallery
from detection.weightfile import Card, default_path, read_card, read_weights, shipped, write_card, write_text

_SHOWN = 6
"""Pictures of failures on a card."""


def _list(args: argparse.Namespace, settings: Settings) -> Outcome:
    cards = [read_card(default_path(name)) for name in shipped()]
    rows = [
        {
            "name": c.name, "network": c.network, "sha256": c.sha256, "gsd_m": c.gsd_m, "bands": c.bands,
            "bytes": default_path(c.name).stat().st_size, "threshold": c.threshold,
            "licences": sorted({str(row.get("licence", "")) for row in c.training_data}), "figures": sorted(c.figures),
        }
        for c in cards
    ]  # fmt: skip
    text = "\n".join(
        f"{c.name:<20}{c.network:<10}{c.gsd_m:.2f} m  {default_path(c.name).stat().st_size / 2**20:5.1f} MB  {c.sha256[:16]}"
        for c in cards
    )
    return Outcome({"models": rows}, text)


def _configure_card(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=f"name of shipped weights: {', '.join(shipped())}")
    parser.add_argument("--write", type=Path, metavar="DIR", help="also write NAME.md into this folder (docs/model-cards)")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the card as one HTML page")
    parser.add_argument(
        "--gallery", type=Path, metavar="DIR", help="show its worst cases on the page; with --write a rendered one only"
    )


def _card(args: argparse.Namespace, settings: Settings) -> Outcome:
    if args.name not in shipped():
        raise UsageError(f"There are no shipped weights {args.name!r}; there are {', '.join(shipped())}.")
    if args.gallery is not None and args.html is None and args.write is None:
        raise UsageError("--gallery belongs to --html FILE or --write DIR: name the page that shall show its pictures.")
    card = read_card(default_path(args.name))
    if args.write is not None:
        if not args.write.is_dir():
            raise UsageError(f"{args.write} is no folder; name an existing one for {card.name}.md.")
        if args.gallery is not None:
            card = _with_pictures(card, args.write, read_gallery(args.gallery))
        write_text(args.write / f"{card.name}.md", page(card))
    if args.html is not None:
        write_text(args.html, html_page(card, args.gallery))
    return Outcome(asdict(card), page(card))


def _with_pictures(card: Card, folder: Path, gallery: Written) -> Card:
    """Copies the worst cases of a gallery beside the page and names them in the card."""
    if not gallery.rendered:
        raise UsageError(f"{gallery.folder} shows real places: such pictures stay local. Use --html, or a rendered gallery.")
    (folder / "pictures").mkdir(exist_ok=True)
    for old in (folder / "pictures").glob(f"{card.name}-[0-9].jpg"):
        old.unlink()
    rows = []
    for number, case in enumerate(gallery.worst(_SHOWN)):
        file = f"pictures/{card.name}-{number}.jpg"
        (folder / file).write_bytes((gallery.folder / str(case["file"])).read_bytes())
        rows.append({"file": file, "text": failure_text(case)})
    done = replace(card, failure_pictures=tuple(rows))
    write_card(default_path(card.name), done)
    return done


def _verify(args: argparse.Namespace, settings: Settings) -> Outcome:
    """Raises at the first weights file that is not its card's; derived models are reported."""
    verified = {}
    for name in progress(shipped(), "verifying", unit="file"):
        card = read_card(default_path(name))
        read_weights(default_path(name), card.network)
        verified[name] = card.sha256
    derived = _derived(settings.runtime / "models", set(verified.values()))
    broken = [row for row in derived if row["state"] == "damaged"]
    lines = [*(f"{name:<20}{sha}" for name, sha in verified.items()), *(f"{r['file']}: {r['state']}" for r in derived)]
    text = "\n".join(lines)
    return Outcome({"verified": verified, "derived": derived}, text, ok=not broken)


def _derived(cache: Path, known: set[str]) -> list[dict[str, str]]:
    """Models in the cache: 'in use', 'damaged', or 'left over' from weights that are not shipped (any more)."""
    paths = sorted(cache.glob("*.xml")) if cache.is_dir() else []
    return [{"file": path.name, "state": _state(path, known)} for path in paths]


def _state(path: Path, known: set[str]) -> str:
    """A model says which weights it was made from; its name says so too (see `detection.runtime_openvino`)."""
    named = next((sha for sha in known if sha.startswith(path.name.split("-")[0])), None)
    binary = path.with_suffix(".bin")
    content = path.read_text(encoding="utf-8", errors="replace")
    told = re.search(r'<source_sha256 value="([0-9a-f]{64})"', content)
    source = told.group(1) if told else None
    if named is None or source is None:
        return "left over"
    whole = binary.is_file() and binary.stat().st_size > 0 and content.rstrip().endswith("</net>")
    return "in use" if whole and source == named else "damaged"


MODEL_COMMANDS: dict[str, Command] = {
    "models list": Command(
        "the detectors that are installed: grid, size, licences of the training data", "collateral models list", _list
    ),
    "models card": Command(
        "print one model card, or write it as a page", "collateral models card vehicles --html vehicles.html", _card,
        _configure_card,
    ),
    "models verify": Command(
        "check every weights file against its card, and the models derived from them", "collateral models verify", _verify
    ),
}  # fmt: skip
