"""Fixtures of the train stage's parts."""

from collections.abc import Callable

import numpy as np
import pytest

from components.train.trajectories import Trajectories
from tests.support.tiny_policy import plain_logprobs, random_completions, tiny_model


@pytest.fixture
def make_trajectories() -> Callable[..., Trajectories]:
    """Random completions with random rewards, behaviour log-probabilities of the model of seed `behaviour`."""

    def make(groups: int = 4, group_size: int = 4, seed: int = 3, behaviour: int = 0, longest: int = 7) -> Trajectories:
        model = tiny_model(behaviour)
        sampled = random_completions(seed, groups, group_size, longest)
        pairs = [(prompt, completion) for prompt, completions in sampled for completion in completions]
        lengths = [len(p) + len(c) for p, c in pairs]
        return Trajectories(
            tokens=np.concatenate([p + c for p, c in pairs]).astype(np.int64),
            starts=np.concatenate([[0], np.cumsum(lengths)]),
            prompt_lengths=np.array([len(p) for p, _ in pairs]),
            behaviour_logprobs=np.concatenate([plain_logprobs(model, p, c) for p, c in pairs]),
            behaviour_starts=np.concatenate([[0], np.cumsum([len(c) for _, c in pairs])]),
            rewards=np.random.default_rng(seed).random(len(pairs)).astype(np.float32),
            truncated=np.arange(len(pairs)) % 5 == 1,
            group_size=group_size,
            group_ids=np.array([f"group-{group}" for group in range(groups)], dtype=object),
        )

    return make
