"""Sentences about a run that its reader has to know before believing the numbers; none for a healthy run."""

from components.contract.config import RunConfig
from components.results.round_results import RoundResult, SplitResult
from components.results.run_results import IterationResult, RunResults

MANY_FAILED = 0.05
MANY_TRUNCATED = 0.2
LARGE_GAP = 0.01
"""Nats per token."""


def run_warnings(results: RunResults) -> list[str]:
    """Return warnings about all rounds, then about all updates."""
    rounds = [warning for result in results.rounds for warning in round_warnings(result)]
    return rounds + [warning for iteration in results.iterations for warning in update_warnings(iteration)]


def round_warnings(result: RoundResult) -> list[str]:
    """Return warnings about the completions of a round and their rewards."""
    warnings = []
    for name, split in (("training", result.train), ("held-out", result.eval)):
        if split:
            warnings += _split_warnings(f"of the {name} prompts in {result.round_.kind} {result.round_.number}", split)
    return warnings


def _split_warnings(where: str, split: SplitResult) -> list[str]:
    warnings = []
    if split.failed_share > MANY_FAILED:
        counts = ", ".join(f"{count} {status}" for status, count in split.status.items() if count and status != "ok")
        warnings.append(
            f"Grading failed for {split.failed_share:.0%} of the completions {where}, which scored 0: {counts}."
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
    if train.ended_early:
        warnings.append(f"Iteration {iteration.number} ended its updates early: {train.ended_early}.")
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


def evaluation_warnings(config: RunConfig, results: RunResults) -> list[str]:
    """Return warnings about scores on held-out prompts that are missing."""
    if config.data.eval_prompts == 0:
        return ["There are no held-out prompts (data.eval_prompts is 0), so improvement was not measured."]
    if results.policy_version not in results.evaluated:
        return [f"The newest policy ({results.policy_version}) has not been evaluated yet."]
    return []
