"""Cron expressions as KFP parses them (Parse of github.com/robfig/cron 1).

Six fields, seconds first; with five fields the weekday is missing, not the seconds.
"""

import re

_BOUNDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_NAMES = (
    {},
    {},
    {},
    {},
    {
        name: place
        for place, name in enumerate(
            ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
        )
    },
    {name: place for place, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])},
)
_RANGE = re.compile(r"(?P<low>\*|\?|\w+)(?:-(?P<high>\w+))?(?:/(?P<step>\d+))?")
_DESCRIPTORS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def check_cron(text: str) -> None:
    """Raise ValueError, in the parser's words, if the expression is not valid."""
    if text.startswith("@"):
        if text not in _DESCRIPTORS and not re.fullmatch(r"@every (\d+(h|m|s))+", text):
            raise ValueError(f"Unrecognized descriptor: {text}")
        return
    fields = text.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    for field, (least, most), names in zip(fields, _BOUNDS, _NAMES, strict=False):
        for part in field.split(","):
            _check_range(part, least, most, names)


def _check_range(part: str, least: int, most: int, names: dict[str, int]) -> None:
    match = _RANGE.fullmatch(part)
    if match is None:
        raise ValueError(f"Failed to parse int from {part}")
    if match["low"] in "*?":
        return
    low = _number(match["low"], names)
    high = _number(match["high"], names) if match["high"] else low
    if low < least or high > most:
        raise ValueError(f"Value out of range [{least}, {most}]: {part}")
    if low > high:
        raise ValueError(f"Beginning of range ({low}) beyond end of range ({high}): {part}")


def _number(text: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isdecimal():
        raise ValueError(f"Failed to parse int from {text}")
    return int(text)
