"""Sentences about a run that its reader has to know before believing the numbers; none for a healthy run."""

from collections.abc import Sequence
from statistics import median

from components.contract.config import RunConfig
from components.results.round_results import RoundResult, SplitResult
from components.results.run_results import IterationResult, RunResults

MANY_FAILED = 0.05
MANY_TRUNCATED = 0.2
MUCH_UNUSED = 0.5
"""Share of an iteration's groups; with `train.updates.until_share` it is normal that some remain."""

LARGE_GAP = 0.01
"""Nats per token."""

GAP_JUMP = 10.0
"""Times the median of the earlier iterations' gaps, where it is above `GAP_NOISE`."""

GAP_NOISE = 1e-5
"""Nats per token; float32 on both sides differs by less."""


def run_warnings(results: RunResults) -> list[str]:
    """Return warnings about all rounds, then about all updates."""
    rounds = [warning for result in results.rounds for warning in round_warnings(result)]
    updates = [warning for iteration in results.iterations for warning in update_warnings(iteration)]
    return rounds + updates + gap_warnings(results.iterations)


def round_warnings(result: RoundResult) -> list[str]:
    """Return warnings about the completions of a round and their rewards."""
    warnings = []
    for name, split in (("training", result.train), ("guided", result.guided), ("held-out", result.eval)):
        if split:
            warnings += _split_warnings(f"of the {name} prompts in {result.round_.kind} {result.round_.number}", split)
    return warnings


def _split_warnings(where: str, split: SplitResult) -> list[str]:
    warnings = []
    if split.failed_share > MANY_FAILED:
        counts = ", ".join(f"{count} {status}" for status, count in split.status.items() if count and status != "ok")
        warnings.append(
            f"Grading failed for {split.failed_share:.0%} of the completions {where}: {counts}. A timeout scored 0; "
            "groups with others were left out of training and scores."
        )
    if split.reward_min == split.reward_max:
        warnings.append(f"All {split.completions} completions {where} earned the same reward, {split.reward_min:g}.")
    if split.truncated_share > MANY_TRUNCATED:
        warnings.append(
            f"{split.truncated_share:.0%} of the completions {where} were cut off at the token limit "
            "(rollout.max_tokens)."
        )
    return warnings


def update_warnings(iteration: IterationResult) -> list[str]:
    """Return warnings about the updates of an iteration."""
    train, warnings = iteration.train, []
    if train is None:
        return []
    if train.ended_early and (not train.steps or train.unused_groups > MUCH_UNUSED * train.groups):
        warnings.append(
            f"Iteration {iteration.number} ended its updates early and left {train.unused_groups} of {train.groups} "
            f"groups unused: {train.ended_early}."
        )
    if train.groups and train.zero_signal_groups == train.groups:
        warnings.append(
            f"In iteration {iteration.number} the completions of every group earned equal rewards, so there was "
            "nothing to learn."
        )
    if train.logprob_gap_mean is not None and train.logprob_gap_mean > LARGE_GAP:
        warnings.append(
            f"In iteration {iteration.number} engine and trainer disagreed by {train.logprob_gap_mean:.3f} nats a "
            "token before the first update; importance weights correct for it but add noise."
        )
    return warnings


def gap_warnings(iterations: Sequence[IterationResult]) -> list[str]:
    """Return warnings about iterations in which engine and trainer differed much more than in those before."""
    warnings: list[str] = []
    gaps: list[float] = []
    for iteration in iterations:
        gap = iteration.train.logprob_gap_mean if iteration.train else None
        if gap is None:
            continue
        if gaps and gap > GAP_NOISE and gap > GAP_JUMP * median(gaps):
            warnings.append(
                f"In iteration {iteration.number} engine and trainer disagreed by {gap:.2g} nats a token, "
                f"{gap / max(median(gaps), 1e-12):.0f} times the median of the iterations before: the engine may have "
                "missed a part of the update."
            )
        gaps.append(gap)
    return warnings


def evaluation_warnings(config: RunConfig, results: RunResults) -> list[str]:
    """Return warnings about scores on held-out prompts that are missing."""
    if config.data.eval_prompts == 0:
        return ["There are no held-out prompts (data.eval_prompts is 0), so improvement was not measured."]
    if results.policy_version not in results.evaluated:
        return [f"The newest policy ({results.policy_version}) has not been evaluated yet."]
    return []
