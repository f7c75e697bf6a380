"""YAML 1.2, as people write it: no key twice, and dates are text."""

import json
import re
import textwrap
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode

from components.contract.errors import InputError


class _Constructor(SafeConstructor):
    """Leaves dates as text, and integers such as `007` and `1_000` too: an option that is a number converts them."""

    def construct_yaml_int(self, node: ScalarNode) -> Any:
        return int(node.value) if re.fullmatch(r"[-+]?(0|[1-9][0-9]{0,99})", node.value) else node.value


_Constructor.add_constructor("tag:yaml.org,2002:int", _Constructor.construct_yaml_int)
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_yaml_str)


def read_yaml(path: Path) -> Any:
    """Parse a file of one YAML or JSON document.

    Raises:
        InputError: the file cannot be read, or is neither.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8: {error}") from None


def load_yaml(text: str, what: str) -> Any:
    """Parse one YAML or JSON document.

    Raises:
        InputError: the text is neither; the message names `what` and the line.
    """
    try:
        return _load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark else ""
        # The value of a duplicate key is of no interest.
        problem = str(error.problem).partition(" with value ")[0]
        reason = f"{error.context}, {problem}" if problem.startswith("but ") else problem
        raise InputError(f"{what}{place}: not valid YAML: {_one_line(reason)}") from None
    except RecursionError:
        raise InputError(f"{what}: nested too deeply") from None
    except YAMLError as error:
        raise InputError(f"{what}: not valid YAML: {_one_line(error)}") from None
    except (ValueError, LookupError):
        raise InputError(f"{what}: not valid YAML: a value does not match its tag") from None


def dump_yaml(tree: Any) -> str:
    """Write a tree of plain values as YAML, keys in their order."""
    stream = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(tree, stream)
    return stream.getvalue()


def _load(text: str) -> Any:
    try:
        # YAML parsers fold or refuse some characters in strings of JSON (U+0085, U+007F).
        return json.loads(text)
    except ValueError:
        yaml = YAML(typ="safe", pure=True)
        yaml.Constructor = _Constructor
        return yaml.load(text)


def _one_line(problem: object) -> str:
    return textwrap.shorten(str(problem), 200, placeholder=" ...")
