"""The one exception for mistakes a user can fix."""

import reprlib

from pydantic import ValidationError

EXIT_BAD_INPUT = 2


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where and how to fix it.

    Command lines print it as one line and exit with status 2. Anything else that is raised is a defect and
    keeps its traceback.
    """


def explain_validation(error: ValidationError, what: str) -> InputError:
    """Turn a pydantic error into one line per wrong key: `<what>: <key.path>: <reason>`."""
    lines = []
    found = error.errors()
    for item in found:
        # Items that are refused are not counted, so that their list seems to be too short.
        if item["type"] == "too_short" and any(_below(item["loc"], other["loc"]) for other in found):
            continue
        path = ".".join(str(part) for part in item["loc"]) or "(whole)"
        reason = item["msg"].removeprefix("Value error, ")
        if item["type"] in ("tuple_type", "too_short"):
            # What is a tuple in here is written as a list.
            reason = reason.replace("valid tuple", "valid list").replace("Tuple", "List")
        if item["type"] == "extra_forbidden":
            reason = "unknown key"
        elif item["type"] != "credentials" and not isinstance(item["input"], dict | list):
            reason = f"{reason} (got {reprlib.repr(item['input'])})"
            if item["type"] == "string_type" and isinstance(item["input"], int | float):
                reason += "; put it in quotes inside the value"
        lines.append(f"{path}: {reason}")
    return InputError(f"{what}: " + "; ".join(lines))


def _below(parent: tuple[int | str, ...], path: tuple[int | str, ...]) -> bool:
    return len(path) > len(parent) and path[: len(parent)] == parent
