"""Groups that begin where a good completion has got to (Jump-Start RL, arXiv 2204.02372).

The prompt is followed by the first part of a completion that passed, or of a solution; the policy adds the rest, and
only that is trained. The part shrinks from iteration to iteration, so that what is learned moves back to the prompt.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.contract.digests import derive_seed
from components.contract.layout import Round
from components.contract.rollout_config import GuidedStartsSection
from components.contract.schemas import GUIDED
from components.results import passes, read_shard, scored_inputs
from components.rollout.groups import Group
from components.store import Run
from components.store.earlier_runs import earlier_runs

_Prompt = tuple[int, ...]


def given_part(guide: GuidedStartsSection | None, round_: Round) -> float:
    """Return how much of a good completion a round's guided groups start with; 0 where none are guided."""
    if guide is None or not round_.trains:
        return 0.0
    return guide.part * max(0.0, 1.0 - (round_.number - 1) / guide.iterations)


def guide_inputs(run: Run, round_: Round) -> dict[str, str]:
    """Return what manifests name of the completions that a round's guided groups may start with.

    Raises:
        InputError: some are not committed.
    """
    if not given_part(run.config.rollout.guide, round_):
        return {}
    inputs: dict[str, str] = {}
    for earlier in _earlier_iterations(run, round_):
        inputs |= {f"guide/{earlier:04d}/{key}": digest for key, digest in scored_inputs(run, earlier).items()}
    # The last policy of a run stands for all that it was trained on.
    for other in earlier_runs(run):
        last = other.policy(other.policy_version()).require()
        inputs[f"guide/{other.layout.run}"] = str(last.facts["weights_digest"])
    return inputs


def guided_starts(
    run: Run, round_: Round, groups: Sequence[Group], prompts: pa.Table, tokenize: Callable[[str], list[int]]
) -> dict[str, tuple[int, ...]]:
    """Choose guided groups and the token ids that they start with; equal arguments give equal starts.

    Args:
        groups: the shard's training groups.
        prompts: the training prompts.
        tokenize: returns the token ids of a solution.

    Returns:
        Starts by `group_id`. Groups whose prompt has neither a completion that passed nor a solution are left out.
    """
    guide = run.config.rollout.guide
    part = given_part(guide, round_)
    if guide is None or not part or not groups:
        return {}
    seed = run.config.run.seed
    draw = np.random.default_rng(derive_seed(seed, "guide", str(round_), groups[0].group_id))
    chosen = sorted(draw.permutation(len(groups))[: int(guide.share * len(groups))])
    passed = _passed(run, round_)
    starts = {}
    for place in chosen:
        group = groups[place]
        candidates = passed[tuple(prompts["prompt_token_ids"][group.index].as_py())]
        if not candidates and guide.column:
            solution = json.loads(prompts["metadata"][group.index].as_py()).get(guide.column)
            candidates = [tokenize(solution)] if isinstance(solution, str) else []
        if candidates:
            whole = candidates[derive_seed(group.seed, "guide") % len(candidates)]
            length = min(int(part * len(whole)), run.config.rollout.max_tokens - 1)
            if length:
                starts[group.group_id] = tuple(whole[:length])
    return starts


def as_guided(group_id: str) -> str:
    """Return the name of a guided group."""
    return GUIDED + group_id.rpartition("-")[2]


def _earlier_iterations(run: Run, round_: Round) -> range:
    """Return the iterations that the sampled policy was trained on, whose rewards are there in every layout."""
    return range(1, run.sampled_policy(round_) + 1)


def _passed(run: Run, round_: Round) -> dict[_Prompt, list[list[int]]]:
    """Return the completions that passed by the token ids of their prompt, those of earlier runs first."""
    found: dict[_Prompt, list[list[int]]] = defaultdict(list)
    for other in earlier_runs(run):
        for iteration in range(1, other.trained() + 1):
            _add_passed(other, iteration, found)
    for iteration in _earlier_iterations(run, round_):
        _add_passed(run, iteration, found)
    return found


def _add_passed(run: Run, iteration: int, found: dict[_Prompt, list[list[int]]]) -> None:
    threshold = run.config.evaluate.pass_threshold
    for shard in range(run.config.rollout.shards):
        for part in read_shard(run, Round.iteration(iteration), shard):
            own = pc.and_(pc.equal(part["split"], "train"), pc.invert(pc.starts_with(part["group_id"], GUIDED)))
            rows = part.filter(pc.and_(own, pa.array(passes(part["reward"], threshold))))
            columns = (rows[name].to_pylist() for name in ("prompt_token_ids", "completion_token_ids"))
            for prompt, completion in zip(*columns, strict=True):
                found[tuple(prompt)].append(completion)
