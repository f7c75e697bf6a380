"""The rollout stage: samples the completions of one shard of one round.

A process that serves many rounds keeps engine and prompts loaded; each round then loads its policy into the engine.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest
from components.contract.schemas import SPLITS
from components.results import read_prompts
from components.rollout.engine import CannotReload, Engine, uses_gpu
from components.rollout.guided_starts import start_inputs
from components.rollout.shard_sampling import sample_shard
from components.runtime.clock import Clock
from components.runtime.ending import EndsWithRun
from components.runtime.progress import note
from components.runtime.replaced import InputsReplaced, discarded_if_replaced, require_input, require_unchanged
from components.runtime.scratch import scratch_directory
from components.runtime.worker import Worker
from components.store import Attempt, Run, open_run


def run_stage(run_uri: str, round_: Round, shard: int) -> Manifest:
    """Sample the shard's groups and commit them as trajectories.

    Args:
        run_uri: the run that prepare has set up.
        round_: an iteration samples training and held-out prompts, an evaluation only held-out ones.
        shard: from 0 to `rollout.shards` - 1.

    Returns:
        The manifest, whose facts hold the rows, tokens and tokens per second.

    Raises:
        InputError: no such run or shard, the policy of this round is not committed, or something else is
            already committed where the trajectories go.
    """
    return Rollout(open_run(run_uri)).sample(round_, shard)


def follow(run_uri: str, shards: Sequence[int] | None = None, shares_gpu: bool = False) -> None:
    """Sample every round of a run, each once its policy is committed.

    Args:
        shards: those to sample, one after the other; None for all.
        shares_gpu: give the GPU's memory to others between rounds; without a GPU nothing is shared.

    Raises:
        InputError: as `run_stage`, or another worker of the run has failed.
    """
    run = open_run(run_uri)
    with EndsWithRun(run), Worker(run, "rollout", shards) as worker:
        shares_gpu = shares_gpu and uses_gpu()
        rollout = Rollout(run, is_resident=True, shares_gpu=shares_gpu)
        if not shares_gpu:  # else the trainer may be at work
            with suppress(InputError):  # a policy that cannot be loaded is one that is never sampled, or fails then
                rollout.load(run.policy_version())
                worker.loaded()
        worker.serve_shards(rollout.sample)


class Rollout:
    """The things that stay loaded from round to round: the engine with a policy, and the run's prompts.

    Args:
        is_resident: whether more than one policy will be sampled.
        shares_gpu: whether the engine leaves the GPU's memory to others between rounds.
    """

    def __init__(self, run: Run, is_resident: bool = False, shares_gpu: bool = False) -> None:
        self._run = run
        self._is_resident, self._shares_gpu = is_resident, shares_gpu
        self._engine: Engine | None = None
        self._loaded: dict[str, str] = {}
        """Digests of the policy in the engine, of files that were verified."""

    def sample(self, round_: Round, shard: int, attempt: Attempt | None = None) -> Manifest:
        """Sample a shard of a round, or return its manifest where it is committed.

        Args:
            attempt: the start of the worker that writes; None claims one.

        Raises:
            InputsReplaced: the policy was replaced meanwhile, and the samples are thrown away.
            InputError: as `run_stage`.
        """
        clock = Clock()
        run = self._run
        if not 0 <= shard < run.config.rollout.shards:
            raise InputError(f"shard {shard} is not below rollout.shards = {run.config.rollout.shards}")
        version = run.sampled_policy(round_)
        output = run.output("rollout", run.layout.rollout(round_, shard), self._inputs(version, round_), round_, shard)
        if manifest := output.committed():
            return manifest
        output = replace(output, attempt=attempt or run.claim("rollout", shard))
        with discarded_if_replaced(output, lambda: self._inputs(version, round_)):
            with clock.measure("store"):
                prompts = self._prompts
            facts = sample_shard(run, round_, shard, output, prompts, lambda: self.load(version, clock), clock)
            if self._shares_gpu and self._engine and not self._engine.is_sleeping:
                self._engine.sleep()  # before the commit, after which the trainer may need the memory
            require_unchanged(output, lambda: self._inputs(version, round_))
            return output.commit(clock.timings(), facts)

    def load(self, version: int, clock: Clock | None = None) -> Engine:
        """Return the engine with a policy, which is loaded unless it is there already.

        Raises:
            InputError: the policy is not committed, is damaged, or vLLM cannot load it.
        """
        clock, run = clock or Clock(), self._run
        policy = _digests(run, version)
        if self._engine and self._loaded == policy and not self._engine.is_sleeping:
            return self._engine
        with scratch_directory("rapid-rollout-") as scratch:
            with clock.measure("store"):
                files = run.fetch_policy(version, scratch)
                if _digests(run, version) != policy:
                    raise InputsReplaced(f"policy {version} was replaced while it was read")
            with clock.measure("load"):
                self._engine = self._with_policy(files, policy)
        self._loaded = policy
        return self._engine

    def _with_policy(self, files: Path, policy: dict[str, str]) -> Engine:
        """Return an engine that has a policy's weights: the loaded one where that is possible, else a new one."""
        if self._engine and self._loaded.get("tokenizer") == policy["tokenizer"]:
            try:
                self._loaded = {}
                self._engine.reload(files)
                return self._engine
            except CannotReload as reason:
                note(f"{reason}; a new engine is built")
        if self._engine:
            self._engine.close()
            self._engine = None
        config = self._run.config
        return Engine(
            files, config.model, config.rollout.engine, config.run.seed, self._is_resident, can_sleep=self._shares_gpu
        )

    @cached_property
    def _prompts(self) -> dict[str, pa.Table]:
        prompts = read_prompts(self._run)
        return {split: prompts.filter(pc.equal(prompts["split"], split)) for split in SPLITS}

    @cached_property
    def _prompts_digest(self) -> str:
        return self._run.directory(self._run.layout.prompts).require().digest

    def _inputs(self, version: int, round_: Round) -> dict[str, str]:
        digests = _digests(self._run, version)
        return {"prompts": self._prompts_digest, **digests, **start_inputs(self._run, round_)}


def _digests(run: Run, version: int) -> dict[str, str]:
    """Return the digests of a committed policy's weights, `policy`, and tokenizer."""
    facts = require_input(run.policy(version)).facts
    return {"policy": str(facts["weights_digest"]), "tokenizer": str(facts["tokenizer_digest"])}
