"""How a check says what it found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    ok = "ok"
    warning = "warn"
    wrong = "wrong"


@dataclass(frozen=True)
class Finding:
    level: Level
    what: str
    found: str
    fix: str = ""
