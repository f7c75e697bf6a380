"""References to registered models, as in MLflow: `models:/NAME@alias`, `models:/NAME/3`, `models:/NAME/latest`."""

import re
from dataclasses import dataclass

from components.contract.errors import InputError

SCHEME = "models:/"
_FORM = re.compile(r"models:/(?P<name>[^/@:]+)(?:@(?P<alias>[\w.-]+)|/(?P<version>[1-9][0-9]*)|/latest)")


@dataclass(frozen=True)
class ModelReference:
    """A registered model and one of its versions: by alias, by number, or, with neither, the newest."""

    name: str
    alias: str | None
    version: str | None

    @property
    def is_fixed(self) -> bool:
        """True if it will always be the same version."""
        return self.version is not None

    @classmethod
    def parse(cls, text: str) -> "ModelReference":
        """Parse a reference.

        Raises:
            InputError: the text is not a valid reference.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise InputError(
                f"{text!r} is not a valid model reference; write models:/NAME@champion, models:/NAME/latest or "
                "models:/NAME/3"
            )
        return cls(match["name"], match["alias"], match["version"])


def is_model_reference(path: str) -> bool:
    """Return whether a `model.path` refers to the registry."""
    return path.startswith(SCHEME)
