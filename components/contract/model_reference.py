"""References to registered models, as MLflow writes them: `models:/NAME@alias` and `models:/NAME/version`."""

import re
from dataclasses import dataclass

from components.contract.errors import InputError

SCHEME = "models:/"
_FORM = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>[1-9][0-9]*))")


@dataclass(frozen=True)
class ModelReference:
    """A model of the registry, and which of its versions: by alias or by number, never both."""

    name: str
    alias: str | None
    version: str | None

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Raises InputError where the text is no such reference."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(f"{text!r} names no registered model; write models:/NAME@champion or models:/NAME/3")
        return cls(match["name"], match["alias"], match["version"])


def is_model_reference(path: str) -> bool:
    """Whether a `model.path` is looked up in the registry."""
    return path.startswith(SCHEME)
