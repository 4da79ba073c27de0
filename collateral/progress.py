"""Progress bars on standard error, only when the work takes longer than two seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], label: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yields `items` while a bar named `label` is drawn; nothing is drawn for work of less than two seconds."""
    yield from tqdm(items, desc=label, total=total, unit=unit, delay=2.0, mininterval=0.5, dynamic_ncols=True)
