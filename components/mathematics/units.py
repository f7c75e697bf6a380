"""Units of measurement and money, and their conversion."""

import re
from fractions import Fraction

_QUANTITIES = {
    "dollar": {"dollar": "1", "usd": "1", "cent": "1/100", "buck": "1"},
    "euro": {"euro": "1", "eur": "1"},
    "sterling": {"pound sterling": "1", "gbp": "1"},
    "yen": {"yen": "1", "jpy": "1"},
    "rupee": {"rupee": "1", "inr": "1", "rs": "1"},
    "length": {"m": "1", "meter": "1", "metre": "1", "mm": "1/1000", "millimeter": "1/1000", "cm": "1/100",
               "centimeter": "1/100", "centimetre": "1/100", "km": "1000", "kilometer": "1000", "kilometre": "1000"},
    "imperial length": {"in": "1", "inch": "1", "ft": "12", "foot": "12", "feet": "12", "yard": "36", "yd": "36",
                        "mile": "63360", "mi": "63360"},
    "time": {"s": "1", "sec": "1", "second": "1", "min": "60", "minute": "60", "h": "3600", "hr": "3600",
             "hour": "3600", "day": "86400", "week": "604800"},
    "calendar": {"month": "1", "year": "12", "yr": "12"},
    "mass": {"g": "1", "gram": "1", "kg": "1000", "kilogram": "1000", "mg": "1/1000", "milligram": "1/1000"},
    "imperial mass": {"oz": "1", "ounce": "1", "lb": "16", "pound": "16"},
    "volume": {"l": "1", "liter": "1", "litre": "1", "ml": "1/1000", "milliliter": "1/1000"},
    "imperial volume": {"cup": "1", "pint": "2", "quart": "4", "gallon": "16"},
    "speed": {"m/s": "1", "km/h": "5/18", "kph": "5/18", "kmh": "5/18"},
    "imperial speed": {"mph": "1", "mile/hour": "1", "mile/h": "1"},
    "angle": {"degree": "1", "deg": "1"},
    "arc": {"radian": "1", "rad": "1"},
    "celsius": {"celsius": "1"},
    "fahrenheit": {"fahrenheit": "1"},
    "kelvin": {"kelvin": "1"},
    "morning": {"am": "1"},
    "afternoon": {"pm": "1"},
    "count": dict.fromkeys(
        ("men", "man", "egg", "box", "cat", "dog", "pen", "toy", "bag", "car", "pie", "hat", "boy", "kid", "bus", "job",
         "cow", "pig", "hen", "set", "row", "cake", "people", "person", "woman", "women", "child", "children"),
        "1",
    ),
}  # fmt: skip
_UNITS = {name: (quantity, Fraction(size)) for quantity, sizes in _QUANTITIES.items() for name, size in sizes.items()}
_TEMPERATURES = {"celsius", "fahrenheit"}
_LONG = {"meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km", "second": "s", "hour": "h", "hr": "h"}

CURRENCIES = {"$": "dollar", "\u20ac": "euro", "\u00a3": "pound sterling", "\u00a5": "yen", "\u20b9": "rupee"}
SCALES = {
    "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12,
    "millions": 10**6, "thousands": 10**3, "billions": 10**9, "mil": 10**6, "bn": 10**9,
}  # fmt: skip
LETTERS = {"m", "s", "g", "h", "L"}
"""Units of one letter; the letter is read as a variable first."""

_NO_UNIT = re.compile(r"(?i:\b(?:and|or|not|nor|but|neither|if|only|than|over|under)\b)|[=<>{}]")


def is_unit(word: str) -> bool:
    """Return whether a word of letters is a unit that is known, or a scale such as `million`."""
    return len(word) > 1 and (singular(word) in _UNITS or word.lower() in SCALES)


def is_alternative(words: str) -> bool:
    """Return whether words after a value are more than its unit, as in `8 or nine`."""
    return bool(_NO_UNIT.search(words))


def singular(word: str) -> str:
    """Return a word in lower case without its plural ending."""
    word = word.lower().replace(".", "")
    if word in _UNITS or len(word) < 3:
        return word
    return word.removesuffix("es") if word.endswith(("ches", "inches")) else word.removesuffix("s")


def unit(words: str) -> str:
    """Return the unit that words after a value name, in one spelling: `square centimeters` -> `cm^2`."""
    text = re.sub(r"\s*(?:/|\bper\b)\s*", "/", " ".join(words.replace("(", " ").replace(")", " ").split()))
    power = re.match(r"(?i:(sq|square|cubic|cu)\.? )", text)
    text = text[power.end() :] if power else text
    text, _, exponent = text.partition("^")
    if power and not exponent:
        exponent = "2" if power[1].lower().startswith("sq") else "3"
    parts = [singular(part) for part in text.split("/") if part]
    if len(parts) > 1:
        name = "/".join(_LONG.get(part, part) for part in parts)
    else:
        head = text.split()
        name = singular(head[0]) if head and (len(head) == 1 or len(head[0]) > 2) else text.lower()
        for temperature in _TEMPERATURES & {singular(word) for word in head}:
            name = temperature
    return f"{name}^{exponent}" if exponent else name


def conversion(found: str | None, expected: str | None) -> Fraction | None:
    """Return the factor that converts a value in `found` into one in `expected`; None if they measure different things.

    A unit that is missing or unknown matches any other. Degrees of temperature may be bare.
    """
    if found is None or expected is None or found == expected:
        return Fraction(1)
    (name, _, power), (other, _, other_power) = found.partition("^"), expected.partition("^")
    if name not in _UNITS or other not in _UNITS:
        return Fraction(1)
    (quantity, size), (wanted, wanted_size) = _UNITS[name], _UNITS[other]
    if {quantity, wanted} <= _TEMPERATURES | {"angle"} and "angle" in (quantity, wanted):
        return Fraction(1)
    if quantity != wanted or power != other_power:
        return None
    return (size / wanted_size) ** int(power or 1)
