"""What is wrong with a portfolio folder, said so that the person who made it can mend it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Whether a problem stops the import."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Problem:
    """One finding."""

    file: str
    row: int | None
    """Row as a spreadsheet counts it (the header is 1), in GeoJSON the feature counted from 1; None for the whole file."""
    problem: str
    remedy: str
    severity: Severity = Severity.ERROR

    def line(self) -> str:
        """For people."""
        place = self.file if self.row is None else f"{self.file}:{self.row}"
        return f"{self.severity} {place}: {self.problem} {self.remedy}"


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Those that stop the import."""
    return [one for one in problems if one.severity is Severity.ERROR]


def as_json(problems: Sequence[Problem]) -> list[dict[str, object]]:
    """For `--json`."""
    return [asdict(one) for one in problems]


def as_text(problems: Sequence[Problem], limit: int = 60) -> str:
    """One line each, errors first, cut after `limit`."""
    ranked = sorted(problems, key=lambda one: one.severity is not Severity.ERROR)
    lines = [one.line() for one in ranked[:limit]]
    if len(ranked) > limit:
        lines.append(f"... and {len(ranked) - limit} more; --json lists all.")
    return "\n".join(lines)
