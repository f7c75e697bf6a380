"""The check of reference solutions: programs of the data set's own, which must pass the tests of their row."""

import json
from typing import Any

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec
from components.prepare.prompt_tables import DataSet
from components.prepare.prompts import Prompt
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask
from pipelines.preflight.findings import Finding

COLUMNS = ("code", "canonical_solution", "reference_solution", "solution")
ROWS = 50
_SHOWN = 3
_WORKERS = 2


def check_references(config: RunConfig, sets: list[DataSet]) -> list[Finding]:
    """Grade reference solutions of up to `ROWS` rows of each data set, where the grader `code` is configured."""
    specs = [spec for spec in config.reward.graders if spec.name == "code"]
    if not specs:
        return []
    try:
        return [found for read in sets for found in _check(read, specs[0], config)]
    except InputError:  # the check of the machine says why nothing can be run
        return []


def _check(read: DataSet, spec: GraderSpec, config: RunConfig) -> list[Finding]:
    rows = [(prompt, solution) for prompt in read.prompts if (solution := _solution(prompt)) is not None]
    rows = rows[:: max(1, len(rows) // ROWS)][:ROWS]
    if not rows:
        return []
    limit = config.reward.time_limit
    options = {**spec.options, "partial": False, "reasoning_end": None}
    graders = resolve_graders([GraderSpec(name="code", options=options)], config.reward.sandbox, limit)
    tasks = [GradingTask(_text(prompt), solution, prompt.answer, prompt.metadata) for prompt, solution in rows]
    with GraderPool(graders, _WORKERS, limit) as pool:
        outcomes = dict(pool.grade(tasks))
    wrong = [
        f"row {prompt.number}: {outcomes[index].detail}"
        for index, (prompt, _) in enumerate(rows)
        if outcomes[index].reward < 1.0
    ]
    subject = f"{read.key}: reference solutions"
    if not wrong:
        return [Finding.ok(subject, f"{len(rows)} of {len(rows)} pass their tests")]
    shown = "; ".join(wrong[:_SHOWN])
    result = f"{len(wrong)} of {len(rows)} do not pass their own tests: {shown}"
    return [Finding.warning(subject, result, "leave these rows out: no program is rewarded for them")]


def _solution(prompt: Prompt) -> str | None:
    columns: dict[str, Any] = json.loads(prompt.metadata)
    for name in COLUMNS:
        if isinstance(columns.get(name), str) and columns[name].strip():
            # A body that continues the prompt has to stay as it is.
            body = columns[name].startswith((" ", "\t"))
            return columns[name] if body else f"```python\n{columns[name]}\n```"
    return None


def _text(prompt: Prompt) -> str:
    return prompt.content if isinstance(prompt.content, str) else prompt.content[-1]["content"]
