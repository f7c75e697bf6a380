"""Two-digit addition as a task: prompts, right and wrong answers, and a tokenizer of fourteen tokens."""

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, EOS = "<pad>", "<eos>"
ALPHABET = "0123456789+="


def problems(seed: int) -> list[tuple[str, str]]:
    """Return all sums of two two-digit numbers as (prompt, answer), such as ("57+68=", "125"), in a seeded order."""
    pairs = [(f"{a}+{b}=", str(a + b)) for a in range(10, 100) for b in range(10, 100)]
    random.Random(seed).shuffle(pairs)
    return pairs


def noisy_answers(pairs: list[tuple[str, str]], wrong_share: float, seed: int) -> Iterator[tuple[str, str]]:
    """Yield endless (prompt, completion) samples, of which a share of `wrong_share` has one wrong digit.

    A policy trained on them knows the task and still samples wrong answers about as often, as a pretrained model does
    before reinforcement learning.
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
    """Return a tokenizer with one token per character, `<pad>` and `<eos>`."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate([PAD, EOS, *ALPHABET])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=PAD, eos_token=EOS, unk_token=PAD)
