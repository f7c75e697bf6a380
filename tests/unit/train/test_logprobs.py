"""Log-probabilities against a plain transformers forward."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from components.contract.errors import InputError
from components.contract.objective_config import OBJECTIVE_OPTIONS
from components.contract.train_config import TrainSection
from components.train.batching import MicroBatch, MicroBatchLimits, build_mini_batch, build_padded
from components.train.build_objective import build_objective
from components.train.distributed import Processes
from components.train.fused_head import KnownGradient
from components.train.group_probe import groups_unfit
from components.train.logprobs import LogprobModel
from components.train.loss import LossTerms, accumulate_gradient
from components.train.trajectories import Trajectories
from tests.support.tiny_policy import VOCABULARY, plain_logprobs, tiny_model

Make = Callable[..., Trajectories]


def whole(data: Trajectories) -> MicroBatch:
    rows = np.arange(len(data.rewards))
    return build_padded(data, rows, rows[:, None], torch.device("cpu"))


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
        logprobs, entropy = LogprobModel(model, temperature, chunk, torch.float32)(whole(data))
        np.testing.assert_allclose(logprobs.detach().numpy(), expected(model, data, temperature), atol=1e-5)
        assert logprobs.requires_grad
        assert not entropy.requires_grad


def test_entropy_is_that_of_the_whole_distribution(make_trajectories: Make) -> None:
    data = make_trajectories()
    model = tiny_model(1)
    _, entropy = LogprobModel(model, 0.7, 10_000, torch.float32)(whole(data))
    tokens = torch.tensor(data.tokens[: data.starts[1]])[None]
    distribution = (model(input_ids=tokens).logits[0] / 0.7).softmax(-1)[data.prompt_lengths[0] - 1 : -1]
    wanted = torch.distributions.Categorical(distribution).entropy()
    np.testing.assert_allclose(entropy[: len(wanted)].numpy(), wanted.detach().numpy(), atol=1e-5)


def gradient(model, data: Trajectories, chunk: int, head: str = "auto", entropies: bool = False) -> torch.Tensor:
    model.zero_grad()
    policy = LogprobModel(model, 0.7, chunk, torch.float32, head)
    logprobs, entropy = policy(whole(data), entropy_gradient=entropies)
    value = (logprobs * torch.linspace(-1, 1, len(logprobs))).sum()
    (value + (entropy * torch.linspace(1, 2, len(entropy))).sum() if entropies else value).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("architecture", ["qwen2", "gemma2"])
@pytest.mark.parametrize("entropies", [False, True])
def test_chunks_leave_the_gradient_alone(make_trajectories: Make, architecture: str, entropies: bool) -> None:
    data, model = make_trajectories(), tiny_model(1, architecture)
    at_once = gradient(model, data, 10_000, "chunked", entropies)
    scale = at_once.abs().max()
    assert scale > 0
    for chunk in (1, 9, 10_000):
        torch.testing.assert_close(
            gradient(model, data, chunk, entropies=entropies) / scale, at_once / scale, atol=1e-6, rtol=0
        )


class LargestTensor(TorchDispatchMode):
    """The most rows of vocabulary width that any operation has made."""

    rows = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 2 and tensor.shape[1] == VOCABULARY:
                self.rows = max(self.rows, tensor.shape[0])
        return made


@pytest.mark.parametrize("head", ["fused", "chunked"])
def test_logits_never_exceed_the_chunk(make_trajectories: Make, head: str) -> None:
    data, model = make_trajectories(), tiny_model(1)
    with LargestTensor() as largest:
        gradient(model, data, 5, head)
    # Hidden states times [width, vocabulary]: the transposed weight, and nothing of the batch beside it.
    assert len(data.behaviour_logprobs) > 32
    assert largest.rows <= 32


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("cohere", {"logit_scale": 0.25}),
        ("granite", {"logits_scaling": 3.0}),
    ],
)
def test_heads_that_are_more_than_a_projection_are_not_fused(architecture: str, settings: dict) -> None:
    settings = {
        "gemma2": {"final_logit_softcapping": 2.0},
        "cohere": {"logit_scale": 0.25},
        "granite": {"logits_scaling": 3.0},
    }
    model = tiny_model(1, architecture, **settings[architecture])
    assert not LogprobModel(model, 1.0, 8, torch.float32).fused
    with pytest.raises(InputError, match=r"train.logprobs=fused: the output head of .* is more than one projection"):
        LogprobModel(model, 1.0, 8, torch.float32, "fused")


class VocabularyProducts(TorchDispatchMode):
    """Count of the matrix products with the vocabulary as a dimension."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        products = (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default)
        if function in products and any(VOCABULARY in tensor.shape for tensor in args):
            self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("blocks", "right", "overflows"),
    [(None, True, False), (None, False, False), ([6] * 12, True, False), ([13, 60], True, True), ([73], False, True)],
)
def test_known_gradients_save_a_product_and_change_nothing(
    make_trajectories: Make, blocks: list[int] | None, right: bool, overflows: bool
) -> None:
    data, model = make_trajectories(), tiny_model(1)
    plain = gradient(model, data, 10, "fused")
    tokens = len(data.behaviour_logprobs)
    blocks = blocks and [*blocks[:-1], tokens - sum(blocks[:-1])]
    weights = torch.linspace(-1, 1, tokens)
    lengths = []

    def known(logprobs: torch.Tensor, part: slice) -> torch.Tensor:
        lengths.append(len(logprobs))
        return weights[part] if right else weights[part] + 0.1

    model.zero_grad()
    policy = LogprobModel(model, 0.7, 10, torch.float32, "fused")
    with VocabularyProducts() as counted:
        logprobs, _ = policy(whole(data), known_gradient=KnownGradient(known, blocks))
        (logprobs * weights).sum().backward()
    assert sum(lengths) == tokens
    # Tokens beyond one and a half chunks of a block are projected again.
    pieces = sum(-(-length // (10 if length <= 10 else 5)) for length in lengths)
    again = sum(max(0, -(-length // 5) - 3) for length in lengths)
    expected = 3 * pieces + again + (0 if right else 3 * -(-tokens // 10))
    assert counted.count == expected
    assert (again > 0) == overflows
    torch.testing.assert_close(torch.cat([p.grad.flatten() for p in model.parameters()]), plain)


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("name", ["grpo", "gspo", "cispo", "rapid", "rapid_clip", "sft"])
def test_training_knows_its_gradients(make_trajectories: Make, name: str, grouped: bool) -> None:
    """Every token takes three products with the vocabulary; weights of groups that are not in a row take another."""
    data, model = make_trajectories(), tiny_model(1)
    assert not grouped or groups_unfit(model) is None
    terms = LossTerms(build_objective(TrainSection(objective=OBJECTIVE_OPTIONS[name]())), 7)
    alone = Processes(0, 1, torch.device("cpu"))
    batch = build_mini_batch(data, np.arange(4), MicroBatchLimits(40, grouped), alone)
    policy = LogprobModel(model, 1.0, 64, torch.float32, "fused")
    with VocabularyProducts() as products:
        accumulate_gradient(policy, batch, terms, alone)
    passes = len(batch.micro_batches)
    assert passes > 1
    assert products.count == (4 if terms.objective.uses_ratio and not grouped else 3) * passes


def test_a_frozen_head_gets_no_gradient(make_trajectories: Make) -> None:
    data, model = make_trajectories(), tiny_model(1)
    model.get_output_embeddings().weight.requires_grad_(False)
    logprobs, _ = LogprobModel(model, 1.0, 5, torch.float32, "fused")(whole(data))
    logprobs.sum().backward()
    assert model.get_output_embeddings().weight.grad is None
    assert all(p.grad is not None for p in model.model.layers.parameters())


def test_the_model_forwards_as_before_afterwards(make_trajectories: Make) -> None:
    data, model = make_trajectories(), tiny_model(1)
    ids = torch.tensor([[2, 3, 4, 5]])
    before = model(input_ids=ids).logits
    gradient(model, data, 5)
    torch.testing.assert_close(model(input_ids=ids).logits, before)
