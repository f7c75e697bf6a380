"""Credentials in what is stored in runs, compiled into pipelines and logged: found in options, cut out of text."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl

_NAME = re.compile(
    r"(?:key|api[_-]?keys|token|secrets?|passwords?|passwd|authorization|bearer|cookies?|signature)$", re.IGNORECASE
)
_USER_IN_URL = re.compile(r"\s*\w+://[^/?#]*@")
_URL = re.compile(r"\s*\w+://")
_SHORTEST = 6
"""Characters of the shortest secret that is looked for in text: "1" and "none" are values of switches."""


def has_user(url: str) -> bool:
    """Return whether a URL has a user name or password before its host."""
    return bool(_USER_IN_URL.match(url))


def secret_values(environment: Mapping[str, str]) -> list[str]:
    """Return the values of the variables whose names are those of credentials, the longest first."""
    values = {value for name, value in environment.items() if _NAME.search(name) and len(value) >= _SHORTEST}
    return sorted(values, key=len, reverse=True)


def without_secrets(text: str, values: Iterable[str]) -> str:
    """Return text with `***` in place of some values, and `without_credentials`."""
    for value in values:
        text = text.replace(value, "***")
    return without_credentials(text) if "://" in text else text


def without_credentials(text: str) -> str:
    """Return a URI, or a message that quotes URIs, without user names, passwords and query strings."""
    return re.sub(r"(://[^\s?]*)\?\S*", r"\1", re.sub(r"://(?!/)\S*@", "://", text))


def credentials_in(options: dict[str, Any]) -> list[str]:
    """Return the dotted names of values that are credentials by their name, or URLs that contain one.

    A name such as `key_env` is that of an environment variable, a number called a token is a count or an id, and
    booleans and null are never secret.
    """
    return sorted(_found(options, ""))


def _found(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            place = f"{path}.{name}" if path else str(name)
            if _NAME.search(str(name)) and _may_be_secret(str(name), inner):
                yield place
            else:
                yield from _found(inner, place)
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _found(inner, f"{path}.{position}")
    elif isinstance(value, str) and (has_user(value) or _credential_in_query(value)):
        yield path


def _credential_in_query(text: str) -> bool:
    query = text.partition("?")[2].partition("#")[0]
    return bool(_URL.match(text)) and any(_NAME.search(name) for name, _ in parse_qsl(query))


def _may_be_secret(name: str, value: Any) -> bool:
    is_count = isinstance(value, int | float) and name.lower().endswith("token")
    return not (value is None or isinstance(value, bool) or is_count)
