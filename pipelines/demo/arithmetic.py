"""Two-digit addition as a task: prompts, right and wrong answers, and a tokenizer of fourteen characters."""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
ALPHABET = "0123456789+="


def problems(seed: int) -> list[tuple[str, str]]:
    """All sums of two two-digit numbers as (prompt, answer), such as ("57+68=", "125"), in a seeded order."""
    pairs = [(f"{a}+{b}=", str(a + b)) for a in range(10, 100) for b in range(10, 100)]
    random.Random(seed).shuffle(pairs)
    return pairs


def noisy_answers(pairs: list[tuple[str, str]], wrong_share: float, seed: int) -> Iterator[tuple[str, str]]:
    """Endless (prompt, completion) samples of which `wrong_share` have one digit of the sum wrong.

    A policy trained on them knows the task and yet samples wrong answers about as often, which is where
    reinforcement learning of pretrained models starts too.
    """
    draw = random.Random(seed)
    while True:
        prompt, answer = draw.choice(pairs)
        if draw.random() < wrong_share:
            place = draw.randrange(len(answer))
            slip = draw.choice([digit for digit in "0123456789" if digit != answer[place]])
            answer = answer[:place] + slip + answer[place + 1 :]
        yield prompt, answer


def tokenizer() -> "PreTrainedTokenizerFast":
    """One token per character, `<pad>` and `<eos>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([PAD, EOS, *ALPHABET])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=PAD, eos_token=EOS, unk_token=PAD)
