"""One iteration's training as the store has it: inputs, outputs, and what commits them."""

from dataclasses import dataclass

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest, Output
from components.contract.metrics import TrainMetrics
from components.contract.resolve import stage_digest
from components.runtime.clock import Clock
from components.store import OutputDirectory, Run, open_run
from components.train.trajectories import shard_directories

METRICS = "metrics.json"

Facts = dict[str, str | int | float | bool | None]


@dataclass(frozen=True)
class Work:
    """One iteration's training, looked up but not begun.

    Attributes:
        incoming: directory whose manifest commits the policy to be trained; `policy` is that manifest.
        sampled: directory whose manifest commits the behaviour policy, which made the trajectories: the same, but for
            pipelined iterations. `behaviour` is that manifest.
        directory: where the next policy goes.
        inputs, digest: what the outputs depend on.
    """

    run: Run
    iteration: int
    incoming: OutputDirectory
    policy: Manifest
    sampled: OutputDirectory
    behaviour: Manifest
    directory: OutputDirectory
    inputs: dict[str, str]
    digest: str

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
            directory=run.directory(run.layout.train(iteration)),
            inputs=inputs,
            digest=stage_digest(run.config, "train"),
        )

    @property
    def stale(self) -> bool:
        """Whether the policy has moved on since the trajectories were sampled."""
        return self.sampled.key != self.incoming.key


def commit(
    work: Work,
    metrics: TrainMetrics,
    outputs: list[Output],
    facts: Facts,
    clock: Clock,
) -> Manifest:
    """Write metrics and manifest."""
    with clock.measure("store"):
        metrics_file = work.directory.write(METRICS, (metrics.model_dump_json(indent=2) + "\n").encode())
    return work.directory.commit(
        stage="train",
        run=work.run.layout.run,
        iteration=work.iteration,
        outputs=[*outputs, metrics_file],
        inputs=work.inputs,
        config_digest=work.digest,
        timings=clock.timings(),
        facts={
            "outcome": metrics.outcome,
            "policy_version": metrics.policy_version,
            "target_reached": metrics.outcome == "target_reached",
            **facts,
        },
    )
