"""Sizes and counts as text for people."""

import humanize


def size(count: float) -> str:
    """Return a number of bytes in binary units, such as `1.4 GiB`."""
    return humanize.naturalsize(count, binary=True)


def amount(count: float | None) -> str:
    """Return a count such as `8,192` or `1.6 million`; a dash where it is unknown."""
    if count is None:
        return "-"
    return humanize.intword(round(count)) if count >= 1e6 else humanize.intcomma(round(count))
