"""Lines of the pages' examples, to compare with what the program prints."""

import re
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs"


def undocumented(said: str, page: str) -> list[str]:
    """Return the lines that a page does not show, with whatever names, IDs, times and addresses."""
    shown = {_general(line) for line in (PAGES / page).read_text("utf-8").splitlines()}
    return [line for line in map(_general, said.splitlines()) if line not in shown]


def _general(line: str) -> str:
    for pattern, word in (
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"\b(adder|my-first)\b", "NAME"),
        (r"-\d{8}-\d{4}-[0-9a-f]{8}", "-DUE"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "TIME"),
        (r"\d+ min", "MINUTES"),
        (r"https?://\S+", "URL"),
        (r"s3://[^;\s]+", "STORE"),
    ):
        line = re.sub(pattern, word, line)
    return line
