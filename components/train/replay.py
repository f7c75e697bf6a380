"""Groups of earlier iterations in an iteration's mini-batches, each weighted against the policy that drew it.

Their behaviour log-probabilities are stored with them, so the importance weight needs no other policy than the one in
training. That the policy named as theirs did draw them was measured when their own iteration was trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import torch

from components.contract.config import ReplaySection, RunConfig
from components.contract.digests import derive_seed
from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.metrics import ReplayMetrics
from components.contract.schemas import GUIDED
from components.results import read_prompts, read_train_metrics, scored_inputs
from components.store import Run
from components.store.earlier_runs import EarlierRun, earlier_runs
from components.train.diagnostics import effective_sample_share
from components.train.order import shape_rewards
from components.train.trajectories import Trajectories, read_trajectories, replayed_iterations


class Source(NamedTuple):
    """Origin of groups: an iteration of this run, so many ago, or another run."""

    age: int | None = None
    run: str | None = None


@dataclass(frozen=True)
class Replayed:
    """Groups chosen from earlier iterations, in the order in which they are dealt to mini-batches.

    Attributes:
        data: their trajectories, with shaped rewards.
        sources: where they come from.
        source: int64 [groups], the place of each group's source in `sources`.
    """

    data: Trajectories
    sources: tuple[Source, ...]
    source: np.ndarray

    def first(self, count: int) -> "Replayed":
        """Return the first `count` groups, or all where there are fewer."""
        return Replayed(self.data.take(np.arange(min(count, self.data.groups))), self.sources, self.source[:count])


def read_replayed(run: Run, iteration: int, vocabulary: int) -> Replayed | None:
    """Read earlier iterations and runs and choose groups of them; None where there are none to choose from.

    Groups of other runs whose prompt is held out in this one, and their guided groups, are left aside.

    Args:
        vocabulary: number of token ids that have an embedding.

    Raises:
        InputError: as in `read_trajectories`; an iteration was trained on other trajectories than are there now, or
            with a greater gap than `train.max_logprob_gap`; an earlier run has rewards by other versions of graders.
    """
    if run.config.loop.replay is None:
        return None
    limit = run.config.max_logprob_gap
    parts = {
        Source(age=iteration - number): _read(run, number, vocabulary, limit)
        for number in reversed(replayed_iterations(run.config, iteration))
    }
    others = earlier_runs(run)
    held_out = {tuple(ids) for ids in _held_out_prompts(run)} if others else set()
    for other in others:
        _check_graders(run, iteration, other)
        numbers = range(1, other.iterations + 1)
        whole = reduce(Trajectories.followed_by, (_read(other.run, number, vocabulary, limit) for number in numbers))
        kept = np.flatnonzero(
            [
                # Their prompts end with a part of a completion.
                not group_id.startswith(GUIDED) and tuple(whole.prompt(group).tolist()) not in held_out
                for group, group_id in enumerate(whole.group_ids)
            ]
        )
        parts[Source(run=other.run.layout.run)] = whole.take(kept)
    return choose(parts, run.config, iteration) if parts else None


def _held_out_prompts(run: Run) -> list[list[int]]:
    table = read_prompts(run)
    prompts: list[list[int]] = table.filter(pc.equal(table["split"], "eval"))["prompt_token_ids"].to_pylist()
    return prompts


def _read(run: Run, iteration: int, vocabulary: int, max_gap: float) -> Trajectories:
    _check_trained_on(run, iteration, max_gap)
    behaviour = run.policy(run.sampled_policy(Round.iteration(iteration))).require()
    return read_trajectories(run, iteration, behaviour, vocabulary)


def _check_trained_on(run: Run, iteration: int, max_gap: float) -> None:
    """Refuse trajectories whose log-probabilities training has not found to be those of their policy."""
    directory = run.directory(run.layout.train(iteration))
    trained = directory.require()
    for key, digest in scored_inputs(run, iteration).items():
        if trained.inputs.get(key) != digest:
            raise InputError(
                f"{run.uri}: {key} of iteration {iteration} is not what that iteration was trained on, so nothing "
                "shows which policy drew it; restore it, or do not replay it"
            )
    gap = read_train_metrics(directory, trained).logprob_gap_mean
    if gap is not None and gap > max_gap:
        raise InputError(
            f"{run.uri}: engine and trainer differed by {gap:.3g} nats per token in iteration {iteration}, more than "
            f"this run's train.max_logprob_gap of {max_gap:g}; raise it, or do not replay that iteration"
        )


def _check_graders(run: Run, iteration: int, other: EarlierRun) -> None:
    """Refuse rewards that other versions of the graders gave than those of this iteration."""
    mine = _grader_versions(run, iteration)
    for number in range(1, other.iterations + 1):
        if (its := _grader_versions(other.run, number)) != mine:
            raise InputError(
                f"data.replay: iteration {number} of run {other.run.layout.run} was graded by version {its} of its "
                f"graders, iteration {iteration} of this run by {mine}; leave that run out, or restore the graders"
            )


def _grader_versions(run: Run, iteration: int) -> str:
    shards = (run.layout.reward(Round.iteration(iteration), shard) for shard in range(run.config.rollout.shards))
    return ", ".join(sorted({str(run.directory(shard).require().facts.get("grader_version")) for shard in shards}))


def choose(parts: Mapping[Source, Trajectories], config: RunConfig, iteration: int) -> Replayed | None:
    """Choose groups for all mini-batches of an iteration, each at most once; equal arguments give equal groups.

    Args:
        parts: the trajectories to choose from.
    """
    replay, train = config.loop.replay, config.train
    assert replay is not None
    pool = shape_rewards(reduce(Trajectories.followed_by, parts.values()), train.overlong)
    source = np.repeat(np.arange(len(parts)), [part.groups for part in parts.values()])
    weights = _chances(pool.reward_spread(), replay, drop=train.zero_signal_groups == "drop")
    count = min(train.updates.most * config.replayed_groups, int(np.count_nonzero(weights)))
    if not count:
        return None
    draw: np.random.Generator = np.random.default_rng(derive_seed(config.run.seed, "replay", iteration))
    chosen = draw.choice(pool.groups, count, replace=False, p=weights / weights.sum())
    return Replayed(pool.take(chosen), tuple(parts), source[chosen])


def _chances(spread: np.ndarray, replay: ReplaySection, drop: bool) -> np.ndarray:
    """Return each group's weight in the draw."""
    if replay.choice == "advantage":
        return spread
    return (spread > 0).astype(np.float64) if drop else np.ones_like(spread)


def measure_replayed(
    replayed: Replayed, log_ratio_N: torch.Tensor, replay: ReplaySection, truncation: float | None
) -> tuple[list[int], list[ReplayMetrics]]:
    """Return the numbers of the groups that are kept, and the measurements of all by source.

    The mean of min(w, 1) over a group estimates how much of the behaviour policy's probability the policy shares with
    it (1 less their total variation distance): near 0 where all weights vanish, and where one outgrows all others.

    Args:
        log_ratio_N: log rho of every sequence of `replayed`, nats, not clamped.
        truncation: the bound C on sequence weights.
    """
    by_group = log_ratio_N.reshape(-1, replayed.data.group_size)
    shared = by_group.double().clamp(max=0.0).exp().mean(1)
    kept = (shared >= replay.min_weight).cpu().numpy()
    metrics = []
    for place in sorted(set(replayed.source.tolist())):
        here, source = replayed.source == place, replayed.sources[place]
        ratios = by_group[torch.from_numpy(here).to(log_ratio_N.device)].flatten()
        metrics.append(
            ReplayMetrics(
                age=source.age,
                run=source.run,
                groups=int(here.sum()),
                left_out=int((here & ~kept).sum()),
                effective_sample_share=effective_sample_share(ratios, truncation).item(),
                log_ratio_mean=ratios.abs().mean().item(),
            )
        )
    return np.flatnonzero(kept).tolist(), metrics


def deal(mini_batches: Sequence[np.ndarray], own: int, kept: Sequence[int], most: int) -> list[np.ndarray]:
    """Add replayed groups to mini-batches, as evenly as their number allows.

    Args:
        own: groups of the iteration itself; those of `kept` are numbered after them.
        most: replayed groups of a mini-batch.

    Returns:
        The groups of every mini-batch, its own ones first.
    """
    if not mini_batches:
        return []
    numbers = own + np.array(kept, dtype=np.int64)[: most * len(mini_batches)]
    shares = np.array_split(numbers, len(mini_batches))
    return [np.concatenate(pair) for pair in zip(mini_batches, shares, strict=True)]
