"""Loss and gradient do not depend on groups in rows, padding, splitting or order; pinned values per objective."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch

from components.contract.config import RunConfig
from components.contract.objective_config import OBJECTIVE_OPTIONS
from components.contract.train_config import TrainSection
from components.train.batching import MicroBatch, MicroBatchLimits, MiniBatch, build_mini_batch, build_padded
from components.train.build_objective import build_objective
from components.train.distributed import Processes
from components.train.group_probe import groups_unfit
from components.train.logprobs import LogprobModel
from components.train.loss import LossTerms, MiniBatchLoss, accumulate_gradient
from components.train.objectives import token_scales
from components.train.scoring import completion_logprobs
from components.train.trajectories import Trajectories
from tests.support.objective_loss import objective_loss
from tests.support.tiny_policy import tiny_model

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
NAMES = tuple(OBJECTIVE_OPTIONS)
Make = Callable[..., Trajectories]
Configure = Callable[..., RunConfig]
Result = tuple[MiniBatchLoss, torch.Tensor]


def terms_of(name: str, **more: float | LogprobModel) -> LossTerms:
    return LossTerms(build_objective(TrainSection(objective=OBJECTIVE_OPTIONS[name]())), 7, **more)


def mini_batch(
    data: Trajectories,
    budget: int = 10_000,
    groups: tuple[int, ...] = (0, 1, 2, 3),
    grouped: bool = False,
    mask: bool = False,
) -> MiniBatch:
    return build_mini_batch(data, np.array(groups), MicroBatchLimits(budget, grouped), ALONE, mask_truncated=mask)


def moved_model(architecture: str = "qwen2", grouped: bool = False, **settings: object) -> torch.nn.Module:
    """A policy other than the behaviour policy."""
    model = tiny_model(0, architecture, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.02)
    if grouped:
        assert groups_unfit(model) is None
    return model


def evaluate(
    data: Trajectories,
    terms: LossTerms,
    budget: int = 10_000,
    groups: tuple[int, ...] = (0, 1, 2, 3),
    chunk: int = 10_000,
    grouped: bool = False,
    head: str = "auto",
    mask: bool = False,
    model: torch.nn.Module | None = None,
) -> Result:
    """The mini-batch under a policy other than the behaviour policy, and its whole gradient."""
    model = model or moved_model(grouped=grouped)
    batch = mini_batch(data, budget, groups, grouped, mask)
    evaluated = accumulate_gradient(LogprobModel(model, 1.0, chunk, torch.float32, head), batch, terms, ALONE)
    return evaluated, torch.cat([p.grad.flatten() for p in model.parameters()])


def written_out(
    data: Trajectories, terms: LossTerms, model: torch.nn.Module, kept: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, MicroBatch]:
    """The objective over one micro-batch of single sequences, their log-probabilities with gradient, and it."""
    rows = np.arange(len(data.rewards))
    micro = build_padded(data, rows, rows[:, None], CPU)
    logprobs, _ = LogprobModel(model, 1.0, 10_000, torch.float32, "chunked")(micro)
    loss, _ = objective_loss(
        terms.objective,
        logprobs,
        micro.behaviour_logprobs_T,
        micro.sequence_T,
        torch.from_numpy(data.rewards),
        torch.arange(4).repeat_interleave(data.group_size),
        kept,
    )
    return loss, logprobs, micro


def assert_same(one: tuple[MiniBatchLoss, torch.Tensor], other: tuple[MiniBatchLoss, torch.Tensor]) -> None:
    scale = max(1.0, one[1].abs().max().item())
    # A weighted loss adds up the rounding of the log-probabilities of whole groups.
    assert one[0].loss.item() == pytest.approx(other[0].loss.item(), abs=2e-6)
    torch.testing.assert_close(one[1] / scale, other[1] / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["fused", "chunked"])
@pytest.mark.parametrize(("grouped", "budget"), [(False, 60), (True, 1), (True, 18), (True, 60)])
def test_groups_micro_batches_and_head_change_nothing(
    make_trajectories: Make, name: str, grouped: bool, budget: int, head: str
) -> None:
    data, terms = make_trajectories(), terms_of(name)
    whole = evaluate(data, terms, head="chunked")
    assert whole[0].log_ratio_N.abs().max() > 0.05
    split = evaluate(data, terms, budget, chunk=6, grouped=grouped, head=head)
    assert_same(whole, split)
    torch.testing.assert_close(split[0].log_ratio_N, whole[0].log_ratio_N, atol=1e-5, rtol=0)
    for field in dataclasses.fields(whole[0].tokens):
        one, other = (getattr(result[0].tokens, field.name) for result in (whole, split))
        assert one == pytest.approx(other, abs=1e-5), field.name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mask", [False, True])
def test_what_trains_is_what_is_proven(make_trajectories: Make, name: str, mask: bool) -> None:
    """Compare with the objective written out over the mini-batch, which equals NumPy (test_objectives)."""
    data, terms = make_trajectories(), terms_of(name)
    trained = evaluate(data, terms, budget=50, chunk=6, mask=mask)
    model = moved_model()
    kept = torch.from_numpy(~data.truncated) if mask else torch.ones(len(data.rewards), dtype=torch.bool)
    loss, _, _ = written_out(data, terms, model, kept)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    scale = max(1.0, gradient.abs().max().item())
    assert trained[0].loss.item() == pytest.approx(loss.item(), abs=1e-6)
    torch.testing.assert_close(trained[1] / scale, gradient / scale, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_groups_changes_nothing(make_trajectories: Make, name: str) -> None:
    data, terms = make_trajectories(), terms_of(name)
    ordered, shuffled = (evaluate(data, terms, groups=groups, grouped=True) for groups in ((0, 1, 2, 3), (2, 0, 3, 1)))
    assert_same(ordered, shuffled)


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(make_trajectories: Make, name: str) -> None:
    """Columns of arbitrary tokens on the right, where the mask is 0."""
    data, terms = make_trajectories(), terms_of(name)
    rows = np.arange(len(data.rewards))
    plain = build_padded(data, rows, rows[:, None], CPU)
    ids, mask = plain.inputs["input_ids"], plain.inputs["attention_mask"]
    assert isinstance(ids, torch.Tensor)
    assert isinstance(mask, torch.Tensor)
    height, width = ids.shape
    padded = dataclasses.replace(
        plain,
        inputs={
            "input_ids": torch.cat([ids, torch.full((height, 5), 7)], 1),
            "attention_mask": torch.cat([mask, torch.zeros(height, 5, dtype=torch.int64)], 1),
        },
        predictors_T=plain.predictors_T // width * (width + 5) + plain.predictors_T % width,
    )
    results = []
    for micro in (plain, padded):
        model = tiny_model(2)
        batch = dataclasses.replace(mini_batch(data), micro_batches=(micro,), counted=(True,), whole=(False,))
        evaluated = accumulate_gradient(LogprobModel(model, 1.0, 10_000, torch.float32), batch, terms, ALONE)
        results.append((evaluated, torch.cat([p.grad.flatten() for p in model.parameters()])))
    assert_same(results[0], results[1])


@pytest.mark.parametrize("name", NAMES)
def test_masked_completions_have_no_gradient_and_keep_their_reward(make_trajectories: Make, name: str) -> None:
    data, terms = make_trajectories(), terms_of(name)
    masked = evaluate(data, terms, mask=True)
    whole = evaluate(data, terms)
    assert (masked[1] - whole[1]).abs().max() > 1e-4
    batch = mini_batch(data, mask=True)
    assert (batch.lengths_N == 0).tolist() == data.truncated.tolist()
    # Only what their tokens add is gone: other behaviour log-probabilities of theirs change nothing but the weights.
    if name in ("pg", "rloo", "grpo", "dapo", "dr_grpo", "gspo", "cispo", "token_is", "sft"):
        other = dataclasses.replace(data, behaviour_logprobs=data.behaviour_logprobs.copy())
        for row in np.flatnonzero(data.truncated):
            other.behaviour_logprobs[other.behaviour_starts[row] : other.behaviour_starts[row + 1]] -= 0.3
        torch.testing.assert_close(evaluate(other, terms, mask=True)[1], masked[1])
    assert_same(masked, evaluate(data, terms, budget=40, mask=True))


@pytest.mark.parametrize("objective", ["pg", "rapid", "grpo", "dapo", "dr_grpo"])
def test_added_terms_have_the_gradient_of_what_they_add(
    make_trajectories: Make, example_config: Configure, objective: str
) -> None:
    """Cloning, guide and entropy against the same terms written out over one micro-batch."""
    data = make_trajectories()
    guide = LogprobModel(tiny_model(5), 1.0, 10_000, torch.float32)
    plain = evaluate(data, terms_of(objective), mask=True)
    added = terms_of(
        objective,
        cloning_coefficient=0.3,
        cloning_threshold=0.6,
        guide_coefficient=0.2,
        entropy_coefficient=0.1,
    )
    guide_logprobs = completion_logprobs(guide, data, example_config(), ALONE)
    guided = dataclasses.replace(data, guide_logprobs=guide_logprobs)
    full = evaluate(guided, added, budget=50, chunk=6, mask=True)

    model = moved_model()
    rows = np.arange(len(data.rewards))
    micro = build_padded(data, rows, rows[:, None], CPU)
    logprobs, entropy = LogprobModel(model, 1.0, 10_000, torch.float32, "chunked")(micro, entropy_gradient=True)
    with torch.no_grad():
        other, _ = guide(micro)
    trained = torch.from_numpy(~data.truncated)[micro.sequence_T]
    verified = trained & (torch.from_numpy(data.rewards) > 0.6)[micro.sequence_T]
    gap = other - logprobs
    lengths = torch.from_numpy(np.diff(data.behaviour_starts) * ~data.truncated)
    scale = token_scales(added.objective.normalisation, lengths, 7)[micro.sequence_T]
    expected = (
        -0.3 * (scale * logprobs)[verified].sum()
        + 0.2 * (scale * gap.square() / 2)[trained].sum()
        - 0.1 * entropy[trained].mean()
    )
    expected.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert full[0].loss.item() - plain[0].loss.item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(full[1] - plain[1], gradient, atol=2e-5, rtol=1e-4)
    assert full[0].guide_kl.item() == pytest.approx(-gap.mean().item(), abs=1e-6)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_guide_scored_once_has_the_gradient_of_one_that_is_evaluated_every_time(
    make_trajectories: Make, example_config: Configure, grouped: bool
) -> None:
    data, model = make_trajectories(), moved_model(grouped=grouped)
    config = example_config("train.micro_batch_tokens=40")
    guide = LogprobModel(tiny_model(5), 1.0, 10_000, torch.float32)
    pieces = [completion_logprobs(guide, data.take(np.array(part)), config, ALONE) for part in ([0, 1, 2], [3])]
    guided = dataclasses.replace(data, guide_logprobs=np.concatenate(pieces))
    terms = terms_of("pg", guide_coefficient=0.7)
    for _ in range(2):  # the policy moves, the guide does not
        _, gradient = evaluate(guided, terms, budget=30, grouped=grouped, model=model)
        own = moved_model()
        own.load_state_dict(model.state_dict())
        loss, logprobs, micro = written_out(data, terms, own)
        with torch.no_grad():
            guide_logprobs, _ = guide(micro)
        gap = guide_logprobs - logprobs
        (loss + 0.7 * (gap.square() / 2).sum() / len(data.rewards)).backward()
        expected = torch.cat([p.grad.flatten() for p in own.parameters()])
        scale = max(1.0, expected.abs().max().item())
        torch.testing.assert_close(gradient / scale, expected / scale, atol=1e-6, rtol=0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.05 * parameter.grad
                parameter.grad = None


def test_bf16_compute_stays_near_float32(make_trajectories: Make) -> None:
    data, model = make_trajectories(), tiny_model(0)
    batch = mini_batch(data)
    for head in ("fused", "chunked"):
        exact, _ = LogprobModel(model, 1.0, 8, torch.float32, head)(batch.micro_batches[0])
        rounded, _ = LogprobModel(model, 1.0, 8, torch.bfloat16, head)(batch.micro_batches[0])
        difference = (exact - rounded).abs()
        assert rounded.dtype == torch.float32
        assert 0 < difference.mean() < 0.05


# Loss, gradient norm, loss, gradient norm, ...
SNAPSHOT = {
    "rapid": [-0.377056, 2.503023, -1.209442, 3.671104, -1.516169, 1.936117, 0.792694, 1.933414, -0.527152, 1.220882],
    "rapid_clip": [-0.0, 1.052232, 0.026073, 0.747572, 0.156838, 0.560086, 0.090989, 0.43913, 0.133921, 0.23683],
    "pg": [-0.377057, 2.503023, -0.315195, 3.152437, -0.643163, 2.159033, -0.477227, 2.61066, -0.815276, 2.26361],
    "rloo": [-0.502743, 3.337364, -0.420261, 4.20325, -0.857551, 2.878711, -0.636302, 3.48088, -1.087034, 3.018147],
    "grpo": [-0.0, 3.347472, -0.00261, 3.114285, -0.099265, 1.343152, -0.071251, 1.268909, -0.137609, 0.870303],
    "dr_grpo": [0.022992, 0.357575, 0.021065, 0.464434, 0.004058, 0.167737, 0.010104, 0.212554, 0.000522, 0.12535],
    "dapo": [0.096923, 2.05187, 0.144397, 2.853622, -0.045064, 1.280106, 0.072659, 1.30832, -0.04826, 1.474962],
    "gspo": [-0.0, 3.347472, 0.007315, 0.945527, -0.000292, 0.0, 0.019267, 1.525478, -0.000292, 0.0],
    "cispo": [-0.182687, 2.05187, -0.329551, 2.853622, 0.21755, 1.881925, -0.126482, 2.123144, 0.462406, 2.563982],
    "topr": [-0.377057, 2.503023, -0.31034, 3.136409, 0.556011, 1.32356, 0.163865, 1.408856, 0.617718, 1.272549],
    "token_is": [-0.081526, 0.541194, -0.076109, 0.722453, 0.020618, 0.480734, -0.022476, 0.502035, 0.050272, 0.558605],
    "sft": [0.444543, 1.076383, 1.47762, 1.917873, 0.34581, 0.810561, 1.352272, 1.403562, 0.290968, 0.649486],
}


@pytest.mark.parametrize("name", SNAPSHOT)
def test_five_steps_as_pinned(make_trajectories: Make, name: str) -> None:
    """Loss and gradient norm of five AdamW steps over two mini-batches of a seeded policy, float32 on CPU."""
    data, model, terms = make_trajectories(), tiny_model(0), terms_of(name)
    policy = LogprobModel(model, 1.0, 8, torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    measured = []
    for step in range(5):
        batch = mini_batch(data, 40, (0, 1) if step % 2 == 0 else (2, 3))
        optimizer.zero_grad()
        evaluated = accumulate_gradient(policy, batch, terms, ALONE)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        measured += [evaluated.loss.item(), norm.item()]
    np.testing.assert_allclose(measured, SNAPSHOT[name], rtol=1e-3, atol=1e-4)
