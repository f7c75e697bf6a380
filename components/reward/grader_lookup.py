"""Lookup of graders by their names in the configuration.

A grader is built in, or a function of the user's own, `package.module:function`, that can be imported from where the
stage runs. `components.reward.graders` describes how a grader is called.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from components.contract.errors import InputError
from components.contract.objective_config import LOCATION
from components.contract.reward_config import GraderSpec, SandboxSection
from components.sandbox.modes import sandbox_options

_FOLDER = Path(__file__).parent / "graders"


@dataclass(frozen=True)
class BuiltIn:
    """A built-in grader, as its source declares it."""

    location: str
    runs_programs: bool
    options: tuple[str, ...]
    """Names of its keyword-only parameters, without `sandbox`."""
    summary: str
    """The first paragraph of its docstring."""


@dataclass(frozen=True)
class Grader:
    """A grader as grading processes get it: `name` is that of its component, `location` `package.module:function`."""

    name: str
    location: str
    weight: float
    options: dict[str, Any]
    sandbox: dict[str, Any] | None = None
    """Settings for graders that run programs."""


@cache
def built_in_graders() -> dict[str, BuiltIn]:
    """Read the functions declared with `@grader` in `graders/`, without importing: some imports take a second."""
    found = {}
    for path in sorted(_FOLDER.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.parse(text).body if "\n@grader(" in text else ():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                match node.decorator_list:
                    case [ast.Call(func=ast.Name(id="grader"), keywords=words)]:
                        found[node.name] = _built_in(f"components.reward.graders.{path.stem}", node, words)
    return dict(sorted(found.items()))


def resolve_graders(
    specs: Iterable[GraderSpec], sandbox: SandboxSection | None = None, time_limit: float = 10.0
) -> list[Grader]:
    """Look names up without importing a grader.

    Raises:
        InputError: a name is neither built in nor of the form `package.module:function`, or a grader runs programs and
            this machine has no sandbox for them.
    """
    graders = []
    for spec in specs:
        location = grader_location(spec.name)
        built_in = built_in_graders().get(spec.name)
        runs_programs = built_in is not None and built_in.runs_programs
        options = sandbox_options(sandbox or SandboxSection(), time_limit) if runs_programs else None
        graders.append(Grader(spec.component, location, spec.weight, dict(spec.options), options))
    return graders


def grader_location(name: str) -> str:
    """Return `package.module:function` of a grader. Raises InputError where the name is neither that nor built in."""
    built_in = built_in_graders().get(name)
    location = built_in.location if built_in else name
    if not LOCATION.fullmatch(location):
        raise InputError(
            f"reward.graders: {name!r} is not a valid grader; use one of {', '.join(built_in_graders())}, "
            "or package.module:function for a function of your own"
        )
    return location


def sandbox_facts(graders: Iterable[Grader]) -> dict[str, str]:
    """Return the fact `sandbox` for the manifest, the mode that programs ran in; empty where no grader runs any."""
    modes = [grader.sandbox["mode"] for grader in graders if grader.sandbox]
    return {"sandbox": modes[0]} if modes else {}


def _built_in(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef, words: list[ast.keyword]) -> BuiltIn:
    options = tuple(argument.arg for argument in node.args.kwonlyargs if argument.arg != "sandbox")
    runs_programs = any(word.arg == "runs_programs" and ast.literal_eval(word.value) for word in words)
    summary = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    return BuiltIn(f"{module}:{node.name}", runs_programs, options, summary)
