"""Normalisation of mathematical answers to one spelling, without wrappers, spacing, units and currency."""

import re
from dataclasses import dataclass
from fractions import Fraction

_QUANTITIES = {
    "money": {"dollar": "1", "usd": "1", "cent": "1/100"},
    "length": {"m": "1", "meter": "1", "mm": "1/1000", "millimeter": "1/1000", "cm": "1/100", "centimeter": "1/100",
               "km": "1000", "kilometer": "1000"},
    "imperial length": {"in": "1", "inch": "1", "ft": "12", "foot": "12", "feet": "12", "yard": "36", "mile": "63360"},
    "time": {"s": "1", "sec": "1", "second": "1", "min": "60", "minute": "60", "h": "3600", "hour": "3600",
             "day": "86400", "week": "604800"},
    "mass": {"g": "1", "gram": "1", "kg": "1000", "kilogram": "1000", "mg": "1/1000"},
    "imperial mass": {"oz": "1", "ounce": "1", "lb": "16", "pound": "16"},
    "angle": {"degree": "1"},
}  # fmt: skip
_UNITS = {name: (quantity, Fraction(size)) for quantity, sizes in _QUANTITIES.items() for name, size in sizes.items()}

_WORD = r"[^\W\d_]+"
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mathit|mbox|operatorname)\s*\{([^{}]*)\}")
_SPACING = re.compile(
    r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![a-zA-Z])\s*|(?<!\\)\\[!,;:> ]\s*|\\q?quad(?![a-zA-Z])"
)
_WIDE = {"\\", "\\,", "\\;", "\\:", "\\>", "\\quad", "\\qquad"}
_POWER = r"\s*(?:\^\s*\{?(?P<power>\d)\}?)?\s*"
# `8 \text{ or nine}` is another answer, not a unit.
_NAME = rf"(?!(?:[^{{}}]*[\s(])?(?:or|and|not)\b)(?P<unit>{_WORD}[^{{}}\d]*)"
_UNIT_TEXT = re.compile(rf"(?P<value>.*\S)\s*\\text\{{[\s(]*{_NAME}\}}{_POWER}", re.DOTALL)
# After a bare number only: in `6 + 9 i` the letter is not a unit.
_UNIT_WORD = re.compile(rf"(?P<value>[-+]?[\d./]*\d)\s+(?!.*\b(?:or|and|not)\b)(?P<unit>{_WORD}(?:\s{_WORD})*){_POWER}")
_RESPELLED = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\bigcup": "\\cup", "\\leqslant": "\\le",
    "\\geqslant": "\\ge", "\u2212": "-", "\u221e": "\\infty", "\u00a2": "\\text{cent}", ";": ",", "~": " ",
    # A space after written braces keeps them apart from what follows.
    "\\{": "\\lbrace ", "\\}": "\\rbrace ",
}  # fmt: skip
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\(?:circ|degree)\s*\}?|\\degree(?![a-zA-Z])|\u00b0)")
_PERCENT = re.compile(r"(?:\\?%|\s*(?:\\text\{\s*)?(?:percent|pct)\s*\}?)\s*$")
_DECIMAL = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_NUMBER = re.compile(
    r"([-+]?)(?:(\d+)(?:\\frac\{(\d+)\}\{(\d+)\}|\s+(\d+)/(\d+))|\\frac\{([-+]?[\d.]+)\}\{([-+]?[\d.]+)\}|"
    rf"\(?({_DECIMAL})\)?(?:/\(?({_DECIMAL})\)?)?)"
)
# Around signs, slashes, brackets and commands only: a space between digits separates two numbers.
_LOOSE_SPACE = re.compile(r"(?<![\w.])\s+|\s+(?![\w.])")
_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:(?:,|\{,\}|,\\!|\\,)\d{3})+(?!\d)(?!,\d)")


@dataclass(frozen=True)
class Written:
    """An answer in plain spelling: `text` without its unit, currency or percent sign."""

    text: str
    unit: str | None
    percent: bool
    is_words: bool
    """Return True if it consists of words, as in `\\text{even}` or `\\text{(C)}`, without mathematics."""


def plain(answer: str) -> Written:
    """Bring an answer into one spelling."""
    text = _spelled(answer)
    words = _as_words(text)
    if words is not None:
        return Written(words, None, False, True)
    unit = None
    if _DEGREES.search(text):
        text, unit = _DEGREES.sub("", text).strip(), "degree"
    if text.startswith(("\\$", "$")):
        unit = "dollar"
    text = text.replace("\\$", "").replace("$", "").strip()
    percent = _PERCENT.search(text)
    if percent:
        text = text[: percent.start()].strip()
    elif found := _UNIT_TEXT.fullmatch(text) or _UNIT_WORD.fullmatch(text):
        unit = unit or _singular(found["unit"]) + (f"^{found['power']}" if found["power"] else "")
        text = found["value"].strip()
    text = _TEXT.sub(lambda match: match.group(1), text)
    return Written(_braced(text.strip()), unit, bool(percent), False)


def _spelled(answer: str) -> str:
    """Remove formula delimiters, and replace synonymous commands by one."""
    text = _THOUSANDS.sub(lambda match: re.sub(r"[^\d]", "", match.group()), answer.strip().strip("$").strip())
    text = text.removeprefix("\\[").removesuffix("\\]").removeprefix("\\(").removesuffix("\\)").rstrip(".").strip()
    text = re.sub(r"\\\\\[[\w.]+\]", r"\\\\", text)
    text = _SPACING.sub(_space, text)
    for old, new in _RESPELLED.items():
        text = text.replace(old, new)
    text = text.replace("\\lbrace", "\\{").replace("\\rbrace", "\\}")
    text = re.sub(r"\\?\binfinity\b", r"\\infty", text)
    return re.sub(r"(?<=[\d)])\s+(?=i(?![a-zA-Z]))", "", text)


def _space(match: re.Match[str]) -> str:
    return " " if match.group().strip() in _WIDE else ""


def number(text: str) -> Fraction | None:
    """Return the exact value of an integer, decimal, fraction or mixed number; None for anything else."""
    match = _NUMBER.fullmatch(_LOOSE_SPACE.sub("", text))
    if match is None:
        return None
    sign, whole, part, parts, over, under, numerator, denominator, value, divisor = match.groups()
    try:
        if whole is not None:
            result = int(whole) + Fraction(int(part or over), int(parts or under))
        elif numerator is not None:
            result = Fraction(numerator) / Fraction(denominator)
        else:
            result = Fraction(value) / Fraction(divisor or 1)
    except (ValueError, ZeroDivisionError):  # thousands of digits, `1.2.3`, or a division by zero
        return None
    return -result if sign == "-" else result


def conversion(found: str | None, expected: str | None) -> Fraction | None:
    """Return the factor from the unit `found` to `expected`; None where they measure different quantities.

    A missing or unknown unit is assumed to be the other one.
    """
    if found is None or expected is None or found == expected:
        return Fraction(1)
    names = [unit.partition("^") for unit in (found, expected)]
    if any(name not in _UNITS for name, _, _ in names):
        return Fraction(1)
    (quantity, size), (wanted, wanted_size) = (_UNITS[name] for name, _, _ in names)
    power = names[0][2]
    if quantity != wanted or power != names[1][2]:
        return None
    return (size / wanted_size) ** int(power or 1)


def _as_words(text: str) -> str | None:
    """Return words in lower case without wrappers; None where there is mathematics."""
    inner = _TEXT.sub(lambda m: m.group(1), text)
    wrapped = inner != text
    bare = re.sub(r"[\s.'\"]+", " ", inner.replace("\\", "")).strip()
    choice = re.fullmatch(r"\(([A-Za-z])\)", bare)
    if choice:
        return choice[1].lower()
    if not re.fullmatch(rf"{_WORD}(?:[\s-]{_WORD})*", bare) or "\\" in inner:
        return None
    return bare.lower() if wrapped or len(bare) > 2 or bare.isupper() else None


def _singular(words: str) -> str:
    word = words.lower().split()[0].rstrip(".")
    return word if word in _UNITS else word.removesuffix("es") if word.endswith("ches") else word.removesuffix("s")


def _braced(text: str) -> str:
    r"""Add the braces to `\frac12` and `\sqrt5`."""
    token = r"(\d|[a-z]|\\[a-z]+|\{(?:[^{}]|\{[^{}]*\})*\})"
    bare = re.compile(rf"\\frac\s*{token}\s*{token}")
    text = bare.sub(lambda m: "\\frac" + "".join(p if p.startswith("{") else f"{{{p}}}" for p in m.groups()), text)
    return re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)
