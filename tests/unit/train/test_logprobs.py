"""Log-probabilities against a plain transformers forward."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_policy import plain_logprobs, tiny_model

from components.train.batching import MicroBatch, build_micro_batch
from components.train.logprobs import completion_logprobs
from components.train.trajectories import Trajectories

Make = Callable[..., Trajectories]


def whole(data: Trajectories) -> MicroBatch:
    rows = np.arange(len(data.rewards))
    return build_micro_batch(data, rows, rows, torch.device("cpu"))


def expected(model, data: Trajectories, temperature: float) -> np.ndarray:
    parts = []
    for row, prompt in enumerate(data.prompt_lengths):
        tokens = data.tokens[data.starts[row] : data.starts[row + 1]].tolist()
        parts.append(plain_logprobs(model, tokens[:prompt], tokens[prompt:], temperature))
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("qwen2", {}),
        ("llama", {"tie_word_embeddings": False}),
        ("gpt2", {}),
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 3.0}),
    ],
)
@pytest.mark.parametrize("chunk", [7, 10_000])
def test_equal_a_plain_forward(make_trajectories: Make, architecture: str, settings: dict, chunk: int) -> None:
    data = make_trajectories()
    model = tiny_model(1, architecture, **settings)
    for temperature in (1.0, 0.7):
        logprobs, entropy = completion_logprobs(model, whole(data), temperature, chunk)
        np.testing.assert_allclose(logprobs.detach().numpy(), expected(model, data, temperature), atol=1e-5)
        assert logprobs.requires_grad
        assert not entropy.requires_grad


def test_entropy_is_that_of_the_whole_distribution(make_trajectories: Make) -> None:
    data = make_trajectories()
    model = tiny_model(1)
    _, entropy = completion_logprobs(model, whole(data), 0.7, 10_000)
    tokens = torch.tensor(data.tokens[: data.starts[1]])[None]
    distribution = (model(input_ids=tokens).logits[0] / 0.7).softmax(-1)[data.prompt_lengths[0] - 1 : -1]
    wanted = torch.distributions.Categorical(distribution).entropy()
    np.testing.assert_allclose(entropy[: len(wanted)].numpy(), wanted.detach().numpy(), atol=1e-5)


def gradient(model, data: Trajectories, chunk: int) -> torch.Tensor:
    model.zero_grad()
    logprobs, _ = completion_logprobs(model, whole(data), 0.7, chunk)
    (logprobs * torch.linspace(-1, 1, len(logprobs))).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2"])
def test_chunks_leave_the_gradient_alone(make_trajectories: Make, architecture: str) -> None:
    data, model = make_trajectories(), tiny_model(1, architecture)
    at_once = gradient(model, data, 10_000)
    scale = at_once.abs().max()
    assert scale > 0
    for chunk in (1, 9):
        torch.testing.assert_close(gradient(model, data, chunk) / scale, at_once / scale, atol=1e-6, rtol=0)


def test_logits_never_exceed_the_chunk(make_trajectories: Make) -> None:
    data, model = make_trajectories(), tiny_model(1)
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, logits: seen.append(logits.shape[-2]))
    gradient(model, data, 5)
    assert max(seen) == 5
    assert sum(seen) == 2 * len(data.behaviour_logprobs)  # once forward, once again in backward


def test_the_model_forwards_as_before_afterwards(make_trajectories: Make) -> None:
    data, model = make_trajectories(), tiny_model(1)
    ids = torch.tensor([[2, 3, 4, 5]])
    before = model(input_ids=ids).logits
    gradient(model, data, 5)
    torch.testing.assert_close(model(input_ids=ids).logits, before)
