"""The reward stage: grades the trajectories of one shard of one round.

Every part of trajectories gives one part of rewards, with the same rows in the same order. A completion that takes too
long, makes its grader raise or gets no finite number has reward 0 and the status that says so.
"""

from contextlib import ExitStack
from dataclasses import replace

from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool
from components.reward.shard_grading import grade_shard, shard_inputs
from components.runtime.clock import Clock
from components.store import open_run


def run_stage(run_uri: str, round_: Round, shard: int, unsafe: bool = False) -> Manifest:
    """Grade a shard, or return the manifest of a shard that is graded already.

    A killed stage resumes after its last whole part, provided the graders still have the same versions. `unsafe`
    allows programs to run without a sandbox, as `reward.sandbox.unsafe` does; the manifest holds the mode they ran in.

    Raises:
        InputError: trajectories are missing or damaged, a grader cannot be loaded, or more completions than
            `reward.max_failed_share` could not be graded.
    """
    clock = Clock()
    run = open_run(run_uri)
    settings = run.config.reward
    output = run.output("reward", run.layout.reward(round_, shard), shard_inputs(run, round_, shard), round_, shard)
    if manifest := output.committed():
        return manifest
    output = replace(output, attempt=run.claim("reward", shard))
    sandbox = settings.sandbox.model_copy(update={"unsafe": True}) if unsafe else settings.sandbox
    graders = resolve_graders(settings.graders, sandbox, settings.time_limit)
    with ExitStack() as stack:
        with clock.measure("load"):
            pool = stack.enter_context(GraderPool(graders, settings.workers, settings.time_limit, settings.batch_size))
        return grade_shard(run, round_, shard, output, pool, clock)
