"""Loss and gradient do not depend on micro-batches, padding or order; pinned values per objective."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_policy import tiny_model

from components.contract.config import ObjectiveSection
from components.train.batching import build_micro_batch, build_mini_batch
from components.train.gradient import Evaluated, Forward, accumulate
from components.train.objectives import build_objective
from components.train.trajectories import Trajectories

CPU = torch.device("cpu")
NAMES = ("rapid", "rapid_clip", "pg", "grpo")
Make = Callable[..., Trajectories]


def evaluate(
    data: Trajectories, name: str, budget: int = 10_000, groups: tuple[int, ...] = (0, 1, 2, 3), chunk: int = 10_000
) -> tuple[Evaluated, torch.Tensor]:
    """The mini-batch under a policy other than the behaviour policy, and its whole gradient."""
    model = tiny_model(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.02)
    objective = build_objective(ObjectiveSection(name=name))
    batch = build_mini_batch(data, np.array(groups), budget, objective.credit_uses_ratio, CPU)
    evaluated = accumulate(model, batch, objective, Forward(1.0, chunk, torch.float32))
    return evaluated, torch.cat([p.grad.flatten() for p in model.parameters()])


def assert_same(one: tuple[Evaluated, torch.Tensor], other: tuple[Evaluated, torch.Tensor]) -> None:
    scale = max(1.0, one[1].abs().max().item())
    assert one[0].loss.item() == pytest.approx(other[0].loss.item(), abs=1e-6)
    torch.testing.assert_close(one[1] / scale, other[1] / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [1, 25, 60, 100])
def test_micro_batches_change_nothing(make_trajectories: Make, name: str, budget: int) -> None:
    data = make_trajectories()
    whole = evaluate(data, name)
    assert whole[0].log_ratio_N.abs().max() > 0.05
    split = evaluate(data, name, budget, chunk=6)
    assert_same(whole, split)
    torch.testing.assert_close(split[0].log_ratio_N, whole[0].log_ratio_N, atol=1e-5, rtol=0)
    assert split[0].entropy_T.mean().item() == pytest.approx(whole[0].entropy_T.mean().item(), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_groups_changes_nothing(make_trajectories: Make, name: str) -> None:
    data = make_trajectories()
    assert_same(evaluate(data, name), evaluate(data, name, groups=(2, 0, 3, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(make_trajectories: Make, name: str) -> None:
    """Columns of arbitrary tokens on the right, where the mask is 0."""
    data = make_trajectories()
    rows = np.arange(len(data.rewards))
    plain = build_micro_batch(data, rows, rows, CPU)
    height, width = plain.input_ids_BT.shape
    padded = dataclasses.replace(
        plain,
        input_ids_BT=torch.cat([plain.input_ids_BT, torch.full((height, 5), 7)], 1),
        attention_mask_BT=torch.cat([plain.attention_mask_BT, torch.zeros(height, 5, dtype=torch.int64)], 1),
        predictors_T=plain.predictors_T // width * (width + 5) + plain.predictors_T % width,
    )
    objective = build_objective(ObjectiveSection(name=name))
    results = []
    for micro in (plain, padded):
        model = tiny_model(2)
        batch = build_mini_batch(data, np.arange(4), 10_000, True, CPU)
        batch = dataclasses.replace(batch, micro_batches=(micro,))
        evaluated = accumulate(model, batch, objective, Forward(1.0, 10_000, torch.float32))
        results.append((evaluated, torch.cat([p.grad.flatten() for p in model.parameters()])))
    assert_same(results[0], results[1])


def test_bf16_compute_stays_near_float32(make_trajectories: Make) -> None:
    data, model = make_trajectories(), tiny_model(0)
    batch = build_mini_batch(data, np.arange(4), 10_000, True, CPU)
    exact, _ = Forward(1.0, 8, torch.float32)(model, batch.micro_batches[0])
    rounded, _ = Forward(1.0, 8, torch.bfloat16)(model, batch.micro_batches[0])
    difference = (exact - rounded).abs()
    assert rounded.dtype == torch.float32
    assert 0 < difference.mean() < 0.05


# Loss, gradient norm, loss, gradient norm, ...
SNAPSHOT = {
    "rapid": [-0.377057, 2.503023, -1.209439, 3.671103, -1.516167, 1.936116, 0.792693, 1.933414, -0.527152, 1.220882],
    "rapid_clip": [-0.0, 1.052232, 0.026073, 0.747572, 0.156838, 0.560086, 0.090988, 0.439129, 0.133921, 0.23683],
    "pg": [-0.377057, 2.503023, -0.315195, 3.152437, -0.643163, 2.159033, -0.477226, 2.61066, -0.815276, 2.26361],
    "grpo": [-0.0, 3.347469, -0.00261, 3.114286, -0.099266, 1.343152, -0.071251, 1.26891, -0.137609, 0.870302],
}


@pytest.mark.parametrize("name", NAMES)
def test_five_steps_as_pinned(make_trajectories: Make, name: str) -> None:
    """Loss and gradient norm of five AdamW steps over two mini-batches of a seeded policy, float32 on CPU."""
    data, model = make_trajectories(), tiny_model(0)
    objective = build_objective(ObjectiveSection(name=name))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    measured = []
    for step in range(5):
        groups = np.array([0, 1]) + 2 * (step % 2)
        batch = build_mini_batch(data, groups, 40, objective.credit_uses_ratio, CPU)
        optimiser.zero_grad()
        evaluated = accumulate(model, batch, objective, Forward(1.0, 8, torch.float32))
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        measured += [evaluated.loss.item(), norm.item()]
    np.testing.assert_allclose(measured, SNAPSHOT[name], rtol=1e-3, atol=1e-4)
