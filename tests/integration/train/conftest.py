"""A run with a tiny base policy and completions scored by that policy, committed as the stages before train do."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from components.contract.layout import Round, part_name
from components.contract.manifest import Facts, Manifest, policy_digests
from components.contract.schemas import GUIDED, REWARDS, TRAJECTORIES, with_metadata
from components.contract.section import StageName
from components.runtime.clock import Clock
from components.store import Run
from components.store.parquet import encode
from components.store.parts import row_digests
from tests.support.tiny_policy import VOCABULARY, plain_logprobs, random_completions, save_tiny_policy, tiny_model
from tests.support.trained import policy_path

Rows = list[dict[str, Any]]


def keep(value: Any) -> Any:
    return value


@dataclass
class TrainingRun:
    run: Run
    scratch: Path

    def base(self) -> None:
        output = self.run.output("prepare", self.run.layout.policy(0), {})
        save_tiny_policy(self.scratch, dtype=self.run.config.model.dtype)
        output.upload(self.scratch)
        output.commit(Clock().timings(), {**policy_digests(output.files), "vocab_size": VOCABULARY})

    def guide(self, seed: int, **settings: Any) -> Any:
        """Commit a model of its own as the guide, and return it."""
        output = self.run.output("prepare", self.run.layout.guide, {})
        directory = self.scratch.with_name("guide")
        model = tiny_model(seed, **settings)
        model.save_pretrained(directory)
        output.upload(directory)
        output.commit(Clock().timings(), {**policy_digests(output.files), "model": "guide"})
        return model

    def sample(
        self,
        iteration: int = 1,
        groups: int = 4,
        seed: int = 0,
        rows: Callable[[Rows], Rows] = keep,
        facts: Callable[[dict[str, Any]], dict[str, Any]] = keep,
        rewards: Callable[[Rows], Rows] = keep,
        reward_inputs: Callable[[dict[str, str]], dict[str, str]] = keep,
        grader_version: str = "1",
        engine: Path | None = None,
    ) -> None:
        """Commit random completions of the policy that the iteration samples; the callables may spoil what is written.

        `engine` holds the weights that give the log-probabilities, by default those of that policy.

        The reward is the share of `3` among the completion's tokens; one held-out group has reward 0.5.
        """
        from transformers import AutoModelForCausalLM

        config, layout, round_ = self.run.config, self.run.layout, Round.iteration(iteration)
        version = self.run.sampled_policy(round_)
        policy = self.policy(version)
        path = engine or self.run.fetch_policy(version, self.scratch.with_name(f"policy-{version}"))
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        made: Rows = []
        for number, (prompt, completions) in enumerate(
            random_completions(seed + iteration, groups + 1, config.rollout.group_size)
        ):
            for index, completion in enumerate(completions):
                logprobs = plain_logprobs(model, prompt, completion, config.rollout.temperature)
                made.append(
                    {
                        "prompt_id": f"p{number:06d}",
                        "group_id": f"{number:05d}/p{number:06d}",
                        "sample_index": index,
                        "split": "train" if number < groups else "eval",
                        "prompt_token_ids": prompt,
                        "completion_token_ids": completion,
                        "behaviour_logprobs": logprobs.tolist(),
                        "finish_reason": "stop",
                        "text": "",
                    }
                )
        made = rows(made)
        metadata = facts(
            {
                "weights_digest": policy.facts["weights_digest"],
                "tokenizer_digest": policy.facts["tokenizer_digest"],
                "temperature": config.rollout.temperature,
            }
        )
        scores = rewards(
            [
                {
                    "group_id": row["group_id"],
                    "sample_index": row["sample_index"],
                    "reward": row["completion_token_ids"].count(5) / max(1, len(row["completion_token_ids"]))
                    if row["split"] == "train"
                    else 0.5,
                    "components": {"exact": 0.0},
                    "status": "ok",
                    "grader": "exact",
                    "grader_version": grader_version,
                    "seconds": 0.0,
                    "detail": None,
                }
                for row in made
            ]
        )
        for shard in range(config.rollout.shards):
            places = {row["group_id"]: int(row["group_id"].removeprefix(GUIDED)[:5]) for row in made}
            mine = {group_id for group_id, place in places.items() if place % config.rollout.shards == shard}
            rollout = self._parts("rollout", layout.rollout(round_, shard), made, mine, TRAJECTORIES, metadata, {})
            inputs = reward_inputs({"trajectories": rollout.digest})
            version = {"grader_version": grader_version}
            self._parts("reward", layout.reward(round_, shard), scores, mine, REWARDS, {}, inputs, version)

    def policy(self, version: int) -> Manifest:
        return self.run.policy(version).require()

    def policy_path(self, version: int) -> Path:
        return policy_path(self.run, version)

    def _parts(
        self,
        stage: StageName,
        key: str,
        rows: Rows,
        groups: set[str],
        schema: Any,
        metadata: dict[str, Any],
        inputs: dict[str, str],
        facts: Facts | None = None,
    ) -> Manifest:
        """Two parts. Written without the stages' own checks, so that a test can spoil them."""
        output = self.run.output(stage, key, inputs)
        chosen = [row for row in rows if row["group_id"] in groups]
        half = len(chosen) // 2
        for index, part in enumerate((chosen[:half], chosen[half:])):
            table = pa.Table.from_pylist(part, with_metadata(schema, metadata))
            output.write(part_name(index), encode(table), rows=len(part))
            output.content.extend(row_digests(table))
        return output.commit(Clock().timings(), facts)


@pytest.fixture
def training_run(make_run: Callable[..., Run], tmp_path: Path) -> Callable[..., TrainingRun]:
    """`training_run("train.updates=2", ...)`: with the base policy committed."""

    def make(*overrides: str, base: bool = True) -> TrainingRun:
        made = TrainingRun(make_run(*overrides), tmp_path / "tiny")
        if base:
            made.base()
        return made

    return make
