"""The demo's task, two-digit addition: its prompts, tokenizer and warm-started base policy, made once and then kept."""

import json
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from components.contract.digests import json_digest
from pipelines.demo.warm_start import Report, WarmStart, qwen2, warm_start

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

HOME = Path(".rapid/demo")
"""Relative to the working directory, as in `arithmetic.yaml`."""

CONFIG = Path(str(files("pipelines.demo").joinpath("arithmetic.yaml")))
RECIPE = WarmStart(steps=450, batch=128, learning_rate=2e-3)
PAD, EOS = "<pad>", "<eos>"
ALPHABET = "0123456789+="
_WRONG_SHARE = 0.5
_STAMP = "recipe"
_HELD_OUT = 256
_SEED = 0


def assets_ready(home: Path) -> bool:
    """Return whether the prompts and the policy of the current recipe exist."""
    stamp = home / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _recipe_digest()


def make_assets(home: Path, report: Report) -> None:
    """Make the prompts and the policy in the directory `home`."""
    home.mkdir(parents=True, exist_ok=True)
    pairs = problems(_SEED)
    held_out, train = pairs[:_HELD_OUT], pairs[_HELD_OUT:]
    for name, split in (("eval", held_out), ("train", train)):
        rows = (json.dumps({"prompt": prompt, "answer": answer}) + "\n" for prompt, answer in split)
        (home / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    samples = noisy_answers(train, _WRONG_SHARE, RECIPE.seed)
    warm_start(untrained_policy, tokenizer(), samples, RECIPE, home / "policy", report)
    # Written last, so that an interrupted warm start is repeated.
    (home / _STAMP).write_text(_recipe_digest(), encoding="utf-8")


def _recipe_digest() -> str:
    return json_digest([RECIPE.steps, RECIPE.batch, _WRONG_SHARE, RECIPE.learning_rate, RECIPE.seed])


def untrained_policy() -> "Qwen2ForCausalLM":
    """Return a Qwen2 of 0.75 million parameters with random weights: 3 layers, width 128, one token per character."""
    return qwen2(tokenizer(), width=128, mlp=512, layers=3, heads=4, positions=64)


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
