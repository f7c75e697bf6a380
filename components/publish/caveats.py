"""What a reader of the report has to know before believing its numbers."""

from components.results import RoundResult, RunResults, SplitResult, reward_warnings
from components.store import Run

_MANY_TRUNCATED = 0.2
_LARGE_GAP = 0.01


def caveats(run: Run, results: RunResults) -> list[str]:
    """Sentences, worst first; empty for a healthy run."""
    found = []
    for result in results.rounds:
        found += reward_warnings(result)
        for name, split in (("training", result.train), ("held-out", result.eval)):
            if split:
                found += _of_split(result, name, split)
    for iteration in results.iterations:
        train = iteration.train
        if train is None:
            continue
        if train.ended_early:
            found.append(f"Iteration {iteration.number} ended its updates early: {train.ended_early}.")
        if train.groups and train.zero_signal_groups == train.groups:
            found.append(
                f"In iteration {iteration.number} every group's completions earned equal rewards, "
                "so there was nothing to learn from."
            )
        if train.logprob_gap_mean is not None and train.logprob_gap_mean > _LARGE_GAP:
            found.append(
                f"In iteration {iteration.number} engine and trainer disagreed by {train.logprob_gap_mean:.3f} nats "
                "a token before the first step; importance weights correct for it, at the price of noise."
            )
    if run.config.data.eval_prompts == 0:
        found.append("There are no held-out prompts (data.eval_prompts is 0), so improvement was not measured.")
    elif results.policy_version not in results.evaluated:
        found.append(f"The newest policy ({results.policy_version}) has not been evaluated yet.")
    return found


def _of_split(result: RoundResult, name: str, split: SplitResult) -> list[str]:
    where = f"of the {name} prompts in {result.round_.kind} {result.round_.number}"
    found = []
    if split.truncated_share > _MANY_TRUNCATED:
        found.append(
            f"{split.truncated_share:.0%} of the completions {where} were cut off at the token limit "
            "(rollout.max_tokens)."
        )
    return found
