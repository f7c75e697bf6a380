"""One iteration's training as the store has it: inputs, outputs, and what commits them."""

from dataclasses import dataclass

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.store import OutputDirectory, Run, StageOutput, open_run
from components.train.trajectories import shard_directories

METRICS = "metrics.json"


@dataclass(frozen=True)
class Work:
    """One iteration's training, looked up but not begun.

    Attributes:
        incoming: directory whose manifest commits the policy to be trained; `policy` is that manifest.
        sampled: directory whose manifest commits the behaviour policy, which made the trajectories: the same, but for
            pipelined iterations. `behaviour` is that manifest.
        output: where the next policy goes.
    """

    run: Run
    iteration: int
    incoming: OutputDirectory
    policy: Manifest
    sampled: OutputDirectory
    behaviour: Manifest
    output: StageOutput

    @classmethod
    def of(cls, run_uri: str, iteration: int) -> "Work":
        run = open_run(run_uri)
        if iteration < 1:
            raise InputError(f"iteration {iteration}: iterations count from 1")
        incoming = run.directory(run.layout.policy_commit(iteration - 1))
        policy = incoming.require()
        if not policy.holds_policy:
            raise InputError(
                f"{incoming.uri} made no policy because loop.target_reward was reached; there is nothing to train"
            )
        inputs = {"policy": str(policy.facts["weights_digest"])}
        for shard, rollout, reward in shard_directories(run, iteration):
            inputs[f"trajectories/{shard}"] = rollout.require().digest
            inputs[f"rewards/{shard}"] = reward.require().digest
        version = run.sampled_policy(Round.iteration(iteration))
        sampled = run.directory(run.layout.policy_commit(version))
        return cls(
            run=run,
            iteration=iteration,
            incoming=incoming,
            policy=policy,
            sampled=sampled,
            behaviour=sampled.require(),
            output=run.output("train", run.layout.train(iteration), inputs, Round.iteration(iteration)),
        )

    @property
    def stale(self) -> bool:
        """Whether the policy has moved on since the trajectories were sampled."""
        return self.sampled.key != self.incoming.key


def commit(
    work: Work,
    metrics: TrainMetrics,
    facts: Facts,
    clock: Clock,
) -> Manifest:
    """Write metrics and manifest."""
    with clock.measure("store"):
        work.output.write(METRICS, (metrics.model_dump_json(indent=2) + "\n").encode())
    return work.output.commit(
        clock.timings(),
        {
            "outcome": metrics.outcome,
            "policy_version": metrics.policy_version,
            "target_reached": metrics.outcome == "target_reached",
            **facts,
        },
    )
