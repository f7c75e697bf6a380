"""Extraction of the final answer from a text, by the conventions that data sets and models share."""

import re
from typing import Literal, get_args

Style = Literal["auto", "boxed", "####", "A:", "last"]
STYLES = get_args(Style)

NUMBER = re.compile(
    r"""(?P<sign>(?<![\w.)\]])[-+\u2212])?        # a sign counts only where it cannot stand between two operands
    [$€£]?
    (?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    (?P<exponent>[eE][-+]?\d{1,3}(?!\d))?
    (?:\s?/\s?(?P<denominator>\d+(?:\.\d+)?))?
    """,
    re.VERBOSE,
)
_HASHES = re.compile(r"\#{4}")
_MARKER = re.compile(r"\bA:|(?i:\banswer[*_]*\s*(?:is\b|:|=))[*_]*:?")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")
_BETWEEN_BOXES = re.compile(r"[\s$.,;]*(?:\\text\s*\{)?\s*(?:and|or|,|;|\$)?\s*\}?[\s$,;]*")


def final_answer(text: str, style: Style = "auto") -> str | None:
    r"""Return the final answer of a worked solution, as it is written; None where there is none in that style.

    | style   | what it is                                                                  |
    |---------|-----------------------------------------------------------------------------|
    | `boxed` | the content of the last `\boxed{}`; boxes joined by commas or `and` are a list |
    | `####`  | the rest of the line after the last `####` (GSM8K)                            |
    | `A:`    | the rest of the line after the last `A:`, `Answer:` or `answer is`             |
    | `last`  | the last number                                                             |
    | `auto`  | the first of `boxed`, `####` and `A:` that is there                           |
    """
    match style:
        case "boxed":
            return last_boxed(text)
        case "####":
            return _after(_HASHES, text)
        case "A:":
            return _after(_MARKER, text)
        case "last":
            numbers = list(NUMBER.finditer(text))
            return numbers[-1].group().strip() if numbers else None
    found = (final_answer(text, explicit) for explicit in ("boxed", "####", "A:"))
    return next((answer for answer in found if answer is not None), None)


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{...}`, with the boxes before it in the same list; None without one.

    A box that is never closed reaches to the end of its line.
    """
    boxes = [(box.start(), *_content(text, box.end())) for box in _BOX.finditer(text)]
    if not boxes:
        return None
    joined = [boxes.pop()]
    while boxes and _BETWEEN_BOXES.fullmatch(text[boxes[-1][2] : joined[0][0]]) and boxes[-1][2] < joined[0][0]:
        joined.insert(0, boxes.pop())
    return ", ".join(dict.fromkeys(content for _, content, _ in joined))


def _content(text: str, begin: int) -> tuple[str, int]:
    r"""Return the content of a box that opens at `begin`, and its end; `\boxed 5` has one word."""
    if not text.startswith("{", begin):
        word = re.compile(r"[^\s$\\]*").match(text, begin)
        assert word is not None
        return word.group(), word.end()
    depth = 0
    for place in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0) if text[place - 1] != "\\" else 0
        if depth == 0:
            return text[begin + 1 : place].strip(), place + 1
    return text[begin + 1 :].partition("\n")[0].strip(), len(text)


def _after(marker: re.Pattern[str], text: str) -> str | None:
    places = list(marker.finditer(text))
    if not places:
        return None
    line = text[places[-1].end() :].lstrip().partition("\n")[0]
    return line.strip().strip("*_").rstrip(".").strip() or None
