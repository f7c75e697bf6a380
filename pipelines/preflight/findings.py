"""The findings of checks."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from components.contract.errors import InputError


class Level(StrEnum):
    """An error keeps a run from starting; a warning does not."""

    ok = "ok"
    warning = "warning"
    error = "error"


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        what: the configuration key or the thing that was checked.
        found: the result, without a line break.
        fix: how to fix it; empty if there is nothing to fix.
    """

    level: Level
    what: str
    found: str
    fix: str = ""

    @classmethod
    def ok(cls, what: str, found: str) -> "Finding":
        return cls(Level.ok, what, found)

    @classmethod
    def warning(cls, what: str, found: str, fix: str = "") -> "Finding":
        return cls(Level.warning, what, found, fix)

    @classmethod
    def error(cls, what: str, found: str, fix: str = "") -> "Finding":
        return cls(Level.error, what, found, fix)

    @property
    def text(self) -> str:
        return f"{self.found}; {self.fix}" if self.fix else self.found


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that keep a run from starting."""
    return [finding for finding in findings if finding.level is Level.error]


def refuse_errors(findings: Iterable[Finding], summary: str = "") -> None:
    """Raise InputError if there are errors; its message names all of them after `summary`."""
    reasons = []
    for error in errors_of(findings):
        # Messages about a configuration key often begin with it.
        found = error.found if error.found.startswith(error.what) else f"{error.what}: {error.found}"
        reasons.append(f"{found} ({error.fix})" if error.fix else found)
    if reasons:
        raise InputError(f"{summary}: {'; '.join(reasons)}" if summary else "; ".join(reasons))
