"""From a grader's name in the configuration to the function that grades.

A grader of one's own is `package.module:function`, importable from where the stage runs, and is called as

    function(prompt=..., completion=..., answer=..., metadata=..., **options) -> float

with the rendered prompt, the decoded completion, the prompt's answer (None where it has none), its other columns
as a dict to which `completion_tokens` is added, and the options of the configuration; or, where it has a parameter
`completions`, for up to `reward.batch_size` completions at once as

    function(prompts=[...], completions=[...], answers=[...], metadata=[...], **options) -> list of floats

where an exception in the list fails that completion alone. Either may be `async def`; then the completions of a batch
are awaited together. It runs in a process of its own: what it prints is discarded, and what takes longer than
`reward.time_limit` is stopped. It is imported once per process and again after a kill.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components.contract.config import GraderSpec, SandboxSection
from components.contract.errors import InputError
from components.sandbox.modes import sandbox_options

BUILT_IN = {
    "classifier": "components.reward.graders.classifier:classifier",
    "code": "components.reward.graders.code:code",
    "exact": "components.reward.graders.text:exact",
    "judge": "components.reward.graders.judge:judge",
    "lean": "components.reward.graders.lean:lean",
    "length": "components.reward.graders.text:length",
    "math": "components.reward.graders.math:math",
    "numeric": "components.reward.graders.numeric:numeric",
    "reasoning_gym": "components.reward.graders.reasoning_gym:reasoning_gym",
    "regex": "components.reward.graders.text:regex",
}

RUN_PROGRAMS = {BUILT_IN["code"]}
"""Graders that run what a model wrote, and get the sandbox as the option `sandbox`."""

_LOCATION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@dataclass(frozen=True)
class Grader:
    """A grader as grading processes get it: `name` is that of its component, `location` `package.module:function`."""

    name: str
    location: str
    weight: float
    options: dict[str, Any]


def resolve_graders(
    specs: Iterable[GraderSpec], sandbox: SandboxSection | None = None, time_limit: float = 10.0
) -> list[Grader]:
    """Look names up without importing anything.

    Raises:
        InputError: neither a built-in grader nor of the form `package.module:function`; or a grader runs programs
            and this machine has no sandbox for them.
    """
    graders = []
    for spec in specs:
        location = BUILT_IN.get(spec.name, spec.name)
        if not _LOCATION.fullmatch(location):
            raise InputError(
                f"reward.graders: there is no grader {spec.name!r}; built in are {', '.join(sorted(BUILT_IN))}, "
                "and a function of your own is written package.module:function"
            )
        options = dict(spec.options)
        if location in RUN_PROGRAMS:
            options["sandbox"] = sandbox_options(sandbox or SandboxSection(), time_limit)
        graders.append(Grader(spec.component, location, spec.weight, options))
    return graders


def sandbox_facts(graders: Iterable[Grader]) -> dict[str, str]:
    """For the manifest: `sandbox`, the mode that programs ran in; nothing where no grader runs any."""
    modes = [grader.options["sandbox"]["mode"] for grader in graders if grader.location in RUN_PROGRAMS]
    return {"sandbox": modes[0]} if modes else {}
