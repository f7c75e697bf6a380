"""One iteration's training in the store: its inputs, its outputs, its checkpoints. Imports nothing heavy."""

from dataclasses import dataclass, replace

from components.contract.digests import json_digest
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest, outputs_digest
from components.contract.metrics import TrainMetrics
from components.results import scored_inputs
from components.runtime.clock import Clock
from components.runtime.progress import note
from components.store import Attempt, OutputDirectory, Run, StageOutput
from components.store.earlier_runs import earlier_runs
from components.train.build_objective import objective_inputs
from components.train.trajectories import replayed_iterations

METRICS = "metrics.json"


@dataclass(frozen=True)
class TrainTask:
    """Inputs and outputs of one iteration's training.

    Attributes:
        policy_directory: directory whose manifest commits the policy to train; `policy_manifest` is that manifest.
        behaviour_directory: directory whose manifest commits the behaviour policy; the same as
            `policy_directory` unless iterations are pipelined. `behaviour_manifest` is that manifest.
        policy_output: where the next policy goes, committed first: sampling goes on while the rest is uploaded.
        output: where metrics and the optimizer's state go.
    """

    run: Run
    iteration: int
    policy_directory: OutputDirectory
    policy_manifest: Manifest
    behaviour_directory: OutputDirectory
    behaviour_manifest: Manifest
    policy_output: StageOutput
    output: StageOutput

    @classmethod
    def find(cls, run: Run, iteration: int) -> "TrainTask":
        """Look up an iteration's inputs.

        Raises:
            InputError: an input is not committed, or there is no policy to train.
        """
        if iteration < 1:
            raise InputError(f"iteration {iteration}: iterations count from 1")
        policy_directory = run.policy(iteration - 1)
        policy = policy_directory.require()
        if not policy.holds_policy:
            raise InputError(
                f"{policy_directory.uri} made no policy because loop.target_reward was reached; there is nothing to "
                "train"
            )
        inputs = {"policy": str(policy.facts["weights_digest"]), **objective_inputs(run.config.train.objective)}
        if run.config.train.guide:
            inputs["guide"] = str(run.guide().require().facts["weights_digest"])
        inputs |= scored_inputs(run, iteration)
        for earlier in replayed_iterations(run.config, iteration):
            inputs |= {f"replay/{earlier:04d}/{key}": digest for key, digest in scored_inputs(run, earlier).items()}
        if run.config.loop.replay:
            inputs |= {f"replay/{other.run.layout.run}": other.digest for other in earlier_runs(run)}
        version = run.sampled_policy(Round.iteration(iteration))
        behaviour_directory = run.policy(version)
        round_ = Round.iteration(iteration)
        return cls(
            run=run,
            iteration=iteration,
            policy_directory=policy_directory,
            policy_manifest=policy,
            behaviour_directory=behaviour_directory,
            behaviour_manifest=behaviour_directory.require(),
            policy_output=run.output("train", run.layout.policy(iteration), inputs, round_),
            output=run.output("train", run.layout.train(iteration), inputs, round_),
        )

    def claimed(self, attempt: Attempt) -> "TrainTask":
        """Return this task with outputs that `attempt` writes."""
        return replace(
            self,
            policy_output=replace(self.policy_output, attempt=attempt),
            output=replace(self.output, attempt=attempt),
        )

    @property
    def stale(self) -> bool:
        """True if the policy has moved on since the trajectories were sampled."""
        return self.behaviour_directory.key != self.policy_directory.key

    def commit_policy(self, facts: Facts, clock: Clock) -> None:
        """Commit the uploaded policy, or one without weights where the run has stopped.

        A killed attempt may have committed the policy and nothing else. If its weights differ from these, it is
        discarded with everything that was sampled from it: its optimizer state is lost.
        """
        facts = {**facts, "policy_version": self.iteration}
        committed = self.policy_output.manifest()
        if committed and committed.digest != outputs_digest(self.policy_output.files):
            note(f"iteration {self.iteration}: another policy replaces that of a killed attempt and what it sampled")
            self._discard_sampled()
            self.policy_output.retract()
            self._discard_sampled()  # what was committed in between; nobody can sample that policy any more
        self.policy_output.commit(clock.timings(), facts)

    def _discard_sampled(self) -> None:
        run, layout = self.run, self.run.layout
        rounds = [*run.iterations_sampling(self.iteration), Round.evaluation(self.iteration)]
        for round_ in rounds:
            for shard in range(run.config.rollout.shards):
                run.directory(layout.reward(round_, shard)).discard()
                run.directory(layout.rollout(round_, shard)).discard()

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

    @property
    def guide_output(self) -> StageOutput:
        """Return the directory of the guide's log-probabilities of what this iteration trains on.

        They depend on trajectories and guide alone, and on the way in which these are computed.
        """
        config, inputs = self.run.config, self.output.inputs
        return replace(
            self.output,
            key=self.run.layout.guide_logprobs(self.iteration),
            inputs={key: inputs[key] for key in inputs if key == "guide" or key.startswith("trajectories/")},
            config_digest=json_digest([config.rollout.temperature, config.train.compute_dtype]),
        )

    @property
    def vocabulary(self) -> int:
        """Return the number of token ids that have an embedding in this run's policies."""
        return int(str(self.run.policy(0).require().facts["vocab_size"]))

    def checkpoint(self, mini_batches: int) -> StageOutput:
        """Return the directory of the checkpoint after so many mini-batches."""
        key = self.run.layout.checkpoint(self.iteration, mini_batches)
        return replace(self.output, key=key)

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
            self.checkpoint(number).discard()
