"""The reward stage: grades one shard's trajectories of one round.

One part of rewards per part of trajectories, same rows in the same order. A completion that takes too long,
makes its grader raise or gets no finite number has reward 0 and a status that says so; no row is ever missing.
"""

from contextlib import ExitStack

import pyarrow as pa

from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.resolve import stage_digest
from components.contract.schemas import REWARDS, validate, with_metadata
from components.reward.pool import GraderPool, Outcome
from components.reward.registry import resolve_graders, sandbox_facts
from components.reward.tables import ABORTED, PartTasks, outcome_rows, part_tasks, rewards_table
from components.reward.tally import Tally, TooManyFailed
from components.runtime.clock import Clock
from components.runtime.progress import StageProgress
from components.store import OutputDirectory, open_run
from components.store.parts import PartWriter, decode


def run(run_uri: str, at: Round, shard: int, unsafe: bool = False) -> Manifest:
    """Grade a shard, or return the manifest of a shard that is graded already.

    A killed stage resumes after its last whole part, provided the graders still have the same versions. Where
    too many completions fail, the parts written so far are removed: they hold what a broken grader said, and
    the next start shall not build on them. `unsafe` allows programs to run without a sandbox, as
    `reward.sandbox.unsafe` does; the manifest's facts say what they ran in.

    Raises:
        InputError: trajectories are missing or damaged, a grader cannot be loaded, or more completions than
            `reward.max_failed_share` could not be graded.
    """
    clock = Clock()
    opened = open_run(run_uri)
    settings = opened.config.reward
    directory = opened.directory(opened.layout.reward(at, shard))
    rollout, prompts = (opened.directory(key) for key in (opened.layout.rollout(at, shard), opened.layout.prompts))
    trajectories = rollout.require()
    inputs = {"trajectories": trajectories.digest, "prompts": prompts.require().digest}
    digest = stage_digest(opened.config, "reward")
    if done := directory.settled(inputs, digest):
        return done

    sandbox = settings.sandbox.model_copy(update={"unsafe": True}) if unsafe else settings.sandbox
    graders = resolve_graders(settings.graders, sandbox, settings.time_limit)
    with clock.measure("store"):
        known = pa.concat_tables(
            _read(prompts, output.path, "prompts") for output in prompts.require().outputs if _is_table(output.path)
        )
    tally = Tally(sum(output.rows or 0 for output in trajectories.outputs), settings.max_failed_share)
    with ExitStack() as stack:
        with clock.measure("load"):
            pool = stack.enter_context(GraderPool(graders, settings.workers, settings.time_limit))
        facts = {"run": opened.config.run.name, "round": str(at), "shard": shard, "config_digest": digest}
        schema = with_metadata(REWARDS, {**facts, **inputs, "grader_versions": pool.versions})
        writer = PartWriter(directory, "rewards", schema)
        with clock.measure("store"):
            done_parts = writer.resume()
        label = f"{str(at).replace('-', ' ')} reward" + (f" shard {shard}" if opened.config.rollout.shards > 1 else "")
        progress = stack.enter_context(StageProgress(label, tally.total, "completions"))
        try:
            for index, output in enumerate(trajectories.outputs):
                with clock.measure("store"):
                    table = _read(rollout, output.path, "trajectories", trajectories)
                if index < len(done_parts):
                    tally.add_part(done_parts[index], table)
                    tally.check()
                    continue
                with clock.measure("compute"):
                    part = part_tasks(table, known, f"{rollout.uri}/{output.path}")
                    outcomes = _grade(pool, part, table, tally, progress)
                with clock.measure("store"):
                    writer.append(rewards_table(table, outcomes, graders, pool.versions))
        except TooManyFailed:
            for output in writer.outputs:
                directory.store.delete(f"{directory.key}/{output.path}")
            raise
    return directory.commit(
        "reward",
        opened.config.run.name,
        writer.outputs,
        inputs,
        digest,
        clock.timings(),
        iteration=at.number,
        shard=shard,
        facts={**tally.facts(), "grader_version": "+".join(pool.versions), **sandbox_facts(graders)},
    )


def _grade(pool: GraderPool, part: PartTasks, table: pa.Table, tally: Tally, progress: StageProgress) -> list[Outcome]:
    """Outcomes of all rows of a part, in its order."""
    splits = table["split"].to_pylist()
    outcomes: dict[int, Outcome] = {}

    def take(row: int, outcome: Outcome) -> None:
        outcomes[row] = outcome
        tally.add(outcome.status, splits[row], outcome.reward, outcome.detail)

    for row in part.aborted:
        take(row, ABORTED)
    tally.check()
    for index, outcome in pool.grade(part.tasks):
        for row, own in outcome_rows(part, index, outcome):
            take(row, own)
        tally.check()
        progress.update(tally.seen, tally.progress())
    return [outcomes[row] for row in range(table.num_rows)]


def _read(directory: OutputDirectory, path: str, kind: str, manifest: Manifest | None = None) -> pa.Table:
    where = f"{directory.uri}/{path}"
    table = decode(directory.read(path, manifest), where)
    validate(table, kind, where)
    return table


def _is_table(path: str) -> bool:
    return path.endswith(".parquet")
