"""Rows of groups through the models' own code against one sequence at a time."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from components.train.batching import build_grouped, build_padded
from components.train.group_attention import _block_mask, group_attention
from components.train.group_layout import GroupLayout
from components.train.group_probe import groups_unfit
from components.train.logprobs import LogprobModel
from components.train.trajectories import Trajectories
from tests.support.tiny_policy import tiny_model

CPU = torch.device("cpu")
Make = Callable[..., Trajectories]

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": {"attn_logit_softcapping": None, "sliding_window": 4},
    "gemma3_text": {"sliding_window": 4, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "smollm3": {"no_rope_layers": [1, 0]},
    "phi": {},
    "phi3": {"sliding_window": 4},
    "gpt2": {},
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_have_the_logprobs_and_gradients_of_single_sequences(make_trajectories: Make, architecture: str) -> None:
    data = make_trajectories(groups=3)
    rows = np.arange(len(data.rewards))
    alone = [build_padded(data, rows, [[row]], CPU) for row in rows]
    groups = [list(range(4)), list(range(4, 8)), [8, 10], [9, 11]]  # the last one is split
    results = []
    for micros in (alone, [build_grouped(data, rows, groups[2:], CPU), build_grouped(data, rows, groups[:2], CPU)]):
        model = tiny_model(1, architecture, **ARCHITECTURES[architecture])
        if micros is not alone:
            assert groups_unfit(model) is None
        logprobs = torch.zeros(len(data.behaviour_logprobs))
        for micro in micros:
            found, _ = LogprobModel(model, 1.0, 1000, torch.float32)(micro)
            place = torch.cat([torch.arange(*data.behaviour_starts[row : row + 2]) for row in micro.rows_N.tolist()])
            logprobs[place] = found.detach()
            (found * torch.linspace(-1, 1, len(logprobs))[place]).sum().backward()
        results.append((logprobs, torch.cat([p.grad.flatten() for p in model.parameters()])))
    (expected, wanted), (logprobs, gradient) = results
    scale = max(1.0, wanted.abs().max().item())
    assert (logprobs - expected).abs().max() < 1e-6 * expected.abs().max()
    torch.testing.assert_close(gradient / scale, wanted / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("window", [None, 3])
def test_the_gradient_is_that_of_finite_differences(window: int | None) -> None:
    layout = GroupLayout.of([(4, 1, 5, 2), (2, 3, 3)])
    tokens = layout.groups[-1][-1]
    draw = torch.Generator().manual_seed(0)
    shapes = ((4, tokens, 3), (2, tokens, 3), (2, tokens, 3))
    inputs = [torch.randn(1, *shape, generator=draw, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def attend(*tensors: torch.Tensor) -> torch.Tensor:
        return group_attention(torch.nn.Module(), *tensors, None, group_layout=layout, sliding_window=window)[0]

    torch.autograd.gradcheck(attend, inputs)


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("long", [[], [(40, 33, 1, 70), (33,)]], ids=["short", "long"])
def test_the_mask_for_cuda_is_what_the_cpu_computes(window: int | None, long: list[tuple[int, ...]]) -> None:
    layout = GroupLayout.of([(4, 1, 5, 2), (2, 3, 3), *long])
    tokens = layout.groups[-1][-1]
    mask_mod = _block_mask(layout, window, CPU).mask_mod
    place = torch.arange(tokens)
    seen = mask_mod(torch.zeros(()), torch.zeros(()), place[:, None], place[None])
    inputs = torch.randn(3, 1, 2, tokens, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.randn(1, 2, tokens, 8, generator=torch.Generator().manual_seed(1))
    masked = torch.nn.functional.scaled_dot_product_attention(*inputs, seen)
    found, _ = group_attention(torch.nn.Module(), *inputs, None, group_layout=layout, sliding_window=window)
    torch.testing.assert_close(found.transpose(1, 2), masked, atol=1e-6, rtol=0)
    gradients = [torch.autograd.grad((out * weights).sum(), inputs)[0] for out in (found.transpose(1, 2), masked)]
    torch.testing.assert_close(*gradients, atol=3e-6, rtol=0)


def test_a_layout_places_every_token(make_trajectories: Make) -> None:
    lengths = [(4, 1, 5, 2), (2, 3, 3)]
    layout = GroupLayout.of(lengths)
    assert layout.groups == ((0, 4, 4, 8, 9), (9, 11, 13, 15))
    assert layout.longest == 8
    assert layout.positions().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 4, 0, 1, 2, 3, 2, 3]
    assert layout.predictors().tolist() == [3, 3, 4, 5, 6, 7, 3, 8, 10, 11, 12, 10, 13, 14]
    own, prompt = layout.segments()
    assert own.tolist() == [0] * 4 + [2] * 4 + [3] + [4] * 2 + [5] * 2 + [6] * 2
    assert prompt.tolist() == [0] * 9 + [4] * 6
    data = make_trajectories(groups=2)
    rows = np.array([6, 1, 7, 3])
    micro = build_grouped(data, rows, [[2, 0], [1]], CPU)
    ids = micro.inputs["input_ids"][0]
    (first, second) = micro.inputs["group_layout"].groups
    for row, (start, end) in zip((7, 6, 1), (*pairwise(first[1:]), *pairwise(second[1:])), strict=True):
        tokens = data.tokens[data.starts[row] : data.starts[row + 1]]
        begin, prompt_end = (first if row > 3 else second)[:2]
        assert [*ids[begin:prompt_end], *ids[start:end]] == tokens[:-1].tolist()
        place = {7: 0, 6: 1, 1: 2}[row]
        mine = micro.sequence_T == place
        assert micro.targets_T[mine].tolist() == tokens[data.prompt_lengths[row] :].tolist()
        assert micro.predictors_T[mine].tolist() == [prompt_end - 1, *range(start, end)]
        mu = data.behaviour_logprobs[data.behaviour_starts[row] : data.behaviour_starts[row + 1]]
        np.testing.assert_array_equal(micro.behaviour_logprobs_T[mine].numpy(), mu)
    assert micro.rows_N.tolist() == [2, 0, 1]
    assert micro.group_tokens == (int((micro.sequence_T < 2).sum()), int((micro.sequence_T == 2).sum()))
