"""What of a round's rewards a person has to know before believing a number made from them."""

from components.results.rounds import RoundResult, SplitResult

MANY_FAILED = 0.05


def reward_warnings(result: RoundResult) -> list[str]:
    """Sentences; empty for a healthy round."""
    found = []
    for name, split in (("training", result.train), ("held-out", result.eval)):
        if split:
            found += _of_split(f"of the {name} prompts in {result.round_.kind} {result.round_.number}", split)
    return found


def _of_split(where: str, split: SplitResult) -> list[str]:
    found = []
    if split.failed_share > MANY_FAILED:
        counts = ", ".join(f"{count} {status}" for status, count in split.status.items() if count and status != "ok")
        found.append(
            f"Grading failed for {split.failed_share:.0%} of the completions {where}, which scored 0: {counts}."
        )
    if split.reward_min == split.reward_max:
        found.append(f"All {split.completions} completions {where} earned the same reward, {split.reward_min:g}.")
    return found
