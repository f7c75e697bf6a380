"""Reference answers of the data that a grader cannot compare with."""

from collections.abc import Sequence

from components.contract.reward_config import RewardSection
from components.prepare.prompts import Prompt

_SHOWN = 60


def unfit_references(reward: RewardSection, prompts: Sequence[Prompt]) -> list[str]:
    """Return a line if `numeric` is among the graders and reference answers are not numbers that it compares."""
    if not any(grader.name == "numeric" for grader in reward.graders):
        return []
    from components.mathematics.quantities import reference_quantity

    unfit = []
    for prompt in prompts:
        try:
            reference_quantity(prompt.answer or "")
        except ValueError:
            unfit.append(prompt)
    if not unfit:
        return []
    first = unfit[0]
    written = "no answer" if first.answer is None else repr(first.answer[:_SHOWN])
    where = " ".join(filter(None, [first.file, f"row {first.number}"]))
    return [
        f"the grader numeric cannot grade {len(unfit):,} of {len(prompts):,} prompts, whose answers are not rational "
        f"numbers (first {where}: {written}); use the grader math"
    ]
