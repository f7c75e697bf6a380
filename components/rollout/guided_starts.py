"""Guided groups, which continue the first part of a good completion (Jump-Start RL, arXiv 2204.02372).

The prompt is followed by the first part of a completion that passed, or of a solution; the policy adds the rest, and
only that is trained. The part shrinks from iteration to iteration, so that what is learned moves back to the prompt.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.digests import derive_seed, json_digest
from components.contract.layout import Round
from components.contract.rollout_config import GuidedStartsSection
from components.contract.schemas import GUIDED
from components.results import passes, read_shard, scored_inputs, without_guided
from components.rollout.groups import Group
from components.store import Run
from components.store.earlier_runs import earlier_runs

_Prompt = tuple[int, ...]


def given_part(guide: GuidedStartsSection | None, round_: Round) -> float:
    """Return how much of a good completion a round's guided groups start with; 0 where none are guided."""
    if guide is None or not round_.trains:
        return 0.0
    return guide.part * max(0.0, 1.0 - (round_.number - 1) / guide.iterations)


def start_inputs(run: Run, round_: Round) -> dict[str, str]:
    """Return what manifests name of the completions that a round's guided groups may start with.

    Raises:
        InputError: some are gone. They were trained on, and nothing makes them again.
    """
    if not given_part(run.config.rollout.guide, round_):
        return {}
    inputs: dict[str, str] = {}
    for earlier in _earlier_iterations(run, round_):
        inputs |= {f"starts/{earlier:04d}/{key}": digest for key, digest in scored_inputs(run, earlier).items()}
    inputs |= {f"starts/{other.run.layout.run}": other.digest for other in earlier_runs(run)}
    # Starts depend on it, beside the settings of this stage.
    inputs["starts"] = json_digest(run.config.evaluate.pass_threshold)
    return inputs


def guide_groups(
    run: Run, round_: Round, groups: Sequence[Group], prompts: pa.Table, tokenize: Callable[[str], list[int]]
) -> list[Group]:
    """Return the shard's groups, some of the training groups with a start; equal arguments give equal starts.

    A group whose prompt has neither a completion that passed nor a solution stays as it is.

    Args:
        prompts: the training prompts.
        tokenize: returns the token ids of a solution.
    """
    guide, rollout = run.config.rollout.guide, run.config.rollout
    part = given_part(guide, round_)
    if guide is None or not part:
        return list(groups)
    # Over all shards, each of which keeps its own.
    count = run.config.prompts_per_iteration
    draw = np.random.default_rng(derive_seed(run.config.run.seed, "starts", str(round_)))
    places = set(draw.permutation(count)[: run.config.guided_groups].tolist())
    chosen = {
        group: prompts.slice(group.index, 1).to_pylist()[0]
        for group in groups
        if group.split == "train" and group.place in places
    }
    passed = _passed(run, round_, {tuple(row["prompt_token_ids"]) for row in chosen.values()})
    guided = {}
    for group, row in chosen.items():
        # Sorted: a round that is made again may have its rows in another order.
        candidates = sorted(passed[tuple(row["prompt_token_ids"])]) or _solution(row, guide, rollout.stop, tokenize)
        # A solution may be longer than a completion.
        lengths = [int(part * min(len(whole), rollout.max_tokens)) for whole in candidates]
        long_enough = [whole[:length] for whole, length in zip(candidates, lengths, strict=True) if length]
        if long_enough:
            start = tuple(long_enough[derive_seed(group.seed, "start") % len(long_enough)])
            guided[group] = replace(group, group_id=f"{GUIDED}{group.place:05d}", start=start)
    return [guided.get(group, group) for group in groups]


def _solution(
    row: dict[str, Any], guide: GuidedStartsSection, stops: Sequence[str], tokenize: Callable[[str], list[int]]
) -> list[list[int]]:
    """Return the token ids of a prompt's solution, up to where the policy would have stopped; nothing without one."""
    text = {**json.loads(row["metadata"]), "answer": row["answer"]}.get(guide.column)
    if not isinstance(text, str):
        return []
    return [tokenize(text[: min((found for stop in stops if (found := text.find(stop)) >= 0), default=None)])]


def _earlier_iterations(run: Run, round_: Round) -> range:
    """Return the iterations that the sampled policy was trained on, whose rewards are there in every layout."""
    return range(1, run.sampled_policy(round_) + 1)


def _passed(run: Run, round_: Round, prompts: set[_Prompt]) -> dict[_Prompt, list[list[int]]]:
    """Return the completions of some prompts that passed, by the prompt's token ids."""
    found: dict[_Prompt, list[list[int]]] = defaultdict(list)
    if prompts:
        for other in earlier_runs(run):
            for iteration in range(1, other.iterations + 1):
                _add_passed(other.run, iteration, run.config.evaluate.pass_threshold, prompts, found)
        for iteration in _earlier_iterations(run, round_):
            _add_passed(run, iteration, run.config.evaluate.pass_threshold, prompts, found)
    return found


def _add_passed(
    run: Run, iteration: int, threshold: float, prompts: set[_Prompt], found: dict[_Prompt, list[list[int]]]
) -> None:
    for shard in range(run.config.rollout.shards):
        for part in read_shard(run, Round.iteration(iteration), shard):
            graded = pc.and_(pc.equal(part["split"], "train"), pc.equal(part["status"], "ok"))
            rows = without_guided(part.filter(pc.and_(graded, pa.array(passes(part["reward"], threshold)))))
            columns = (rows[name].to_pylist() for name in ("prompt_token_ids", "completion_token_ids"))
            for ids, completion in zip(*columns, strict=True):
                if (prompt := tuple(ids)) in prompts:
                    found[prompt].append(completion)
