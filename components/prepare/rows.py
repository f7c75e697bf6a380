"""Rows of prompt files, usable and not."""

from dataclasses import dataclass
from typing import Any

_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """A row by its number, from 1: the line of JSON Lines, the position of the others."""

    number: int
    columns: dict[str, Any]
    file: str = ""
    """Its name, where rows come from several."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used, and why."""

    number: int
    reason: str
    file: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, [self.file, f"row {self.number}: {self.reason}"]))

    @property
    def place(self) -> tuple[str, int]:
        """Key by which bad rows are sorted."""
        return self.file, self.number


def describe_bad(bad: list[BadRow]) -> str:
    """Describe the first ten in full, and count the rest."""
    shown = "; ".join(str(row) for row in bad[:_SHOWN])
    return shown + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")
