"""The API's description, read from the client that was generated from it.

The package has no OpenAPI file, but each of its methods is one operation: path, verb, parameters and their places,
body and response. Its models are the schemas.
"""

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from urllib.parse import unquote

import kfp_server_api
from kfp_server_api import models

_SERVICES = [getattr(kfp_server_api, name) for name in dir(kfp_server_api) if name.endswith("ServiceApi")]


class Violation(Exception):
    """A request or a response that the description does not allow."""


@dataclass(frozen=True)
class Operation:
    name: str
    verb: str
    path: re.Pattern[str]
    query: dict[str, str]
    """Names of query parameters with their types."""
    body: str | None
    """Model of the JSON body."""
    multipart: bool
    answer: str


@cache
def operations() -> tuple[Operation, ...]:
    found = []
    for service in _SERVICES:
        for name, method in inspect.getmembers(service, inspect.isfunction):
            if name.endswith("_with_http_info"):
                found.append(_operation(name.removesuffix("_with_http_info"), method))
    # `pipelines/names/{name}` and `pipelines/{id}` both match; the longer literal is tried first.
    return tuple(sorted(found, key=lambda operation: -len(re.sub(r"\(\?P<.*?\)", "", operation.path.pattern))))


def find_operation(verb: str, path: str) -> tuple[Operation, dict[str, str]]:
    """Return the operation and the path's parameters. Raise Violation if there is none."""
    for operation in operations():
        if operation.verb == verb and (match := operation.path.fullmatch(path)):
            return operation, {name: unquote(value) for name, value in match.groupdict().items()}
    raise Violation(f"the API has no {verb} {path}")


def check_query(operation: Operation, query: dict[str, str]) -> None:
    for name, value in query.items():
        if name not in operation.query:
            raise Violation(f"{operation.name} has no parameter {name}")
        if operation.query[name] == "int" and not value.lstrip("-").isdecimal():
            raise Violation(f"{operation.name}: {name}={value!r} is not an integer")


def check(value: Any, kind: str, where: str) -> None:
    """Raise Violation if a JSON value does not match a model, or a type that models are made of."""
    if kind.startswith("list["):
        _expect(isinstance(value, list), value, "a list", where)
        for position, item in enumerate(value):
            check(item, kind[5:-1], f"{where}[{position}]")
    elif kind.startswith("dict("):
        _expect(isinstance(value, dict), value, "an object", where)
        for name, item in value.items():
            check(item, kind[5:-1].partition(", ")[2], f"{where}.{name}")
    elif kind in _SIMPLE:
        _SIMPLE[kind](value, where)
    else:
        _check_model(value, getattr(models, kind), where)


def _check_model(value: Any, model: type, where: str) -> None:
    types: dict[str, str] = model.openapi_types  # type: ignore[attr-defined]
    if not types and hasattr(model, "allowable_values"):
        _expect(value in model.allowable_values, value, " or ".join(model.allowable_values), where)
        return
    _expect(isinstance(value, dict), value, "an object", where)
    by_json_name = {json_name: types[name] for name, json_name in model.attribute_map.items()}  # type: ignore[attr-defined]
    for name, item in value.items():
        if name not in by_json_name:
            raise Violation(f"{where}: {model.__name__} has no field {name}")
        check(item, by_json_name[name], f"{where}.{name}")


def _expect(holds: bool, value: Any, what: str, where: str) -> None:
    if not holds:
        raise Violation(f"{where} is {value!r}, not {what}")


def _moment(value: Any, where: str) -> None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Violation(f"{where} is {value!r}, not a time") from None
    _expect(moment.tzinfo is not None, value, "a time with its zone", where)


_SIMPLE = {
    "str": lambda value, where: _expect(isinstance(value, str), value, "text", where),
    "int": lambda value, where: _expect(type(value) is int, value, "an integer", where),
    "float": lambda value, where: _expect(isinstance(value, int | float), value, "a number", where),
    "bool": lambda value, where: _expect(isinstance(value, bool), value, "true or false", where),
    "object": lambda value, where: _expect(isinstance(value, dict | str | int | float | list), value, "JSON", where),
    "datetime": _moment,
}


def _operation(name: str, method: Any) -> Operation:
    source = inspect.getsource(method)
    tree = ast.parse(textwrap.dedent(source))
    call = next(n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "call_api")
    path, verb = (ast.literal_eval(word) for word in call.args[:2])
    answer = next((ast.literal_eval(word.value) for word in call.keywords if word.arg == "response_type"), "object")
    documented = dict(re.findall(r":type (\w+): (\S+)", method.__doc__ or ""))
    queries = re.findall(r"query_params\.append\(\('(\w+)', local_var_params\['(\w+)'\]\)\)", source)
    body = re.search(r"body_params = local_var_params\['(\w+)'\]", source)
    pattern = re.sub(r"\\\{([\w.]+)\\\}", lambda m: f"(?P<{m[1].replace('.', '_')}>[^/:]+)", re.escape(path))
    return Operation(
        name=name,
        verb=verb,
        path=re.compile(pattern),
        query={json_name: documented.get(own, "str") for json_name, own in queries},
        body=documented.get(body[1]) if body else None,
        multipart="multipart/form-data" in source,
        answer=answer,
    )
