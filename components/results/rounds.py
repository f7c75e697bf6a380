"""One sampling of a policy: what its completions earned."""

import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.digests import json_digest
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.manifest import Manifest, Timings
from components.contract.schemas import PROMPTS, REWARDS, STATUSES, TRAJECTORIES
from components.contract.stage_digest import stage_digest
from components.results.pass_at_k import pass_at_k
from components.store import OutputDirectory, Run
from components.store.parts import decode, read_parts

LENGTH_PERCENTILES = (5, 25, 50, 75, 95)


@dataclass(frozen=True)
class SplitResult:
    """The completions of the training prompts, or of the held-out prompts, of one round."""

    prompts: int
    completions: int
    reward: float
    """Mean over completions."""
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
        """Share of completions whose grading timed out, raised or returned no finite number."""
        return 1.0 - self.status["ok"] / self.completions


@dataclass(frozen=True)
class RoundResult:
    round_: Round
    policy_version: int
    """The policy that was sampled; 0 is the base policy."""
    finished: datetime
    """When the last shard's rewards were committed."""
    train: SplitResult | None
    """None in evaluations."""
    eval: SplitResult | None
    """None in runs without held-out prompts."""
    pass_at_k: dict[int, float]
    """k -> mean over held-out prompts, for 1 and every `evaluate.pass_k`; empty without held-out prompts."""
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
    def completions(self) -> int:
        return sum(split.completions for split in (self.train, self.eval) if split)

    @property
    def status(self) -> dict[str, int]:
        """Completions of both splits by grading status."""
        return {s: sum(split.status[s] for split in (self.train, self.eval) if split) for s in STATUSES}


def round_manifests(run: Run, round_: Round, rescored: str | None = None) -> list[tuple[Manifest, Manifest]] | None:
    """(rollout, reward) manifests of every shard; None while one is missing.

    `rescored` names scores that other graders gave afterwards, which are then taken for the run's own.
    """
    pairs = []
    for shard in range(run.config.rollout.shards):
        reward = _rewards(run, round_, shard, rescored).manifest()
        rollout = run.directory(run.layout.rollout(round_, shard)).manifest() if reward else None
        if reward is None or rollout is None:
            return None
        pairs.append((rollout, reward))
    return pairs


def read_round(run: Run, round_: Round) -> RoundResult | None:
    """What a round came to; None until the rewards of all its shards are committed.

    Raises:
        InputError: a committed file is missing or corrupted.
    """
    manifests = round_manifests(run, round_)
    if manifests is None:
        return None
    rows = _joined(run, round_, manifests)
    of_split = {split: rows.filter(pc.equal(rows["split"], split)) for split in ("train", "eval")}
    return RoundResult(
        round_=round_,
        policy_version=run.sampled_policy(round_),
        finished=max(reward.timings.finished for _, reward in manifests),
        train=_summary(of_split["train"]),
        eval=_summary(of_split["eval"]),
        pass_at_k=_pass_at_k(of_split["eval"], run.config.evaluate.pass_k, run.config.evaluate.pass_threshold),
        tokens=int(_lengths(rows).sum()),
        grader_version=", ".join(sorted(pc.unique(rows["grader_version"]).to_pylist())),
        rollout=tuple(rollout.timings for rollout, _ in manifests),
        reward=tuple(reward.timings for _, reward in manifests),
    )


def evaluation_of(run: Run, version: int) -> RoundResult | None:
    """The round that sampled held-out prompts from a policy: an iteration, or an evaluation of its own.

    None where there is neither yet.
    """
    for round_ in (*run.iterations_sampling(version), Round.evaluation(version)):
        result = read_round(run, round_)
        if result and result.eval:
            return result
    return None


def read_completions(run: Run, round_: Round, rescored: str | None = None) -> pa.Table:
    """Every completion of a round: columns of trajectories and rewards, and the prompt's text, answer and metadata.

    Raises:
        InputError: the round is not complete, or a committed file is missing or corrupted.
    """
    manifests = round_manifests(run, round_, rescored)
    if manifests is None:
        raise InputError(
            f"{run.uri}: {round_} has no rewards yet, or not of all its {run.config.rollout.shards} shards"
        )
    rows = _joined(run, round_, manifests, rescored)
    known = prompts(run)
    place = pc.index_in(rows["prompt_id"], known["prompt_id"])
    if place.null_count:
        unknown = rows["prompt_id"][pc.index(pc.is_null(place), True).as_py()]
        raise InputError(f"{run.uri}: {round_} holds completions of prompt {unknown}, which the run does not have")
    for column in ("prompt", "answer", "metadata"):
        rows = rows.append_column(column, known[column].take(place))
    return rows


def evaluation_digest(run: Run, evaluation: RoundResult) -> str:
    """What an evaluation of this run measured: equal digests mean comparable scores.

    Covers the held-out prompts with their answers, the graders, their code included, the sampling and the
    threshold of a pass; not the number of samples, which only changes the noise.
    """
    assert evaluation.eval is not None
    known = prompts(run)
    held_out = known.filter(pc.equal(known["split"], "eval")).select(["prompt", "answer", "metadata"])
    evaluate, rollout = run.config.evaluate, run.config.rollout
    return json_digest(
        {
            "prompts": sorted(json.dumps(row, sort_keys=True) for row in held_out.to_pylist()),
            "reward": stage_digest(run.config, "reward"),
            "grader_version": evaluation.grader_version,
            "sampling": [evaluate.temperature, evaluate.top_p, evaluate.max_tokens or rollout.max_tokens, rollout.stop],
            "pass_threshold": evaluate.pass_threshold,
        }
    )


def _rewards(run: Run, round_: Round, shard: int, rescored: str | None) -> OutputDirectory:
    layout = run.layout
    return run.directory(layout.rescored(rescored, round_, shard) if rescored else layout.reward(round_, shard))


def _joined(
    run: Run, round_: Round, manifests: list[tuple[Manifest, Manifest]], rescored: str | None = None
) -> pa.Table:
    tables = []
    for shard, (rollout, reward) in enumerate(manifests):
        directory = _rewards(run, round_, shard, rescored)
        trajectories = _concatenated(
            read_parts(run.directory(run.layout.rollout(round_, shard)), "trajectories", rollout), TRAJECTORIES
        )
        rewards = _concatenated(read_parts(directory, "rewards", reward), REWARDS)
        # Reward parts mirror trajectory parts row by row, so a join is a comparison.
        if any(not trajectories[key].equals(rewards[key]) for key in ("group_id", "sample_index")):
            raise InputError(f"{directory.uri} does not hold the rewards of the trajectories beside it")
        for field in REWARDS:
            if field.name not in TRAJECTORIES.names:
                trajectories = trajectories.append_column(field, rewards[field.name])
        tables.append(trajectories)
    return pa.concat_tables(tables)


def _concatenated(parts: list[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(part.replace_schema_metadata() for part in parts) if parts else schema.empty_table()


def prompts(run: Run) -> pa.Table:
    """Training and held-out prompts of a run, in the columns of `contract.schemas.PROMPTS`."""
    directory = run.directory(run.layout.prompts)
    manifest = directory.require()
    tables = [
        decode(directory.read(output.path, manifest), f"{directory.uri}/{output.path}").replace_schema_metadata()
        for output in manifest.outputs
        if output.path.endswith(".parquet")
    ]
    return _concatenated(tables, PROMPTS)


def _lengths(rows: pa.Table) -> np.ndarray:
    return np.asarray(pc.list_value_length(rows["completion_token_ids"]))


def _summary(rows: pa.Table) -> SplitResult | None:
    if not rows.num_rows:
        return None
    rewards = rows["reward"].to_numpy().astype(np.float64)
    lengths = _lengths(rows)
    statuses = rows["status"].to_pylist()
    return SplitResult(
        prompts=pc.count_distinct(rows["group_id"]).as_py(),
        completions=rows.num_rows,
        reward=float(rewards.mean()),
        reward_min=float(rewards.min()),
        reward_max=float(rewards.max()),
        length=float(lengths.mean()),
        length_percentiles={p: float(np.percentile(lengths, p)) for p in LENGTH_PERCENTILES},
        truncated_share=float(np.mean(pc.equal(rows["finish_reason"], "length").to_numpy())),
        status={status: statuses.count(status) for status in STATUSES},
    )


def _pass_at_k(rows: pa.Table, ks: tuple[int, ...], threshold: float) -> dict[int, float]:
    if not rows.num_rows:
        return {}
    _, group = np.unique(rows["group_id"].to_numpy(), return_inverse=True)
    # Rewards are stored in float32, where 0.7 is less than 0.7 in float64.
    passed = rows["reward"].to_numpy() >= np.float32(threshold)
    samples, passes = np.bincount(group), np.bincount(group, weights=passed).astype(np.int64)
    return {k: float(pass_at_k(samples, passes, k).mean()) for k in sorted({1, *ks}) if k <= samples.min()}
