"""Re-scoring: stored trajectories are graded again, by other graders.

The run's own rewards never change: its policies were trained on them, and later manifests hold their digests. The new
ones go beside them, into a directory named by a digest of the graders and their versions. The same graders find their
rewards there, and a killed re-scoring resumes.
"""

from collections.abc import Sequence
from dataclasses import replace

from components.contract.config import RunConfig
from components.contract.digests import json_digest
from components.contract.layout import Round
from components.contract.stage_digest import stage_digest
from components.results import read_prompts
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool
from components.reward.shard_grading import grade_shard, shard_inputs
from components.runtime.clock import Clock
from components.store import Attempt, Run


def rescore(run: Run, config: RunConfig, rounds: Sequence[Round]) -> str:
    """Grade every shard of these rounds with the graders of `config`; return the name of the directory.

    Raises:
        InputError: a grader cannot be loaded, trajectories are missing or damaged, or more completions than
            `reward.max_failed_share` could not be graded.
    """
    settings, digest = config.reward, stage_digest(config, "reward")
    graders = resolve_graders(settings.graders, settings.sandbox, settings.time_limit)
    with GraderPool(graders, settings.workers, settings.time_limit, settings.batch_size) as pool:
        name = json_digest([digest, pool.versions])[:12]
        run, attempt, prompts = replace(run, config=config, cancel_mark=""), None, read_prompts(run)
        for round_ in rounds:
            for shard in range(run.config.rollout.shards):
                key, inputs = run.layout.rescored(name, round_, shard), shard_inputs(run, round_, shard)
                output = run.output("reward", key, inputs, round_, shard)
                if output.committed() is None:
                    attempt = attempt or Attempt.claim(run.store, run.layout.rescored_root(name))
                    grade_shard(run, round_, shard, replace(output, attempt=attempt), prompts, pool, Clock())
    return name
