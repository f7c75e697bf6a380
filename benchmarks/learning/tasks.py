"""The tasks: prompts with right and wrong answers, and a tokenizer small enough for two cores."""

import json
import random
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.demo.arithmetic import EOS, PAD, noisy_answers, problems

HELD_OUT = 96
"""The number of held-out prompts."""

_SEED = 0


@dataclass(frozen=True)
class Problem:
    """A prompt with its answer; `metadata` is the JSON object that its grader receives."""

    prompt: str
    answer: str
    metadata: str = "{}"


@dataclass(frozen=True)
class Task:
    """A task to learn.

    Attributes:
        words: texts that are one token each, besides single characters.
        spoil: returns a wrong answer to a problem.
        wrong_share: share of the answers that the base policy is taught which are wrong.
        max_tokens: length of the longest completion, with the end of sequence.
        warm_start_steps, warm_start_batch: of the base policy, at 2e-3 with a one-cycle schedule.
        rates: learning rates to try with every algorithm.
    """

    name: str
    description: str
    train: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    grader: str
    words: tuple[str, ...]
    alphabet: str
    spoil: Callable[[Problem, random.Random], str]
    max_tokens: int
    max_length: int
    warm_start_steps: int
    warm_start_batch: int
    rates: tuple[float, ...]
    wrong_share: float = 0.5

    def demonstrations(self, seed: int) -> Iterator[tuple[str, str]]:
        """Yield (prompt, completion) samples of the training prompts for ever; a share `wrong_share` is wrong."""
        draw = random.Random(seed)
        while True:
            problem = draw.choice(self.train)
            yield problem.prompt, self.spoil(problem, draw) if draw.random() < self.wrong_share else problem.answer

    def tokenizer(self) -> Any:
        """Build the tokenizer of `<pad>`, `<eos>`, the task's characters and its words."""
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {token: index for index, token in enumerate([PAD, EOS, *self.alphabet])}
        backend = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
        backend.decoder = decoders.Fuse()
        backend.add_tokens([AddedToken(word, normalized=False) for word in self.words])
        return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=PAD, eos_token=EOS, unk_token=PAD)


def addition() -> Task:
    """Return the built-in task: sums of two two-digit numbers, answers of two or three characters."""
    pairs = [Problem(prompt, answer) for prompt, answer in problems(_SEED)]
    return Task(
        name="addition",
        description="57+68= to 125: sums of two two-digit numbers, 3 to 4 tokens with the end",
        train=tuple(pairs[HELD_OUT:]),
        held_out=tuple(pairs[:HELD_OUT]),
        grader="exact",
        words=(),
        alphabet="0123456789+=",
        spoil=lambda problem, draw: next(noisy_answers([(problem.prompt, problem.answer)], 1.0, draw.getrandbits(31)))[
            1
        ],
        max_tokens=5,
        max_length=16,
        warm_start_steps=500,
        warm_start_batch=128,
        rates=(5e-5, 1e-4, 2e-4, 4e-4),
    )


def sorting() -> Task:
    """Return reasoning-gym's number_sorting: two to five numbers, in ascending or descending order."""
    options = {
        "size": 6000,
        "min_numbers": 2,
        "max_numbers": 5,
        "min_value": 0,
        "max_value": 99,
        "min_decimals": 0,
        "max_decimals": 0,
    }
    made = _generated("number_sorting", options)
    head = "Sort these numbers in {} order: "
    tail = "\n" + made[0].prompt.partition("\n")[2]
    return Task(
        name="sorting",
        description="two to five numbers below 100 in ascending or descending order (reasoning-gym), 6 to 17 tokens",
        train=tuple(made[HELD_OUT:]),
        held_out=tuple(made[:HELD_OUT]),
        grader="reasoning_gym",
        words=(head.format("ascending"), head.format("descending"), ".0, ", f".0{tail}", "['", ".0', '", ".0']"),
        alphabet="0123456789",
        spoil=_exchange,
        max_tokens=20,
        max_length=48,
        warm_start_steps=900,
        warm_start_batch=64,
        rates=(5e-5, 1e-4, 2e-4),
    )


def _exchange(problem: Problem, draw: random.Random) -> str:
    """Exchange two different neighbours, a typical error of a policy that is nearly right."""
    items = problem.answer.strip("[]").split(", ")
    places = [i for i in range(len(items) - 1) if items[i] != items[i + 1]]
    if not places:
        return "[" + ", ".join(items[:-1]) + "]"
    place = draw.choice(places)
    items[place], items[place + 1] = items[place + 1], items[place]
    return "[" + ", ".join(items) + "]"


def spelling() -> Task:
    """Return reasoning-gym's spell_backward with words of eight to ten letters, of which the base policy misses many.

    An answer that is right in part earns nothing; reasoning-gym's own grader would give it a part of the reward.
    """
    made = _generated("spell_backward", {"size": 6000, "min_word_len": 8, "max_word_len": 10})
    made = [problem for problem in made if problem.answer.islower()]  # no names
    head, _, _ = made[0].prompt.rpartition(" ")
    return Task(
        name="spelling",
        description="words of eight to ten letters spelt backward (reasoning-gym), 9 to 11 tokens; nearly every answer "
        "that the base policy was taught is wrong",
        train=tuple(made[HELD_OUT:]),
        held_out=tuple(made[:HELD_OUT]),
        grader="exact",
        words=(f"{head} ",),
        alphabet=string.ascii_lowercase,
        spoil=_misspell,
        max_tokens=12,
        max_length=24,
        warm_start_steps=600,
        warm_start_batch=128,
        rates=(1e-4, 2e-4, 4e-4),
        wrong_share=0.93,
    )


def _misspell(problem: Problem, draw: random.Random) -> str:
    """Exchange about a quarter of the letters for others, one at least."""
    certain = draw.randrange(len(problem.answer))
    return "".join(
        draw.choice(string.ascii_lowercase.replace(letter, "")) if place == certain or draw.random() < 0.15 else letter
        for place, letter in enumerate(problem.answer)
    )


def _generated(task: str, options: dict[str, Any]) -> list[Problem]:
    """Return the distinct problems of a task of reasoning-gym."""
    from components.prepare.generated_rows import generate_rows

    rows, _ = generate_rows(f"reasoning_gym:{task}", options, _SEED, "data.train")
    distinct = {row.columns["prompt"]: row.columns for row in rows}
    return [
        Problem(
            values["prompt"],
            values["answer"],
            json.dumps({k: v for k, v in values.items() if k not in ("prompt", "answer")}),
        )
        for values in distinct.values()
    ]


TASKS: dict[str, Callable[[], Task]] = {"addition": addition, "sorting": sorting, "spelling": spelling}
