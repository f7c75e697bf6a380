"""Seeded trajectories and a random policy, stored so that several programs can train on the same.

Speed and memory do not depend on the tokens, so these are uniformly random; lengths, groups and rewards resemble a
rollout of a small policy.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

_ARRAYS = "trajectories.npz"
_FIRST_WORD = 2
"""The first token id after padding and end of sequence."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2 policy with tied embeddings."""

    layers: int
    width: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int


TINY = Shape(layers=6, width=384, intermediate=1024, heads=6, kv_heads=6, vocabulary=32_768)
"""23 million parameters, 13 million of them embeddings."""

QWEN_0_5B = Shape(layers=24, width=896, intermediate=4864, heads=14, kv_heads=2, vocabulary=151_936)
QWEN_1_5B = Shape(layers=28, width=1536, intermediate=8960, heads=12, kv_heads=2, vocabulary=151_936)


@dataclass(frozen=True)
class Workload:
    """The sequences of one optimizer step.

    Attributes:
        prompts, group_size: number of groups, and of completions in each.
        prompt_tokens: length of every prompt.
        median, spread, longest: completion lengths in tokens, log-normal with `spread` the standard deviation of
            their logarithm, at most `longest`.
    """

    shape: Shape = TINY
    prompts: int = 8
    group_size: int = 8
    prompt_tokens: int = 48
    median: int = 60
    spread: float = 0.7
    longest: int = 256
    seed: int = 0

    def scaled(self, **changes: Any) -> "Workload":
        """Return a copy with other values; keys of `Shape` change the shape."""
        sizes = {key: changes.pop(key) for key in list(changes) if key in asdict(self.shape)}
        return replace(self, shape=replace(self.shape, **sizes), **changes)


WORKLOADS = {
    "48x60": Workload(),
    "200x500": Workload(prompt_tokens=200, median=400, spread=0.3, longest=500),
    "400x100": Workload(prompt_tokens=400, median=100, spread=0.1, longest=120),
    "1000x50": Workload(prompt_tokens=1000, median=50, spread=0.3, longest=100),
}
"""64 sequences each, by the tokens of prompts and, about, of completions."""


@dataclass(frozen=True)
class Stored:
    """The trajectories of one step, group after group.

    Attributes:
        prompt_ids: int64 [prompts, prompt_tokens].
        completion_ids: int64, all completions concatenated.
        lengths: int64 [N], lengths of the completions.
        rewards: float32 [N].
        logprobs: float32, log-probabilities of `completion_ids` under the stored policy, nats.
    """

    prompt_ids: np.ndarray
    completion_ids: np.ndarray
    lengths: np.ndarray
    rewards: np.ndarray
    logprobs: np.ndarray

    @property
    def group_size(self) -> int:
        return len(self.lengths) // len(self.prompt_ids)

    @property
    def sequence_lengths(self) -> np.ndarray:
        """The number of prompt and completion tokens of every sequence, int64 [N]."""
        return self.lengths + self.prompt_ids.shape[1]

    @property
    def tokens(self) -> int:
        """The number of prompt and completion tokens of the step."""
        return int(self.sequence_lengths.sum())

    def completions(self) -> list[np.ndarray]:
        return np.split(self.completion_ids, np.cumsum(self.lengths)[:-1])


def draw(workload: Workload) -> Stored:
    """Return trajectories without log-probabilities (NaN), the same for equal workloads.

    In every group at least one completion is right and one wrong, so every group has a signal.
    """
    rng = np.random.default_rng(workload.seed)
    sequences = workload.prompts * workload.group_size
    drawn = rng.lognormal(np.log(workload.median), workload.spread, sequences)
    lengths = np.clip(np.rint(drawn), 1, workload.longest).astype(np.int64)
    right = rng.integers(1, workload.group_size, workload.prompts)
    rewards = [rng.permutation(np.arange(workload.group_size) < count) for count in right]
    words = workload.shape.vocabulary
    return Stored(
        prompt_ids=rng.integers(_FIRST_WORD, words, (workload.prompts, workload.prompt_tokens)),
        completion_ids=rng.integers(_FIRST_WORD, words, int(lengths.sum())),
        lengths=lengths,
        rewards=np.concatenate(rewards).astype(np.float32),
        logprobs=np.full(int(lengths.sum()), np.nan, dtype=np.float32),
    )


def build_model(workload: Workload) -> Any:
    """Build the float32 policy with seeded random weights."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    shape = workload.shape
    torch.manual_seed(workload.seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.intermediate,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            max_position_embeddings=workload.prompt_tokens + workload.longest,
            tie_word_embeddings=True,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
    ).eval()


def store(workload: Workload, directory: Path, device: str = "cpu") -> Stored:
    """Write policy and trajectories to `directory`, with log-probabilities from a plain forward pass."""
    import torch

    model = build_model(workload).to(device)
    stored = draw(workload)
    logprobs = []
    with torch.no_grad():
        for index, completion in enumerate(stored.completions()):
            prompt = stored.prompt_ids[index // stored.group_size]
            tokens = torch.from_numpy(np.concatenate([prompt, completion])).to(device)
            hidden = model.model(input_ids=tokens[None, :-1]).last_hidden_state[0, len(prompt) - 1 :]
            chosen = model.lm_head(hidden).log_softmax(-1).gather(1, tokens[len(prompt) :, None])
            logprobs.append(chosen[:, 0].cpu().numpy())
    stored = replace(stored, logprobs=np.concatenate(logprobs))
    model.save_pretrained(directory)
    np.savez(directory / _ARRAYS, **asdict(stored))
    return stored


def read(directory: Path) -> Stored:
    """Read the trajectories that `store` wrote."""
    with np.load(directory / _ARRAYS) as arrays:
        return Stored(**{name: arrays[name] for name in arrays.files})


def starts(lengths: np.ndarray) -> np.ndarray:
    """Return the start of each of consecutive pieces, and the end of the last: int64 [N + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)])
