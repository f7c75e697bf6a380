"""From an objective's name in the configuration to the `Objective`, built in or custom.

A custom objective is `package.module:name`: an `Objective` in a module that can be imported where the stage runs.
Its options go to the keyword-only parameters of its advantage and surrogate. This module imports torch only to build
one, so that checks and the launcher of training jobs can use the rest.

    python -m components.train.build_objective '{"objective": "my_objectives:ranked"}'

builds the custom objective of a section `train` where torch is installed, or else looks for its module, and exits with
status 2 where that fails.
"""

import importlib
import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.contract.digests import file_digest
from components.contract.errors import InputError
from components.contract.objective_config import CustomOptions, ObjectiveOptions
from components.contract.train_config import TrainSection
from components.runtime.guard import exit_on_bad_input
from components.runtime.progress import EVENTS_VARIABLE

if TYPE_CHECKING:
    from components.train.objectives import Objective


def build_objective(train: TrainSection) -> "Objective":
    """Return the objective that a configuration names, with its options bound.

    Raises:
        InputError: a custom objective cannot be imported, or contradicts its options or those of `train`.
    """
    from components.train.objectives import OBJECTIVES

    section = train.objective
    if isinstance(section, CustomOptions):
        objective = _import(section.name)
        _refuse_other_options(objective, section)
        train.check_cloning(objective.clones)
        return _bind(objective, section.options)
    options = {key: None if value == "off" else value for key, value in section.model_dump().items()}
    key = f"{section.name}/{options['ratio']}" if "ratio" in options else section.name
    return replace(_bind(OBJECTIVES[key], options), normalisation=section.normalisation)


def objective_inputs(section: ObjectiveOptions | CustomOptions) -> dict[str, str]:
    """Return what manifests name of an objective beside its configuration: the digest of a custom one's module.

    Raises:
        InputError: the module cannot be found.
    """
    return {"objective": file_digest(_module_file(section.name))} if isinstance(section, CustomOptions) else {}


def load_custom(train: TrainSection) -> None:
    """Build the custom objective in a subprocess.

    Raises:
        InputError: it cannot be built or, without torch, its module cannot be found.
    """
    words = [sys.executable, "-m", "components.train.build_objective", train.model_dump_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path), EVENTS_VARIABLE: ""}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a message"])[-1]
        raise InputError(last.removeprefix("error: "))


def _module_file(name: str) -> Path:
    module = name.partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except ImportError as error:  # of a parent package
        raise InputError(f"train.objective: cannot import {module}: {error}") from None
    if spec is None or not spec.has_location or spec.origin is None:
        raise InputError(f"train.objective: module {module} does not exist; it must be importable where training runs")
    return Path(spec.origin)


def _import(name: str) -> "Objective":
    from components.train.objectives import Objective

    _module_file(name)
    module, _, attribute = name.partition(":")
    try:
        objective = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:
        raise InputError(f"train.objective: cannot import {module}: {type(error).__name__}: {error}") from error
    if not isinstance(objective, Objective):
        raise InputError(f"train.objective: {module} has no Objective called {attribute}")
    return objective


def _refuse_other_options(objective: "Objective", section: CustomOptions) -> None:
    parameters = {**_options(objective.advantage), **_options(objective.surrogate)}
    for key in section.options:
        if key not in parameters:
            own = ", ".join(parameters) or "none"
            raise InputError(
                f"train.objective.options: objective {section.name} has no option {key}; its options are {own}"
            )
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in section.options:
            raise InputError(f"train.objective.options: objective {section.name} needs {key}")


def _bind(objective: "Objective", options: dict[str, Any]) -> "Objective":
    advantage = partial(objective.advantage, **_chosen(objective.advantage, options))
    surrogate = partial(objective.surrogate, **_chosen(objective.surrogate, options))
    # Where the advantage has truncated weights of its own, diagnostics describe those.
    truncation = advantage.keywords.get("truncation", objective.truncation)
    return replace(objective, advantage=advantage, surrogate=surrogate, truncation=truncation)


def _chosen(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in _options(function) if key in options}


def _options(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(function).parameters
    return {name: parameter for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}


if __name__ == "__main__":
    with exit_on_bad_input():
        custom = TrainSection.model_validate_json(sys.argv[1])
        if importlib.util.find_spec("torch"):
            build_objective(custom)
        else:
            objective_inputs(custom.objective)
