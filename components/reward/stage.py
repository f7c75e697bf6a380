"""The reward stage: grades the trajectories of one shard of one round.

Every part of trajectories gives one part of rewards, with the same rows in the same order. A completion that takes too
long, makes its grader raise or gets no finite number has reward 0 and the status that says so. A process that serves
many rounds keeps its grading processes and the prompts.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import Self

import pyarrow as pa

from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.results import read_prompts
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool
from components.reward.shard_grading import grade_shard, shard_inputs
from components.runtime.clock import Clock
from components.runtime.ending import EndsWithRun
from components.runtime.replaced import discarded_if_replaced
from components.runtime.worker import Worker
from components.store import Attempt, Run, open_run


def run_stage(run_uri: str, round_: Round, shard: int, unsafe: bool = False) -> Manifest:
    """Grade a shard, or return the manifest of a shard that is graded already.

    A killed stage resumes after its last whole part, provided the graders still have the same versions. `unsafe`
    allows programs to run without a sandbox, as `reward.sandbox.unsafe` does; the manifest holds the mode they ran in.

    Raises:
        InputError: trajectories are missing or damaged, a grader cannot be loaded, more completions than
            `reward.max_failed_share` could not be graded, or grading processes are killed again and again.
    """
    with Grading(open_run(run_uri), unsafe) as grading:
        return grading.grade(round_, shard)


def follow(run_uri: str, shards: Sequence[int] | None = None, unsafe: bool = False) -> None:
    """Grade every round of a run, each once it is sampled.

    Args:
        shards: those to grade, one after the other; None for all.

    Raises:
        InputError: as `run_stage`, or another worker of the run has failed.
    """
    run = open_run(run_uri)
    with EndsWithRun(run), Worker(run, "reward", shards) as worker, Grading(run, unsafe) as grading:
        grading.load()
        worker.loaded()
        worker.serve_shards(grading.grade)


class Grading:
    """The things that stay loaded from round to round: grading processes and the run's prompts. A context manager."""

    def __init__(self, run: Run, unsafe: bool = False) -> None:
        self._run, self._unsafe = run, unsafe
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def load(self) -> None:
        """Start the grading processes. Raises InputError where a grader cannot be loaded."""
        assert self._pool

    def grade(self, round_: Round, shard: int, attempt: Attempt | None = None) -> Manifest:
        """Grade a shard of a round, or return its manifest where it is committed.

        Args:
            attempt: the start of the worker that writes; None claims one.

        Raises:
            InputsReplaced: the trajectories were discarded meanwhile, and so are their rewards.
            InputError: as `run_stage`.
        """
        clock, run = Clock(), self._run
        inputs = shard_inputs(run, round_, shard)
        output = run.output("reward", run.layout.reward(round_, shard), inputs, round_, shard)
        if manifest := output.committed():
            return manifest
        output = replace(output, attempt=attempt or run.claim("reward", shard))
        with clock.measure("load"):
            pool = self._pool
        with clock.measure("store"):
            prompts = self._prompts
        with discarded_if_replaced(output, lambda: shard_inputs(run, round_, shard)):
            return grade_shard(run, round_, shard, output, prompts, pool, clock)

    @cached_property
    def _pool(self) -> GraderPool:
        settings = self._run.config.reward
        sandbox = settings.sandbox.model_copy(update={"unsafe": True}) if self._unsafe else settings.sandbox
        graders = resolve_graders(settings.graders, sandbox, settings.time_limit)
        pool = GraderPool(graders, settings.workers, settings.time_limit, settings.batch_size)
        return self._stack.enter_context(pool)

    @cached_property
    def _prompts(self) -> pa.Table:
        return read_prompts(self._run)
