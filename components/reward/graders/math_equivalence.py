"""Equivalence of two mathematical answers.

Answers whose form decides are compared here, exactly and in microseconds: numbers, units, words, numerals of another
base, lists, tuples and sets, intervals and the inequalities that describe them. Everything else goes to math-verify.
"""

import logging
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from math_verify import parse, verify

from components.reward.graders.math_notation import Written, conversion, number, plain

# It warns once that its time limit is off; here the grading process enforces the limit.
logging.getLogger("math_verify").setLevel(logging.ERROR)

_BRACKETS = {"(": ")", "[": "]", "\\{": "\\}"}
_BASE = re.compile(r"\(?(?P<digits>[0-9][0-9A-Za-z]*)\)?_\{?[\s(]*(?P<base>\w+)[\s)]*\}?")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "sixteen": 16}  # fmt: skip
_ASSIGNMENT = re.compile(
    r"(?P<left>[a-zA-Z](?:\([a-zA-Z]\))?(?:_\{?\w\}?)?|\((?:\s*\\?[a-zA-Z]+\s*,?)+\))\s*=(?P<right>[^=]+)"
)
_MEMBER = re.compile(r"[a-zA-Z]\s*\\in(?![a-zA-Z])\s*(.+)")
_BUILDER = re.compile(r"\\\{\s*[a-zA-Z]\s*(?:\\in(?![a-zA-Z])[^|:]*?)?(?:\\mid|\||:)(.+)\\\}", re.DOTALL)
_MATRIX = re.compile(r"\\begin\{[pbv]?matrix\}(.*)\\end\{[pbv]?matrix\}", re.DOTALL)
_SIGN = r"(<=|>=|<|>|\\leq?(?![a-z])|\\geq?(?![a-z])|\\lt(?![a-z])|\\gt(?![a-z])|\u2264|\u2265)"
_PLAIN_SIGN = {"\\le": "<=", "\\leq": "<=", "\\ge": ">=", "\\geq": ">=", "\\lt": "<", "\\gt": ">",
               "\u2264": "<=", "\u2265": ">="}  # fmt: skip
_OR = re.compile(r"\s+or\s+")
_AND = re.compile(r"\s*,?\s+(?:and|or)\s+|\s*,?\s*\\text\s*\{\s*,?\s*(?:and|or)\s*\}\s*")


def equivalent(found: str, expected: str) -> bool:
    """Return whether the answer `found` means the same as `expected`, both as they were written."""
    return not _contradicts(found) and _same(plain(found), plain(expected))


def _same(found: Written, expected: Written) -> bool:
    if expected.is_words or found.is_words:
        return _letters(found) == _letters(expected)
    if not found.text or not expected.text:
        return False
    scale = conversion(found.unit, expected.unit)
    if scale is None:
        return False
    values = number(found.text), number(expected.text)
    if values[0] is not None and values[1] is not None:
        return _same_number(values[0] * scale, values[1], found.percent, expected.percent)
    if found.text == expected.text:
        return scale == 1
    numerals = _numeral(found.text), _numeral(expected.text)
    if numerals[1]:
        return numerals[0] == numerals[1]
    if numerals[0]:
        return Fraction(int(*numerals[0])) == values[1]
    mine, theirs = _assigned(found.text), _assigned(expected.text)
    if mine[0] and theirs[0] and mine[0] != theirs[0] and "(" not in mine[0] + theirs[0]:
        return _verified(found.text, expected.text)
    if (mine[0] or theirs[0]) and "=" not in mine[1] + theirs[1]:
        return _same(plain(mine[1]), plain(theirs[1]))
    answer = _by_parts(_interval(found.text), _interval(expected.text))
    return _verified(found.text, expected.text) if answer is None else answer


def _by_parts(found: str, expected: str) -> bool | None:
    """Compare matrices, unions, and lists in any brackets; return None where math-verify has to decide."""
    rows, other_rows = _matrix(found), _matrix(expected)
    if rows and other_rows:
        return [len(row) for row in rows] == [len(row) for row in other_rows] and all(
            equivalent(*cells) for pair in zip(rows, other_rows, strict=True) for cells in zip(*pair, strict=True)
        )
    unions = _split(found, "\\cup"), _split(expected, "\\cup")
    if max(map(len, unions)) > 1:
        # The same set may be split in another way.
        return _any_order(*unions) if len(unions[0]) == len(unions[1]) else None
    (opened, closed, items), (other_opened, other_closed, others) = _listed(found), _listed(expected)
    if max(len(items), len(others)) == 1 and not (opened and other_opened):
        return None
    if len(others) == 1 and not opened:
        # One answer written several times, as in `1\\frac{1}{2} or \\frac{3}{2}`.
        return all(equivalent(item, expected) for item in items)
    if len(items) != len(others):
        return False
    ordered = other_opened in ("(", "[")
    if opened and other_opened and (opened, closed) != (other_opened, other_closed):
        return False
    if opened in ("(", "[") and not ordered and other_opened:
        return False
    return all(map(equivalent, items, others)) if ordered else _any_order(items, others)


def _any_order(items: list[str], others: list[str]) -> bool:
    left = list(others)
    for item in items:
        match = next((other for other in left if equivalent(item, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _same_number(found: Fraction, expected: Fraction, found_percent: bool, expected_percent: bool) -> bool:
    """Compare numbers; a percent sign on one side only may come from the question, or mean hundredths."""
    if found == expected:
        return True
    return found_percent != expected_percent and (found / 100 == expected if found_percent else found == expected / 100)


def _interval(text: str) -> str:
    r"""Rewrite `x > 2`, `2 < x \le 4`, `x \in (2, 4]` and `\{x : x > 2\}` as the interval they describe."""
    choices = [side.strip() for side in _OR.split(text)]
    if len(choices) > 1 and all(_interval(choice) != choice for choice in choices):
        return " \\cup ".join(map(_interval, choices))
    if built := _BUILDER.fullmatch(text):
        return _interval(built[1].strip())
    if member := _MEMBER.fullmatch(text):
        return member[1].strip()
    sides = [side.strip() for side in re.split(_SIGN, text)]
    signs = [_PLAIN_SIGN.get(sign, sign) for sign in sides[1::2]]
    if len(sides) == 3 and re.fullmatch("[a-zA-Z]", sides[2]) and not re.search("(?<![\\\\a-zA-Z])[a-zA-Z]", sides[0]):
        flipped = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
        sides, signs = [sides[2], "", sides[0]], [flipped[signs[0]]]
    if len(sides) == 3 and re.fullmatch("[a-zA-Z]", sides[0]):
        bound, strict = sides[2], len(signs[0]) == 1
        if signs[0].startswith(">"):
            return f"{'(' if strict else '['}{bound}, \\infty)"
        return f"(-\\infty, {bound}{')' if strict else ']'}"
    if len(sides) == 5 and re.fullmatch("[a-zA-Z]", sides[2]) and signs[0][0] == signs[1][0]:
        (low, first), (high, second) = (sides[0], signs[0]), (sides[4], signs[1])
        if signs[0].startswith(">"):
            (low, first), (high, second) = (high, second), (low, first)
        return f"{'(' if len(first) == 1 else '['}{low}, {high}{')' if len(second) == 1 else ']'}"
    return text


def _matrix(text: str) -> list[list[str]] | None:
    """Return the rows of a matrix, as cells."""
    match = _MATRIX.fullmatch(text)
    if match is None:
        return None
    rows = [row for row in match[1].split("\\\\") if row.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]


def _listed(text: str) -> tuple[str, str, list[str]]:
    """Return opening and closing bracket (empty where there is none) and the items between."""
    for opening in _BRACKETS:
        for closing in _BRACKETS.values():
            if text.startswith(opening) and text.endswith(closing) and (opening == "\\{") == (closing == "\\}"):
                inner = text[len(opening) : -len(closing)]
                if _balanced(inner) and (opening == "\\{" or "," in inner):
                    return opening, closing, _split(inner, ",")
    return "", "", _split(_AND.sub(", ", text), ",")


def _balanced(text: str) -> bool:
    depth = 0
    for character in text:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(character, 0)
        if depth < 0:
            return False
    return True


def _split(text: str, separator: str) -> list[str]:
    """Split a text at a separator outside every bracket."""
    parts, depth, begin = [], 0, 0
    for place, character in enumerate(text):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(character, 0)
        if depth == 0 and text.startswith(separator, place):
            parts.append(text[begin:place])
            begin = place + len(separator)
    return [part.strip() for part in [*parts, text[begin:]] if part.strip()]


def _assigned(text: str) -> tuple[str, str]:
    """Return variable and value of `x = 5`; an empty variable for any other text."""
    match = _ASSIGNMENT.fullmatch(text)
    return (match["left"].replace(" ", ""), match["right"].strip()) if match else ("", text)


def _contradicts(text: str) -> bool:
    """Return whether a chain of equations, as it was written, has two different numbers, as in `x = 43 = 42`."""
    if "=" not in text or len(_listed(plain(text).text)[2]) > 1:
        return False
    numbers = [side for side in map(plain, _split(text, "=")) if number(side.text) is not None]
    return any(not _same(numbers[0], other) for other in numbers[1:])


def _numeral(text: str) -> tuple[str, int] | None:
    """Return digits and base of `204_5`."""
    match = _BASE.fullmatch(text)
    base = _BASES.get(match["base"]) or (int(match["base"]) if match["base"].isdecimal() else 0) if match else 0
    if match is None or not 2 <= base <= 36:
        return None
    try:
        int(match["digits"], base)
    except ValueError:
        return None
    return match["digits"].lower(), base


def _letters(answer: Written) -> str:
    return answer.text.strip("() ").lower()


def _verified(found: str, expected: str) -> bool:
    # math-verify's own limit is an alarm signal, which works in the main thread only.
    return bool(verify(_parsed(expected), _parsed(found), timeout_seconds=None))


@lru_cache(maxsize=512)
def _parsed(text: str) -> Any:
    return parse(f"\\boxed{{{text}}}", parsing_timeout=None)
