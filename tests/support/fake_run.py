"""Runs with synthetic outputs, committed through the store as the stages would."""

import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.contract.config import RunConfig
from components.contract.layout import Round, RunLayout
from components.contract.manifest import Manifest, Timings, policy_digests
from components.contract.metrics import StepMetrics, TrainMetrics
from components.contract.resolve import config_json
from components.contract.schemas import PROMPTS, REWARDS, TRAJECTORIES, with_metadata
from components.store import Run, open_store
from components.store.parts import PartWriter

START = datetime(2026, 1, 1, 10, 0, 0, tzinfo=UTC)
SAMPLES = 4


@dataclass
class FakeRun:
    """A run that grows stage by stage, with a clock of its own.

    Prepare takes 10 s. Each shard of a round, all side by side, takes 2 s to start, 20 s of rollout, a pause of 1 s
    and 4 s of reward. Train takes 2 s to start and 15 s. Between stages there is a pause of 1 s.
    """

    run: Run
    now: datetime = START
    grader_version: str = "1"
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    weights: dict[int, bytes] = field(default_factory=dict)
    """Weights of policies by version, for a run that shares them with another."""

    def spend(self, seconds: float, start: float = 0.0, **kinds: float) -> Timings:
        started = self.now + timedelta(seconds=start)
        self.now = started + timedelta(seconds=seconds)
        return Timings(started=started, finished=self.now, start=start, **kinds)

    def prepare(self, eval_prompts: int) -> None:
        run, config = self.run, self.run.config
        run.store.write(run.layout.config, config_json(config).encode())
        output = run.output("prepare", run.layout.prompts, {"data": "d" * 64})
        for split, count in (("train", 6), ("eval", eval_prompts)):
            rows = [
                {
                    "prompt_id": f"{split}{i:03d}",
                    "split": split,
                    "prompt": f"What is {i} + {i + 1} & <b>why</b>?",
                    "prompt_token_ids": [1, 2, 3],
                    "answer": str(2 * i + 1),
                    "metadata": "{}",
                }
                for i in range(count)
            ]
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows, with_metadata(PROMPTS, {"split": split})), sink)
            output.write(f"{split}.parquet", sink.getvalue(), len(rows))
        timings = self.spend(10.0, start=1.0, load=2.0, compute=5.0, store=1.0)
        output.commit(timings)
        self.policy(0, timings)

    def policy(self, version: int, timings: Timings | None = None, **facts: str | int) -> Manifest:
        run = self.run
        key, round_ = run.layout.policy(version), Round.iteration(version) if version else None
        output = run.output("train" if version else "prepare", key, {}, round_)
        weights = self.weights.get(version, f"weights {run.config.run.name} {version}".encode())
        output.write("model.safetensors", weights)
        output.write("tokenizer.json", b"{}")
        return output.commit(timings or self.spend(1.0), {**facts, **policy_digests(output.files)})

    def round(self, round_: Round, *, pass_rate: float | None = None, status: str = "ok") -> None:
        """Commit a round in which a share `pass_rate` of completions gets reward 1, the rest 0.

        The default share grows with the policy version.
        """
        rate = min(0.9, 0.3 + 0.2 * self.run.sampled_policy(round_)) if pass_rate is None else pass_rate
        begin = self.now
        for shard in range(self.run.config.rollout.shards):
            self.now = begin
            self._shard(round_, shard, rate, status)
        self.now += timedelta(seconds=1)

    def _shard(self, round_: Round, shard: int, rate: float, status: str) -> None:
        run = self.run
        rows = self._trajectories(round_, shard)
        output = run.output("rollout", run.layout.rollout(round_, shard), {}, round_, shard)
        writer = PartWriter(output, "trajectories", with_metadata(TRAJECTORIES, {"round": str(round_)}))
        half = len(rows) // 2 // SAMPLES * SAMPLES
        for part in (rows[:half], rows[half:]):
            if part:
                writer.append(pa.Table.from_pylist(part, TRAJECTORIES))
        timings = self.spend(20.0 - shard, start=2.0, load=6.0, compute=12.0 - shard, store=0.5)
        rollout = output.commit(timings)
        self.now += timedelta(seconds=1)

        inputs = {"trajectories": rollout.digest}
        output = run.output("reward", run.layout.reward(round_, shard), inputs, round_, shard)
        scores = PartWriter(output, "rewards", with_metadata(REWARDS, {"round": str(round_)}))
        for part in (rows[:half], rows[half:]):
            if part:
                scores.append(pa.Table.from_pylist([self._reward(row, rate, status) for row in part], REWARDS))
        timings = self.spend(4.0, start=0.5, load=1.0, compute=2.0, store=0.25)
        output.commit(timings)

    def _trajectories(self, round_: Round, shard: int) -> list[dict[str, object]]:
        shards = self.run.config.rollout.shards
        held_out = self.run.config.data.eval_prompts if self.run.evaluates(round_) else 0
        counts = {"train": 6 if round_.trains else 0, "eval": held_out}
        rows: list[dict[str, object]] = []
        for split, count in counts.items():
            for prompt in range(shard, count, shards):
                for sample in range(SAMPLES):
                    length = int(self.rng.integers(2, 16))
                    rows.append(
                        {
                            "prompt_id": f"{split}{prompt:03d}",
                            "group_id": f"{prompt:05d}/{split}{prompt:03d}",
                            "sample_index": sample,
                            "split": split,
                            "prompt_token_ids": [1, 2, 3],
                            "completion_token_ids": list(range(length)),
                            "behaviour_logprobs": [-0.5] * length,
                            "finish_reason": "length" if length == 15 else "stop",
                            "text": f"policy {self.run.sampled_policy(round_)} <script>says</script> {sample}",
                        }
                    )
        return rows

    def _reward(self, row: dict[str, object], rate: float, status: str) -> dict[str, object]:
        reward = float(self.rng.random() < rate) if status == "ok" else 0.0
        return {
            "group_id": row["group_id"],
            "sample_index": row["sample_index"],
            "reward": reward,
            "components": [("exact", reward)],
            "status": status,
            "grader": "exact",
            "grader_version": self.grader_version,
            "seconds": 0.001,
            "detail": None if status == "ok" else "raised ValueError",
        }

    def train(self, iteration: int, outcome: str = "trained") -> None:
        timings = self.spend(15.0, start=2.0, load=3.0, compute=10.0, store=1.0)
        self.now += timedelta(seconds=1)
        run, round_, trained = self.run, Round.iteration(iteration), outcome == "trained"
        if trained:
            self.policy(iteration, timings)
        else:
            stop = {"target_reward": run.config.loop.target_reward}
            run.output("train", run.layout.policy(iteration), {}, round_).commit(timings, stop)
        output = run.output("train", run.layout.train(iteration), {}, round_)
        output.write("metrics.json", self._metrics(iteration, outcome).model_dump_json().encode())
        output.commit(timings, {"outcome": outcome, "policy_version": iteration if trained else iteration - 1})

    def _metrics(self, iteration: int, outcome: str) -> TrainMetrics:
        if outcome == "target_reached":
            return TrainMetrics(iteration=iteration, outcome="target_reached", policy_version=iteration - 1)
        updates = self.run.config.train.updates.most
        finished = self.now - timedelta(seconds=2)
        steps = tuple(
            StepMetrics(
                step=(iteration - 1) * updates + i + 1,
                finished=finished + timedelta(seconds=0.01 * i),
                seconds=0.1,
                tokens=64,
                tokens_per_second=640.0,
                learning_rate=1e-4,
                loss=-0.1,
                gradient_norm=1.0 + 0.1 * i,
                reward=0.5,
                effective_sample_share=1.0 / (1 + 0.05 * i),
                weight_mean=1.0,
                chi_squared=0.01 * i,
                clip_fraction=0.02 * i,
                mask_fraction=0.0,
                log_ratio_mean=0.01 * i,
                log_ratio_p50=0.005 * i,
                log_ratio_p95=0.03 * i,
                log_ratio_p99=0.035 * i,
                log_ratio_max=0.1 * i,
                kl=0.001 * i,
                kl_k1=0.001 * i,
                entropy=1.2,
            )
            for i in range(updates)
        )
        return TrainMetrics(
            iteration=iteration, outcome="trained", policy_version=iteration, steps=steps,
            logprob_gap_mean=1e-6, logprob_gap_max=1e-5, groups=6, zero_signal_groups=2,
        )  # fmt: skip

    def iteration(self, number: int, **round_options: object) -> None:
        self.round(Round.iteration(number), **round_options)  # type: ignore[arg-type]
        self.train(number)


def make_config(root: Path | str, name: str = "demo", eval_prompts: int = 5, **sections: dict[str, Any]) -> RunConfig:
    tree: dict[str, Any] = {
        "run": name,
        "store": str(root),
        "model": {"path": "base-model"},
        "data": {"train": "prompts.jsonl", "eval_prompts": eval_prompts},
        "rollout": {"group_size": SAMPLES, "shards": 2},
        "train": {"updates": 4, "mini_batch_prompts": 2},
        "evaluate": {"samples": SAMPLES, "pass_k": [1, 4]},
        "loop": {"iterations": 2},
    }
    for section, keys in sections.items():
        tree[section] = {**tree.get(section, {}), **keys}
    return RunConfig.parse(tree, "configuration")


def prepared_run(root: Path | str, name: str = "demo", eval_prompts: int = 5, **sections: dict[str, Any]) -> FakeRun:
    """Return a run after its prepare stage."""
    config = make_config(root, name, eval_prompts, **sections)
    fake = FakeRun(Run(open_store(str(root)), RunLayout(name), config))
    fake.prepare(eval_prompts)
    return fake


def finished_run(
    root: Path | str, name: str = "demo", iterations: int = 2, eval_prompts: int = 5, **sections: dict[str, Any]
) -> FakeRun:
    """Return a run with all its iterations and the evaluation of its last policy."""
    loop = {"iterations": iterations, **sections.pop("loop", {})}
    fake = prepared_run(root, name, eval_prompts, loop=loop, **sections)
    for number in range(1, iterations + 1):
        fake.iteration(number)
    fake.round(Round.evaluation(iterations))
    return fake
