"""One iteration's pass: policy and trajectories in, the next policy and what continues from it out."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch

from components.contract.digests import derive_seed
from components.contract.layout import Round
from components.contract.manifest import Facts, Manifest, policy_digests
from components.contract.metrics import TrainMetrics
from components.runtime.clock import Clock
from components.train.checkpoint import load_state, save_state
from components.train.checkpoints import Checkpoints, upload_all
from components.train.diagnostics import TokenMeans
from components.train.export import export_adapters, export_policy
from components.train.gradient import Terms
from components.train.leftovers import clear_checkpoints
from components.train.logprobs import Scorer
from components.train.memory import keep_freed_memory
from components.train.optimizer import build_optimizer
from components.train.policy import add_adapters, compile_layers, load_policy, vocabulary
from components.train.processes import Processes
from components.train.provenance import behaviour_gap, check_gap
from components.train.sharding import full_state, shard
from components.train.trajectories import Trajectories, read_trajectories
from components.train.update import Pass, run_pass
from components.train.work import Work, commit

POLICY = "policy"
OPTIMIZER = "optimizer"
ADAPTER = "adapter"


def train_iteration(work: Work, clock: Clock, replaces: bool) -> Manifest:
    """Train, upload and commit; every process of those that train together calls it.

    Args:
        replaces: whether a manifest that said the target was reached has to go.
    """
    processes = Processes.join()
    keep_freed_memory()
    with ExitStack() as stack:
        stack.callback(processes.leave)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rapid-train-")))
        if replaces and processes.first:
            work.output.retract()
        trainer = _Trainer(work, clock, processes, scratch)
        result = trainer.run()
        trainer.save(result)
        manifest = None
        if processes.first:
            manifest = commit(work, trainer.metrics(result), trainer.facts(result), clock)
            clear_checkpoints(work.run, work.iteration)
        return processes.from_first(manifest)


class _Trainer:
    """The policy of one iteration with its optimizer and data, in this process."""

    def __init__(self, work: Work, clock: Clock, processes: Processes, scratch: Path) -> None:
        self._work, self._clock, self._processes, self._scratch = work, clock, processes, scratch
        self._config = work.run.config
        train = self._config.train
        self.checkpoints = Checkpoints(work.run, work.iteration, work.output.inputs, processes)
        self._below = POLICY if work.iteration > 1 else ""
        carried = adapter = None
        with clock.measure("store"):
            self._incoming = work.incoming.fetch(scratch / "incoming", self._below)
            if train.lora or train.kl_coefficient:
                base = work.run.directory(work.run.layout.policy_commit(0))
                self._base = base.fetch(scratch / "base") if work.iteration > 1 else self._incoming
            if work.iteration > 1:
                carried = work.incoming.fetch(scratch / "carried", OPTIMIZER)
                if train.lora:
                    adapter = work.incoming.fetch(scratch / "adapter", ADAPTER)
        gap = self._behaviour_gap() if work.stale else None
        with clock.measure("load"):
            if train.lora:
                self._model = load_policy(self._base, train, processes.device)
                seed = derive_seed(self._config.run.seed, "adapters")
                add_adapters(self._model, train.lora, adapter, seed)
            else:
                self._model = load_policy(self._incoming, train, processes.device)
            self._scorer = self._make_scorer(self._model)
            if train.compile:
                compile_layers(self._model)
            shard(self._scorer, processes)
            self._optimizer = build_optimizer(self._model, train)
            step = load_state(carried, self._model, self._optimizer, processes) if carried else 0
            self._begun = Pass(step=step, gap_mean=gap.gap_mean if gap else None, gap_max=gap.gap_max if gap else None)
            self._terms = Terms.of(self._config, self._reference())
        with clock.measure("store"):
            self._data = self._read_trajectories(vocabulary(self._model))
            if train.checkpoint_every and (resumed := self.checkpoints.resume(self._model, self._optimizer)):
                self._begun = resumed

    def run(self) -> Pass:
        saver = self.checkpoints.saver(self._model, self._optimizer)
        with self._clock.measure("compute"):
            return run_pass(
                self._scorer,
                self._optimizer,
                self._data,
                self._config,
                self._work.iteration,
                self._begun,
                self._processes,
                self._terms,
                saver if self._config.train.checkpoint_every else None,
            )

    def save(self, result: Pass) -> None:
        """Upload the next policy and what continues from it."""
        lora, made = self._config.train.lora, self._scratch / "made"
        with self._clock.measure("store"):
            # A float32 policy is its own master copy; adapters are kept beside what they were merged into.
            own_weights = self._config.model.dtype != "float32" and not lora
            save_state(made / OPTIMIZER, self._model, self._optimizer, result.step, own_weights, self._processes)
            state = full_state(self._model, self._processes)
            if self._processes.first:
                if lora:
                    state = export_adapters(state, self._base, lora, self._config.model.path, made / ADAPTER)
                prefix = f"{self._below}/" if self._below else ""
                names = [o.path.removeprefix(prefix) for o in self._work.policy.outputs if o.path.startswith(prefix)]
                export_policy(state, self._incoming, names, made / POLICY, self._config.model)
            upload_all(self._work.output, made, "", self._processes)

    def metrics(self, result: Pass) -> TrainMetrics:
        return TrainMetrics(
            iteration=self._work.iteration,
            outcome="trained",
            policy_version=self._work.iteration,
            steps=tuple(result.steps),
            logprob_gap_mean=result.gap_mean,
            logprob_gap_max=result.gap_max,
            groups=self._data.groups,
            zero_signal_groups=result.zero_signal_groups,
            dropped_groups=result.dropped_groups,
            bad_groups=self._data.bad_groups,
            skipped=result.skipped,
            ended_at=result.done + 1 if result.ended_early and self._data.groups > result.dropped_groups else None,
            ended_early=result.ended_early,
        )

    def facts(self, result: Pass) -> Facts:
        return {
            "step": result.step,
            "updates": len(result.steps),
            "skipped": result.skipped,
            **policy_digests(self._work.output.files, POLICY),
        }

    def _read_trajectories(self, size: int) -> Trajectories:
        return read_trajectories(self._work.run, self._work.iteration, self._work.behaviour, size)

    def _behaviour_gap(self) -> TokenMeans | None:
        """Load the policy that sampled, compare it with its trajectories and let it go.

        Raises:
            InputError: it cannot have sampled them.
        """
        version = self._work.run.sampled_policy(Round.iteration(self._work.iteration))
        with self._clock.measure("store"):
            files = self._work.sampled.fetch(self._scratch / "behaviour", POLICY if version else "")
        with self._clock.measure("load"):
            scorer = self._make_scorer(load_policy(files, self._config.train, self._processes.device))
            scorer.requires_grad_(False)
            shard(scorer, self._processes)
        with self._clock.measure("store"):
            data = self._read_trajectories(vocabulary(scorer.model))
        with self._clock.measure("compute"):
            gap = behaviour_gap(scorer, data, self._config, self._work.iteration, self._processes)
        if gap:
            check_gap(gap, self._config.train.max_logprob_gap)
        return gap

    def _make_scorer(self, model: torch.nn.Module) -> Scorer:
        train = self._config.train
        dtype = getattr(torch, train.compute_dtype)
        return Scorer(model, self._config.rollout.temperature, train.logprob_chunk, dtype, train.logprobs)

    def _reference(self) -> Scorer | None:
        """The base policy, where a KL term asks for it."""
        if not self._config.train.kl_coefficient:
            return None
        scorer = self._make_scorer(load_policy(self._base, self._config.train, self._processes.device))
        scorer.requires_grad_(False)
        shard(scorer, self._processes)
        return scorer
