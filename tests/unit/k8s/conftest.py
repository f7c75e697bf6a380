"""Schemas of Kubernetes and of what extends it."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.manifests import REPOSITORY, Object


@pytest.fixture(scope="session")
def valid() -> Callable[[Object, str], None]:
    """`valid(object, "1.35")`: raises where that Kubernetes would not take it, fields it does not know included."""
    from kubernetes_validate import utils

    # It reads the definitions of all kinds anew for each object.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "schema_contents", cache(utils.schema_contents))
        yield lambda item, version: utils.validate(item, version, strict=True)


@pytest.fixture(scope="session")
def valid_extension() -> Callable[[Object], None]:
    """Raises where an object does not fit the schema that its operator publishes (tests/fixtures/crds)."""
    validators = {}
    for definition in yaml.safe_load_all((REPOSITORY / "tests" / "fixtures" / "crds" / "kueue.yaml").read_text()):
        spec = definition["spec"]
        for version in spec["versions"]:
            schema = _closed(version["schema"]["openAPIV3Schema"])
            kind = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            validators[kind] = (jsonschema.Draft202012Validator(schema), spec["scope"])

    def validate(item: Object) -> None:
        validator, scope = validators[item["apiVersion"], item["kind"]]
        validator.validate(item)
        assert ("namespace" in item["metadata"]) == (scope == "Namespaced"), item["metadata"]

    return validate


def _closed(schema: Any) -> Any:
    """The schema with fields refused that it does not name: Kubernetes would drop them without a word."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed
