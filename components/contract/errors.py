"""Errors that a user can fix, and their messages."""

import difflib
import json
import reprlib
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

EXIT_BAD_INPUT = 2


class InputError(ValueError):
    """The user's input is invalid; the message says what, where and how to fix it.

    Command lines print it as one line and exit with status 2. Any other exception is a defect and keeps its traceback.
    """


# Pydantic's reasons in the words of a YAML file, by error type or by the type's first word.
_REASONS = {
    "missing": "is required",
    "invalid_key": "is not a valid key: keys must be text",
    "greater_than": "must be greater than {gt:.15g}",
    "greater_than_equal": "must be at least {ge:.15g}",
    "less_than": "must be less than {lt:.15g}",
    "less_than_equal": "must be at most {le:.15g}",
    "finite_number": "must be finite",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} items",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "int": "must be an integer",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text",
    "tuple": "must be a list",
    "dict": "must be a mapping",
    "model": "must be a mapping",
}
_UNION_MEMBERS = {"int", "float", "str", "bool", "constrained-int", "constrained-float", "constrained-str"}


def explain_validation(error: ValidationError, what: str, known: Sequence[str] = ()) -> InputError:
    """Turn a pydantic error into one line: `<what>: <key.path> <reason> (got <value>); <the next>`.

    Args:
        known: dotted keys of all options, of which the nearest is suggested for an unknown one.
    """
    found = error.errors()
    reasons: dict[str, list[str]] = {}
    for item in found:
        # Refused items are not counted, so their list seems to be too short.
        if item["type"] == "too_short" and any(_is_below(other["loc"], item["loc"]) for other in found):
            continue
        path = ".".join(str(part) for part in item["loc"] if not _is_union_member(part))
        reasons.setdefault(path, []).append(_reason(item, path, known))
    lines = (_join(path, alternatives) for path, alternatives in reasons.items())
    return InputError(f"{what}: " + "; ".join(lines))


def _reason(item: ErrorDetails, path: str, known: Sequence[str]) -> str:
    kind, given = item["type"], item["input"]
    if item["loc"][-1:] == ("[key]",):
        kind = "invalid_key"
    if kind == "extra_forbidden":
        near = _nearest(path, known)
        return "is not an option" + (f"; did you mean {near}?" if near else "")
    template = _REASONS.get(kind) or _REASONS.get(kind.partition("_")[0])
    reason = template.format(**item.get("ctx", {})) if template else item["msg"].removeprefix("Value error, ")
    if kind in ("missing", "invalid_key", "credentials") or isinstance(given, dict | list | tuple):
        return reason
    as_written = json.dumps(given) if isinstance(given, bool) or given is None else reprlib.repr(given)
    reason += f" (got {as_written})"
    if kind == "string_type" and isinstance(given, int | float):
        reason += f"""; quote it, on a command line as "'{as_written}'\""""
    return reason


def _join(path: str, reasons: list[str]) -> str:
    """Join a path and its reason, or the reasons of all members of a union: `x must be a number or 'off' (got 1)`."""
    *others, reason = reasons
    if others:
        either = [other.partition(" (got ")[0] for other in others]
        reason = " or ".join([*either, reason.removeprefix("must be ")])
    follows = reason.startswith(("must ", "is "))
    return f"{path} {reason}" if path and follows else f"{path}: {reason}" if path else reason


def _nearest(path: str, known: Sequence[str]) -> str | None:
    # The items of a list have no number in the known keys.
    dotted = ".".join(part for part in path.split(".") if not part.isdecimal())
    section, _, written = dotted.rpartition(".")
    names = {} if section else {key.partition(".")[0]: key.partition(".")[0] for key in known}
    for key in sorted(known, key=lambda key: not key.startswith(f"{section}.")):
        if key != dotted:
            name = key.rpartition(".")[2]
            initials = "".join(word[:1] for word in name.split("_"))
            for alias in (key.removeprefix(f"{section}."), name, *([initials] if "_" in name else [])):
                names.setdefault(alias, key)
    return next((names[near] for near in difflib.get_close_matches(written, names, n=1, cutoff=0.75)), None)


def _is_union_member(part: int | str) -> bool:
    """Return whether pydantic added this part of a path to tell the members of a union apart."""
    return isinstance(part, str) and (part in _UNION_MEMBERS or "[" in part)


def _is_below(path: tuple[int | str, ...], parent: tuple[int | str, ...]) -> bool:
    return len(path) > len(parent) and path[: len(parent)] == parent
