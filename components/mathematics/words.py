"""Answers in words, and numerals of another base."""

import re
from functools import lru_cache

from components.mathematics.notation import without_delimiters

_WRAPPED = re.compile(r"\\(?:text[a-z]*|mathrm|mathbf|mathit|mbox|operatorname|boxed|fbox)\s*\{([^{}]*)\}")
_LAYOUT = re.compile(r"\\(?:displaystyle|textstyle|left|right|quad|qquad|,|!|;|:)(?![a-zA-Z])\s?")
_WORDS = re.compile(r"[^\W\d_]+(?:[\s-][^\W\d_]+)*")
_NUMERAL = re.compile(
    r"\(?(?P<digits>[0-9][0-9A-Za-z]*)\)?_\s?\{?[\s(]*(?:\\text\{)?\s?(?P<base>[0-9a-z]+)\s?\}?[\s)]*\}?"
)
_WORD = re.compile(r"[^\W\d_]{3}")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip


def same_words(found: str, expected: str) -> bool | None:
    """Return whether two answers are the same text or the same words; None if only mathematics can decide."""
    text = _squeezed(expected)
    if _squeezed(found) == text:
        return bool(text)
    words, bare = _words(expected), _bare(expected)
    if (words is not None and _words(found) == words) or (
        "\\" not in bare and _WORD.search(bare) and _bare(found) == bare
    ):
        return True
    return False if words is not None and (len(words) > 3 or "\\" in expected) else None


def _squeezed(answer: str) -> str:
    return " ".join(without_delimiters(answer).split())


def _bare(answer: str) -> str:
    return re.sub(r"[\s.'\"]+", " ", _WRAPPED.sub(lambda m: m.group(1), answer)).strip(" ()").lower()


@lru_cache(maxsize=512)
def _words(answer: str) -> str | None:
    r"""Return words in lower case without wrappers, as of `\text{even}` and `\text{(C)}`; None for mathematics."""
    text = _LAYOUT.sub("", without_delimiters(answer))
    inner = _WRAPPED.sub(lambda match: match.group(1), text)
    bare = re.sub(r"[\s.'\"]+", " ", inner).strip()
    if choice := re.fullmatch(r"\(([A-Za-z])\)", bare):
        return choice[1].lower()
    if "\\" in inner or not _WORDS.fullmatch(bare):
        return None
    is_wrapped = inner != text or bare.isupper()
    return bare.lower() if is_wrapped or all(len(word) > 2 for word in re.split(r"[\s-]", bare)) else None


def numeral(answer: str) -> tuple[str, int] | None:
    """Return digits and base of `204_5`."""
    match = _NUMERAL.fullmatch(_LAYOUT.sub("", without_delimiters(answer)))
    base = _BASES.get(match["base"]) or (int(match["base"]) if match["base"].isdecimal() else 0) if match else 0
    if match is None or not 2 <= base <= 36 or len(match["digits"]) > 1000:
        return None
    try:
        int(match["digits"], base)
    except ValueError:
        return None
    return match["digits"].lower(), base
