"""Results of a round: the completions of one policy and their rewards."""

import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.digests import json_digest
from components.contract.layout import Round
from components.contract.manifest import Timings
from components.contract.schemas import GUIDED, STATUSES, UNGRADED
from components.contract.stage_digest import stage_digest
from components.results.pass_at_k import round_pass_at_k
from components.results.tables import graded_groups, read_prompts, read_round_rows, round_manifests, without_guided
from components.store import Run

LENGTH_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class SplitResult:
    """The completions of the training prompts, or of the held-out prompts, of one round."""

    prompts: int
    completions: int
    reward: float
    """Mean over the completions that were graded; 0 if none was."""
    reward_min: float
    reward_max: float
    length: float
    """Mean completion tokens."""
    length_percentiles: dict[int, float]
    """Completion tokens at `LENGTH_PERCENTILES`."""
    truncated_share: float
    """Share of completions that ended at the token limit."""
    status: dict[str, int]
    """Completions by grading status; every status is a key."""

    @property
    def failed_share(self) -> float:
        """Share of completions whose grading timed out, raised or did not return a finite number."""
        return 1.0 - self.status["ok"] / self.completions


@dataclass(frozen=True)
class RoundResult:
    round_: Round
    policy_version: int
    """The policy that was sampled; 0 is the base policy."""
    finished: datetime
    """When the last shard's rewards were committed."""
    train: SplitResult | None
    """Without guided groups, which say little about the policy; None in evaluations."""
    guided: SplitResult | None
    """Training groups that started with a part of a good completion; None where there are none."""
    guided_groups: int | None
    """Number of them; None in a run without `rollout.guide`."""
    eval: SplitResult | None
    """None in runs without held-out prompts."""
    pass_at_k: dict[int, float]
    """k -> mean over held-out prompts, for 1 and every `evaluate.pass_k`; empty without held-out prompts.

    Prompts with a completion that could not be graded are left out, unless all are.
    """
    tokens: int
    """Completion tokens of all rows."""
    grader_version: str
    """As the rewards hold it; where shards were graded by different versions, each of them."""
    rollout: tuple[Timings, ...]
    """Per shard."""
    reward: tuple[Timings, ...]
    """Per shard."""

    @property
    def train_reward(self) -> float | None:
        return self.train.reward if self.train else None

    @property
    def eval_reward(self) -> float | None:
        return self.eval.reward if self.eval else None

    @property
    def training_completions(self) -> int:
        """Completions of training prompts, guided or not."""
        return sum(split.completions for split in (self.train, self.guided) if split)

    @property
    def completions(self) -> int:
        return sum(split.completions for split in self._splits)

    @property
    def status(self) -> dict[str, int]:
        """Completions by grading status."""
        return {s: sum(split.status[s] for split in self._splits) for s in STATUSES}

    @property
    def _splits(self) -> list[SplitResult]:
        return [split for split in (self.train, self.guided, self.eval) if split]


def read_round(run: Run, round_: Round) -> RoundResult | None:
    """Return the results of a round, None until the rewards of all its shards are committed.

    Raises:
        InputError: a committed file is missing or corrupted.
    """
    manifests = round_manifests(run, round_)
    if manifests is None:
        return None
    rows = read_round_rows(run, round_)
    graded = graded_groups(rows.filter(pc.equal(rows["split"], "eval")))
    counts = [rollout.facts.get("guided_groups") for rollout, _ in manifests] if run.config.rollout.guide else None
    of_split = {split: rows.filter(pc.equal(rows["split"], split)) for split in ("train", "eval")}
    return RoundResult(
        round_=round_,
        policy_version=run.sampled_policy(round_),
        finished=max(reward.timings.finished for _, reward in manifests),
        train=_summary(without_guided(of_split["train"])),
        guided=_summary(of_split["train"].filter(pc.starts_with(of_split["train"]["group_id"], GUIDED))),
        guided_groups=None if counts is None else sum(int(count or 0) for count in counts),
        eval=_summary(of_split["eval"]),
        pass_at_k=round_pass_at_k(graded if graded.num_rows else of_split["eval"], run.config.evaluate),
        tokens=int(_lengths(rows).sum()),
        grader_version=", ".join(sorted(pc.unique(rows["grader_version"]).to_pylist())),
        rollout=tuple(rollout.timings for rollout, _ in manifests),
        reward=tuple(reward.timings for _, reward in manifests),
    )


def evaluating_rounds(run: Run, version: int) -> list[Round]:
    """Return the rounds that may sample held-out prompts from a policy: iterations, then the final evaluation."""
    return [r for r in (*run.iterations_sampling(version), Round.evaluation(version)) if run.evaluates(r)]


def evaluation_of(run: Run, version: int) -> RoundResult | None:
    """Return the iteration or evaluation that sampled held-out prompts from a policy, None if there is none."""
    for round_ in evaluating_rounds(run, version):
        result = read_round(run, round_)
        if result and result.eval:
            return result
    return None


def evaluation_digest(run: Run, evaluation: RoundResult) -> str:
    """Return the digest of what an evaluation measures: equal digests mean comparable scores.

    Covers the held-out prompts with their answers, the graders, their code included, the sampling and the
    threshold of a pass; not the number of samples, which only changes the noise.
    """
    assert evaluation.eval is not None
    prompts = read_prompts(run)
    # Where the chat template writes the day into every prompt, prepare notes their digest without it.
    undated = run.directory(run.layout.prompts).require().facts.get("held_out_digest")
    held_out = prompts.filter(pc.equal(prompts["split"], "eval")).select(["prompt", "answer", "metadata"])
    evaluate, rollout = run.config.evaluate, run.config.rollout
    return json_digest(
        {
            "prompts": undated or sorted(json.dumps(row, sort_keys=True) for row in held_out.to_pylist()),
            "reward": stage_digest(run.config, "reward"),
            "grader_version": evaluation.grader_version,
            "sampling": [
                evaluate.temperature,
                evaluate.top_p,
                evaluate.max_tokens or rollout.max_tokens,
                rollout.stop,
                *(["include_stop"] if rollout.include_stop else []),
                *([] if rollout.skip_special_tokens else ["special_tokens"]),
            ],
            "pass_threshold": evaluate.pass_threshold,
        }
    )


def _lengths(rows: pa.Table) -> np.ndarray:
    return np.asarray(pc.list_value_length(rows["completion_token_ids"]))


def _summary(rows: pa.Table) -> SplitResult | None:
    if not rows.num_rows:
        return None
    rewards = rows["reward"].to_numpy().astype(np.float64)
    graded = rewards[~np.isin(rows["status"].to_pylist(), UNGRADED)]
    lengths = _lengths(rows)
    statuses = rows["status"].to_pylist()
    return SplitResult(
        prompts=pc.count_distinct(rows["group_id"]).as_py(),
        completions=rows.num_rows,
        reward=float(graded.mean()) if len(graded) else 0.0,
        reward_min=float(rewards.min()),
        reward_max=float(rewards.max()),
        length=float(lengths.mean()),
        length_percentiles={p: float(np.percentile(lengths, p)) for p in LENGTH_PERCENTILES},
        truncated_share=float(np.mean(pc.equal(rows["finish_reason"], "length").to_numpy())),
        status={status: statuses.count(status) for status in STATUSES},
    )
