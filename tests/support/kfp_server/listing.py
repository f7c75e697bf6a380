"""Lists with filters, sorting and page tokens.

As in kubeflow/pipelines, backend/src/apiserver/server/list_request_util.go and backend/src/apiserver/list.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_plus

DEFAULT_PAGE, LARGEST_PAGE = 20, 200


class Invalid(Exception):
    """A request that the server answers with 400."""


def page(items: list[dict[str, Any]], query: Mapping[str, str], keys: set[str]) -> tuple[list[dict[str, Any]], str]:
    """Return the items of one page and the token of the next; filters and sorting are allowed by `keys`."""
    size = int(query.get("page_size") or 0) or DEFAULT_PAGE
    if size < 0:
        raise Invalid(f"The page size should be greater than 0. Got {size}")
    size = min(size, LARGEST_PAGE)
    criteria = {"filter": query.get("filter", ""), "sort_by": query.get("sort_by", "")}
    begin = _begin(query.get("page_token", ""), criteria)
    found = [item for item in items if _passes(item, criteria["filter"], keys)]
    field, _, direction = criteria["sort_by"].partition(" ")
    if field not in ("", *keys) or direction not in ("", "asc", "desc"):
        raise Invalid(f"Invalid sorting field: {criteria['sort_by']!r}")
    # Items of the same second keep the order of their creation, in both directions.
    found.sort(key=lambda item: str(item.get(field or "created_at", "")), reverse=direction == "desc")
    following = begin + size
    token = {**criteria, "begin": following}
    encoded = base64.b64encode(json.dumps(token).encode()).decode() if following < len(found) else ""
    return found[begin:following], encoded


def _begin(token: str, criteria: Mapping[str, str]) -> int:
    if not token:
        return 0
    try:
        held = json.loads(base64.b64decode(token, validate=True))
    except ValueError:
        raise Invalid("Invalid package token.") from None
    # A request with a token may omit the criteria, but not change them.
    if any(criteria.values()) and any(held[name] != value for name, value in criteria.items()):
        raise Invalid("page token does not match the supplied sort by and/or filtering criteria")
    return int(held["begin"])


def _passes(item: dict[str, Any], encoded: str, keys: set[str]) -> bool:
    if not encoded:
        return True
    try:
        # The server decodes the text once more after HTTP has, so a bare + is a blank.
        predicates = json.loads(unquote_plus(encoded))["predicates"]
    except (ValueError, KeyError) as error:
        raise Invalid(f"failed to parse valid filter from {encoded!r}: {error}") from None
    for predicate in predicates:
        if predicate["key"] not in keys:
            raise Invalid(f"no support for filtering on unrecognized field {predicate['key']}")
        wanted = predicate.get("string_value", predicate.get("stringValue"))
        if predicate["operation"] not in ("EQUALS", 1):
            raise Invalid(f"this server does not support {predicate['operation']}")
        if item.get(predicate["key"]) != wanted:
            return False
    return True
