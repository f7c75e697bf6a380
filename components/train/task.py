"""One iteration's training in the store: its inputs, its outputs, its checkpoints. Imports nothing heavy."""

from dataclasses import dataclass

from components.contract.errors import InputError
from components.contract.layout import Round, manifest_key
from components.contract.manifest import Facts, Manifest
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.store import OutputDirectory, Run, StageOutput, open_run
from components.train.build_objective import objective_inputs
from components.train.trajectories import shard_directories

METRICS = "metrics.json"


@dataclass(frozen=True)
class TrainTask:
    """Inputs and outputs of one iteration's training.

    Attributes:
        policy_directory: directory whose manifest commits the policy to train; `policy_manifest` is that manifest.
        behaviour_directory: directory whose manifest commits the behaviour policy; the same as
            `policy_directory` unless iterations are pipelined. `behaviour_manifest` is that manifest.
        output: where the next policy goes.
    """

    run: Run
    iteration: int
    policy_directory: OutputDirectory
    policy_manifest: Manifest
    behaviour_directory: OutputDirectory
    behaviour_manifest: Manifest
    output: StageOutput

    @classmethod
    def find(cls, run_uri: str, iteration: int) -> "TrainTask":
        """Look up an iteration's inputs.

        Raises:
            InputError: an input is not committed, or there is no policy to train.
        """
        run = open_run(run_uri)
        if iteration < 1:
            raise InputError(f"iteration {iteration}: iterations count from 1")
        policy_directory = run.directory(run.layout.policy_commit(iteration - 1))
        policy = policy_directory.require()
        if not policy.holds_policy:
            raise InputError(
                f"{policy_directory.uri} made no policy because loop.target_reward was reached; there is nothing to "
                "train"
            )
        inputs = {"policy": str(policy.facts["weights_digest"]), **objective_inputs(run.config.train.objective)}
        for shard, rollout, reward in shard_directories(run, iteration):
            inputs[f"trajectories/{shard}"] = rollout.require().digest
            inputs[f"rewards/{shard}"] = reward.require().digest
        version = run.sampled_policy(Round.iteration(iteration))
        behaviour_directory = run.directory(run.layout.policy_commit(version))
        return cls(
            run=run,
            iteration=iteration,
            policy_directory=policy_directory,
            policy_manifest=policy,
            behaviour_directory=behaviour_directory,
            behaviour_manifest=behaviour_directory.require(),
            output=run.output("train", run.layout.train(iteration), inputs, Round.iteration(iteration)),
        )

    @property
    def stale(self) -> bool:
        """True if the policy has moved on since the trajectories were sampled."""
        return self.behaviour_directory.key != self.policy_directory.key

    def commit(self, metrics: TrainMetrics, facts: Facts, clock: Clock) -> Manifest:
        """Write metrics and manifest."""
        with clock.measure("store"):
            self.output.write(METRICS, (metrics.model_dump_json(indent=2) + "\n").encode())
        return self.output.commit(
            clock.timings(),
            {
                "outcome": metrics.outcome,
                "policy_version": metrics.policy_version,
                "target_reached": metrics.outcome == "target_reached",
                **facts,
            },
        )

    def withdraw_target_reached(self) -> None:
        """Remove the manifest that says that the target was reached, where there is one."""
        manifest = self.output.manifest()
        if manifest and manifest.facts["outcome"] == "target_reached":
            self.output.retract()

    def checkpoint(self, mini_batches: int) -> StageOutput:
        """Return the directory of the checkpoint after so many mini-batches."""
        key = self.run.layout.checkpoint(self.iteration, mini_batches)
        return self.run.output("train", key, self.output.inputs, Round.iteration(self.iteration))

    def checkpoints(self) -> set[int]:
        """Return the mini-batches behind every checkpoint of which anything is stored, complete or not."""
        root = self.run.layout.checkpoints(self.iteration)
        names = (info.key.removeprefix(f"{root}/").split("/")[0] for info in self.run.store.list(root))
        return {int(name) for name in names if name.isdecimal()}

    def newest_checkpoint(self) -> int:
        """Return the mini-batches behind the newest complete checkpoint of these inputs and settings; 0 if none."""
        manifests = {number: self.checkpoint(number).manifest() for number in self.checkpoints()}
        fit = (number for number, manifest in manifests.items() if manifest and not self.output.mismatch(manifest))
        return max(fit, default=0)

    def clear_checkpoints(self, all_but: int | None = None) -> None:
        for number in self.checkpoints() - {all_but}:
            key = self.checkpoint(number).key
            # The manifest first, so that a kill leaves no checkpoint that counts with files missing.
            self.run.store.delete(manifest_key(key))
            for info in self.run.store.list(key):
                self.run.store.delete(info.key)
