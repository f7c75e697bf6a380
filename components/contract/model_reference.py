"""References to registered models, as MLflow writes them: `models:/NAME@alias` and `models:/NAME/version`."""

import re
from dataclasses import dataclass

from components.contract.errors import InputError

SCHEME = "models:/"
_FORM = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>[1-9][0-9]*))")


@dataclass(frozen=True)
class ModelReference:
    """A registered model and one of its versions, by alias or by number."""

    name: str
    alias: str | None
    version: str | None

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Parse a reference.

        Raises:
            InputError: the text is not a valid reference.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(f"{text!r} is not a valid model reference; write models:/NAME@champion or models:/NAME/3")
        return cls(match["name"], match["alias"], match["version"])


def is_model_reference(path: str) -> bool:
    """Return whether a `model.path` refers to the registry."""
    return path.startswith(SCHEME)
