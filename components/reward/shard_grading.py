"""Grading of the trajectories of one shard of one round."""

import pyarrow as pa

from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest
from components.contract.schemas import REWARDS, with_metadata
from components.reward.grader_lookup import sandbox_facts
from components.reward.grading_pool import GraderPool
from components.reward.reward_tables import ABORTED, PartTasks, part_tasks, rewards_table
from components.reward.score import Outcome
from components.reward.shard_summary import ShardSummary, TooManyFailed
from components.runtime.clock import Clock
from components.runtime.progress import StageProgress, note
from components.runtime.replaced import require_input, require_unchanged
from components.store import Run, StageOutput
from components.store.parts import PartWriter, read_part


def shard_inputs(run: Run, round_: Round, shard: int) -> dict[str, str]:
    """Return name and digest of the inputs of a shard's rewards.

    Raises:
        InputError: prompts or trajectories are not committed yet.
    """
    keys = {"trajectories": run.layout.rollout(round_, shard), "prompts": run.layout.prompts}
    return {name: require_input(run.directory(key)).digest for name, key in keys.items()}


def grade_shard(
    run: Run, round_: Round, shard: int, output: StageOutput, prompts: pa.Table, pool: GraderPool, clock: Clock
) -> Manifest:
    """Grade a shard part by part, resuming after the last whole part that an earlier start with the same graders left.

    Where too many completions fail, the parts written so far are removed: the next start must not build on what a
    broken grader returned.

    Raises:
        InputError: trajectories are missing or damaged, or more completions than `reward.max_failed_share` could not be
            graded.
    """
    rollout = run.directory(run.layout.rollout(round_, shard))
    trajectories = rollout.require()
    facts = {"run": run.config.run.name, "round": str(round_), "shard": shard, "config_digest": output.config_digest}
    schema = with_metadata(REWARDS, {**facts, **output.inputs, "grader_versions": pool.versions})
    writer = PartWriter(output, "rewards", schema)
    with clock.measure("store"):
        done_parts = writer.resume()
    summary = ShardSummary(sum(file.rows or 0 for file in trajectories.outputs), run.config.reward.max_failed_share)
    label = run.label("reward", round_, shard)
    with StageProgress(label, summary.total, "completions") as progress:
        try:
            for index, file in enumerate(trajectories.outputs):
                with clock.measure("store"):
                    table = read_part(rollout, file.path, "trajectories", trajectories)
                if index < len(done_parts):
                    summary.add_part(done_parts[index], table)
                    summary.check()
                    continue
                with clock.measure("compute"):
                    part = part_tasks(table, prompts, f"{rollout.uri}/{file.path}")
                    outcomes = _grade(pool, part, table, summary, progress)
                with clock.measure("store"):
                    writer.append(rewards_table(table, outcomes, pool.graders, pool.versions))
        except TooManyFailed:
            for file in output.files:
                output.store.delete(f"{output.key}/{file.path}")
            raise
    for warning in summary.warnings():
        note(f"{label}: {warning}")
    totals: Facts = {**summary.facts(), "grader_version": "+".join(pool.versions), **sandbox_facts(pool.graders)}
    require_unchanged(output, lambda: shard_inputs(run, round_, shard))
    return output.commit(clock.timings(), totals)


def _grade(
    pool: GraderPool, part: PartTasks, table: pa.Table, summary: ShardSummary, progress: StageProgress
) -> list[Outcome]:
    """Return the outcomes of all rows of a part, in order."""
    splits = table["split"].to_pylist()
    outcomes: dict[int, Outcome] = {}

    def add(row: int, outcome: Outcome) -> None:
        outcomes[row] = outcome
        summary.add(outcome.status, splits[row], outcome.reward, outcome.detail)

    for row in part.aborted:
        add(row, ABORTED)
    summary.check()
    for index, outcome in pool.grade(part.tasks):
        for row in part.rows[index]:
            add(row, outcome)
            outcome = outcome._replace(seconds=0.0)  # they count once, in the first row
        summary.check()
        progress.update(summary.seen, summary.progress())
    return [outcomes[row] for row in range(table.num_rows)]
