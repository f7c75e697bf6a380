"""Held-out prompts, and the training prompts that are left."""

from components.contract.digests import derive_seed
from components.contract.errors import InputError
from components.prepare.tokens import RenderedPrompt

Prompts = list[RenderedPrompt]


def hold_out(train: Prompts, held_out: Prompts | None, count: int, seed: int) -> tuple[Prompts, Prompts]:
    """Training and held-out prompts, no text in both.

    Args:
        held_out: prompts of a file of their own; None splits them off from `train`.
        count: held-out prompts that are kept. Which ones depends on `seed` and their text, not on their place.

    Raises:
        InputError: fewer held-out prompts than wanted, or none left to train on.
    """
    pool = _distinct(train if held_out is None else held_out)
    if count > len(pool):
        source = "data.train has" if held_out is None else "data.eval has"
        raise InputError(
            f"data.eval_prompts is {count}, and {source} {len(pool)} different usable prompts; lower data.eval_prompts"
        )
    chosen = {p.text for p in sorted(pool, key=lambda p: derive_seed(seed, "held out", p.text))[:count]}
    evaluation = [prompt for prompt in pool if prompt.text in chosen]
    training = [prompt for prompt in train if prompt.text not in chosen]
    if not training:
        raise InputError(f"no prompt is left to train on: all {len(train)} are held out (data.eval_prompts is {count})")
    return training, evaluation


def _distinct(prompts: Prompts) -> Prompts:
    return list({prompt.text: prompt for prompt in reversed(prompts)}.values())[::-1]
