"""The findings of checks."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

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
        subject: the configuration key or the thing that was checked.
        result: the result, without a line break.
        fix: how to fix it; empty if there is nothing to fix.
    """

    level: Level
    subject: str
    result: str
    fix: str = ""

    @classmethod
    def ok(cls, subject: str, result: str) -> "Finding":
        return cls(Level.ok, subject, result)

    @classmethod
    def warning(cls, subject: str, result: str, fix: str = "") -> "Finding":
        return cls(Level.warning, subject, result, fix)

    @classmethod
    def error(cls, subject: str, result: str, fix: str = "") -> "Finding":
        return cls(Level.error, subject, result, fix)

    @property
    def text(self) -> str:
        return f"{self.result}; {self.fix}" if self.fix else self.result


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that keep a run from starting."""
    return [finding for finding in findings if finding.level is Level.error]


def refuse_errors(findings: Iterable[Finding], summary: str = "") -> None:
    """Raise InputError if there are errors; its message names all of them after `summary`."""
    reasons = []
    for error in errors_of(findings):
        # Messages about a configuration key often begin with it.
        result = error.result if error.result.startswith(error.subject) else f"{error.subject}: {error.result}"
        reasons.append(f"{result} ({error.fix})" if error.fix else result)
    if reasons:
        raise InputError(f"{summary}: {'; '.join(reasons)}" if summary else "; ".join(reasons))


def check_pod_path(key: str, text: str, alternatives: str) -> Finding:
    """Refuse a path on this machine. An absolute path that does not exist here may exist in the pods.

    Args:
        key: configuration key of the path.
        alternatives: values that pods can reach, for the message.
    """
    path = Path(text.removeprefix("file://")).expanduser()
    # Unlike Path.exists, this returns False for what is in a directory that this user may not search.
    if path.is_absolute() and not os.path.exists(path):  # noqa: PTH110
        return Finding.ok(key, f"{text}, expected in the pods")
    return Finding.error(key, f"{text} is on this machine", f"copy it where pods can reach it, and give {alternatives}")
