"""Objectives against float64 NumPy, finite differences, their on-policy limit and an enumerable policy."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from components.contract.objective_config import OBJECTIVE_OPTIONS
from components.contract.train_config import TrainSection
from components.train.build_objective import build_objective
from components.train.objectives import Objective, Tokens, importance_weights, kl_to_guide, token_scales
from tests.support.objective_loss import objective_loss

NAMES = tuple(OBJECTIVE_OPTIONS)
GROUPS, SIZE = 3, 4
LONGEST = 6
THRESHOLD = 0.5


def build(name: str, **options: Any) -> Objective:
    return build_objective(TrainSection.model_validate({"objective": {"name": name, **options}}))


def batch(seed: int = 0, spread: float = 0.4) -> dict[str, np.ndarray]:
    """Random token log-probabilities of both policies; groups interleaved on purpose."""
    rng = np.random.default_rng(seed)
    sequences = GROUPS * SIZE
    lengths = rng.integers(1, 6, sequences)
    tokens = int(lengths.sum())
    behaviour = -rng.exponential(1.0, tokens)
    return {
        "logprobs": behaviour + spread * rng.standard_normal(tokens),
        "behaviour": behaviour,
        "sequence": np.repeat(np.arange(sequences), lengths),
        "rewards": rng.random(sequences).round(1),
        "group": rng.permutation(np.repeat(np.arange(GROUPS), SIZE)),
    }


def run(name: str, data: dict[str, np.ndarray], dtype: torch.dtype = torch.float32, **options: Any):
    logprobs = torch.tensor(data["logprobs"], dtype=dtype, requires_grad=True)
    loss, advantage = objective_loss(
        build(name, **options),
        logprobs,
        torch.tensor(data["behaviour"], dtype=dtype),
        torch.tensor(data["sequence"]),
        torch.tensor(data["rewards"], dtype=dtype),
        torch.tensor(data["group"]),
        longest=LONGEST,
        threshold=THRESHOLD,
    )
    loss.backward()
    return loss.item(), logprobs.grad.numpy(), advantage.numpy()


def reference(name: str, data: dict[str, np.ndarray], **options: Any) -> tuple[float, np.ndarray, np.ndarray]:
    """(loss, gradient by log-probabilities, advantage) in float64 with loops, straight from the papers' formulas."""
    choice = {**OBJECTIVE_OPTIONS[name]().model_dump(), **options}
    C = np.inf if choice.get("truncation") in (None, "off") else choice["truncation"]
    sequences = len(data["rewards"])
    rows = [np.flatnonzero(data["sequence"] == i) for i in range(sequences)]
    rewards, group = data["rewards"], data["group"]
    gap = data["logprobs"] - data["behaviour"]
    rho = np.array([np.exp(np.clip(gap[r].sum(), -20, 20)) for r in rows])
    w = np.minimum(rho, C)
    advantage = np.zeros(sequences)
    for i in range(sequences):
        mates = np.flatnonzero(group == group[i])
        others = mates[mates != i]
        mean, std = rewards[mates].mean(), rewards[mates].std(ddof=1)
        base = {
            "weighted": (w[mates] * rewards[mates]).mean(),
            "self_normalised": (w[mates] * rewards[mates]).sum() / w[mates].sum(),
            "mean": mean,
            "leave_one_out": (w[others] * rewards[others]).sum() / (SIZE - 1),
        }[choice.get("baseline", "mean")]
        match name:
            case "rapid" if choice["ratio"] == "sequence":
                advantage[i] = w[i] * (rewards[i] - base)
            case "rapid" | "rapid_clip":
                advantage[i] = rewards[i] - base
            case "rloo":
                advantage[i] = rewards[i] - rewards[others].mean()
            case "pg" | "dr_grpo" | "token_is":
                advantage[i] = rewards[i] - mean
            case "topr":
                advantage[i] = (rewards[i] - mean) * (1 if rewards[i] >= mean else min(rho[i], 1))
            case "sft":
                advantage[i] = float(rewards[i] > THRESHOLD)
            case _:
                advantage[i] = (rewards[i] - mean) / (std + 1e-4)
    loss, gradient = 0.0, np.zeros(len(gap))
    for i, row in enumerate(rows):
        scale = {
            "sum": 1 / sequences,
            "sequence": 1 / (sequences * len(row)),
            "token": 1 / len(gap),
            "constant": 1 / (sequences * LONGEST),
        }[choice["normalisation"]]
        ratio_kind = "sequence" if name == "gspo" else choice.get("ratio")
        if "clip" in choice:
            low, high = 1 - choice["clip"], 1 + choice["clip_high"]
            if ratio_kind == "sequence":
                r = np.full(len(row), np.exp(gap[row].mean()))
                slope = r / len(row) * len(row)  # d/dlogprob of the sum over tokens of one value per sequence
            else:
                r = slope = np.exp(gap[row])
            free, bounded = r * advantage[i], np.clip(r, low, high) * advantage[i]
            loss -= scale * np.minimum(free, bounded).sum()
            open_ = free <= bounded if ratio_kind != "sequence" else np.full(len(row), free[0] <= bounded[0])
            gradient[row] = -scale * slope * advantage[i] * open_
        else:
            tokens = np.ones(len(row))
            if name in ("cispo", "token_is") or (name == "rapid" and ratio_kind == "token"):
                tokens = np.minimum(np.exp(gap[row]), C)
            loss -= scale * (tokens * advantage[i] * data["logprobs"][row]).sum()
            gradient[row] = -scale * tokens * advantage[i]
    return loss, gradient, advantage


CHOICES: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    *(
        (name, {"baseline": baseline, "truncation": 1.3})
        for name in ("rapid", "rapid_clip")
        for baseline in ("weighted", "self_normalised", "mean", "leave_one_out")
    ),
    *(
        (name, {"normalisation": normalisation})
        for name in ("rapid", "rapid_clip", "grpo")
        for normalisation in ("sum", "sequence", "token", "constant")
    ),
    ("rapid", {"truncation": "off"}),
    ("rapid", {"ratio": "token", "truncation": 1.1}),
    ("rapid_clip", {"ratio": "sequence"}),
    ("rapid_clip", {"clip": 0.05, "clip_high": 0.1}),
    ("dapo", {"clip": 0.1, "clip_high": 0.5}),
    ("cispo", {"truncation": 1.1}),
    ("token_is", {"truncation": 1.1}),
]


@pytest.mark.parametrize(("name", "options"), CHOICES, ids=lambda value: str(value))
@pytest.mark.parametrize("seed", range(3))
def test_equals_numpy_reference(name: str, options: dict[str, Any], seed: int) -> None:
    data = batch(seed)
    loss, gradient, advantage = run(name, data, **options)
    wanted, wanted_gradient, wanted_advantage = reference(name, data, **options)
    assert loss == pytest.approx(wanted, abs=1e-6)
    np.testing.assert_allclose(advantage, wanted_advantage, atol=2e-6)
    np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), CHOICES, ids=lambda value: str(value))
def test_gradient_equals_finite_differences_with_advantages_and_weights_held(
    name: str, options: dict[str, Any]
) -> None:
    data = batch(1)
    objective = build(name, **options)
    _, gradient, advantage = run(name, data, torch.float64, **options)
    behaviour, sequence = torch.tensor(data["behaviour"]), torch.tensor(data["sequence"])
    lengths = torch.bincount(sequence)
    held = (torch.tensor(data["logprobs"]) - behaviour).exp()
    held = held.clamp(max=objective.surrogate.keywords["truncation"]) if "truncation" in _options(objective) else None

    def loss(logprobs: np.ndarray) -> float:
        moved = torch.tensor(logprobs)
        if held is not None:  # token weights count as constants
            loss_T = -held * torch.tensor(advantage)[sequence] * moved
        else:
            loss_T, _ = objective.surrogate(Tokens(moved, behaviour, sequence, torch.tensor(advantage)))
        scales = token_scales(objective.normalisation, lengths, LONGEST).double()
        return (loss_T * scales[sequence]).sum().item()

    step = 1e-6
    for t in range(len(data["logprobs"])):
        moved = np.eye(len(data["logprobs"]))[t] * step
        slope = (loss(data["logprobs"] + moved) - loss(data["logprobs"] - moved)) / (2 * step)
        assert gradient[t] == pytest.approx(slope, abs=1e-7)


def _options(objective: Objective) -> dict[str, Any]:
    return getattr(objective.surrogate, "keywords", {})


@pytest.mark.parametrize("name", NAMES)
def test_permuting_sequences_changes_nothing(name: str) -> None:
    data = batch(2)
    loss, gradient, _ = run(name, data)
    order = np.random.default_rng(9).permutation(len(data["rewards"]))
    tokens = np.concatenate([np.flatnonzero(data["sequence"] == i) for i in order])
    lengths = np.bincount(data["sequence"])[order]
    moved = {
        "logprobs": data["logprobs"][tokens],
        "behaviour": data["behaviour"][tokens],
        "sequence": np.repeat(np.arange(len(order)), lengths),
        "rewards": data["rewards"][order],
        "group": data["group"][order],
    }
    moved_loss, moved_gradient, _ = run(name, moved)
    assert moved_loss == pytest.approx(loss, abs=1e-6)
    np.testing.assert_allclose(moved_gradient, gradient[tokens], atol=1e-6)


def test_on_policy_rapid_is_pg_with_group_mean_baseline() -> None:
    data = batch(4, spread=0.0)
    rapid, rapid_gradient, _ = run("rapid", data)
    pg, pg_gradient, _ = run("pg", data)
    assert rapid == pytest.approx(pg, abs=1e-6)
    np.testing.assert_allclose(rapid_gradient, pg_gradient, atol=1e-7)


def test_on_policy_rapid_clip_is_pg_normalised_by_length() -> None:
    data = batch(4, spread=0.0)
    _, gradient, _ = run("rapid_clip", data)
    _, pg_gradient, _ = run("pg", data)
    lengths = np.bincount(data["sequence"])[data["sequence"]]
    np.testing.assert_allclose(gradient, pg_gradient / lengths, atol=1e-7)


def test_weights_are_truncated_and_finite() -> None:
    log_ratio = torch.tensor([-1000.0, -1.0, 0.0, 0.5, 1.0, 1000.0])
    expected = np.minimum(np.exp(np.clip(log_ratio.numpy().astype(np.float64), -20, 20)), 2.0)
    np.testing.assert_allclose(importance_weights(log_ratio, 2.0).numpy(), expected, rtol=1e-6)
    assert importance_weights(log_ratio, None).isfinite().all()


def test_clipping_stops_the_gradient_where_the_reported_tokens_are() -> None:
    data = batch(5, spread=0.8)
    objective = build("grpo")
    _, gradient, advantage = run("grpo", data)
    _, at_bound = objective.surrogate(
        Tokens(
            *(torch.tensor(data[key]).float() for key in ("logprobs", "behaviour")),
            torch.tensor(data["sequence"]),
            torch.tensor(advantage),
        )
    )
    assert 0 < at_bound.float().mean() < 1
    np.testing.assert_array_equal(at_bound.numpy(), gradient == 0)


def test_equal_rewards_give_grpo_no_gradient() -> None:
    data = batch(6) | {"rewards": np.ones(GROUPS * SIZE)}
    _, gradient, _ = run("grpo", data)
    np.testing.assert_array_equal(gradient, 0.0)


class ToyPolicy:
    """Two tokens of three kinds; every sequence can be listed, so every expectation is a sum."""

    sequences = np.array(list(itertools.product(range(3), repeat=2)))
    rewards = np.array([0.0, 1.0, 0.2, 0.5, 0.0, 0.9, 0.1, 0.3, 1.0])

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.behaviour = rng.standard_normal((2, 3))
        self.current = self.behaviour + 0.7 * rng.standard_normal((2, 3))

    @staticmethod
    def token_logprobs(logits: torch.Tensor) -> torch.Tensor:
        """[9, 2]."""
        table = logits.log_softmax(-1)
        return torch.stack([table[t, torch.tensor(ToyPolicy.sequences[:, t])] for t in range(2)], 1)

    def true_gradient(self) -> np.ndarray:
        logits = torch.tensor(self.current, requires_grad=True)
        value = (self.token_logprobs(logits).sum(1).exp() * torch.tensor(self.rewards)).sum()
        value.backward()
        assert logits.grad is not None
        return logits.grad.numpy()

    def estimate(self, name: str, groups: int, size: int) -> np.ndarray:
        behaviour = self.token_logprobs(torch.tensor(self.behaviour))
        chosen = np.random.default_rng(1).choice(9, groups * size, p=behaviour.sum(1).exp().numpy())
        logits = torch.tensor(self.current, requires_grad=True)
        loss, _ = objective_loss(
            build(name, **({"truncation": "off"} if name == "rapid" else {})),
            self.token_logprobs(logits)[chosen].flatten(),
            behaviour[chosen].flatten(),
            torch.arange(groups * size).repeat_interleave(2),
            torch.tensor(self.rewards[chosen]),
            torch.arange(groups).repeat_interleave(size),
        )
        loss.backward()
        assert logits.grad is not None
        return -logits.grad.numpy()


@pytest.mark.parametrize("seed", range(3))
def test_importance_weights_remove_the_bias_of_stale_samples(seed: int) -> None:
    """The baseline holds a sequence's own reward, so what is left is of order 1 / group size."""
    toy = ToyPolicy(seed)
    truth = toy.true_gradient()

    def error(name: str) -> float:
        return float(np.linalg.norm(toy.estimate(name, 1500, 128) - truth) / np.linalg.norm(truth))

    assert error("rapid") < 0.05
    assert error("pg") > 0.2


def test_kl_to_guide_is_half_the_square_of_the_distance() -> None:
    logprobs = torch.tensor([-1.0, -2.0, -0.5])
    distance = kl_to_guide(logprobs, torch.tensor([-1.0, -1.0, -3.0]))
    np.testing.assert_allclose(distance.numpy(), [0.0, 0.5, 3.125], rtol=1e-6)


def test_the_gradient_of_kl_to_guide_is_that_of_each_tokens_kl() -> None:
    """Over all completions of two tokens, weighted by their probability: KL(pi || guide), not KL(guide || pi)."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    first, second = logits.log_softmax(1)[0], logits.log_softmax(1)[1:]  # of the second token, by the first
    guide = torch.randn(6, 5, generator=draw, dtype=torch.float64).log_softmax(1)
    probabilities = (first[:, None] + second).exp().detach()
    terms = kl_to_guide(first, guide[0])[:, None] + kl_to_guide(second, guide[1:])
    kl_first = (first.exp() * (first - guide[0])).sum()
    kl_second = (second.exp() * (second - guide[1:])).sum(1)
    sampled = (probabilities * terms).sum()
    exact = kl_first + (first.exp().detach() * kl_second).sum()
    found, expected = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (sampled, exact))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("shift", [lambda r: r, lambda r: r * 1e3], ids=["plain", "large"])
def test_huge_log_ratios_leave_loss_and_gradient_finite(shift: Callable[[np.ndarray], np.ndarray]) -> None:
    data = batch(7)
    data["logprobs"] = data["behaviour"] + shift(data["logprobs"] - data["behaviour"])
    for name in NAMES:
        loss, gradient, _ = run(name, data)
        assert np.isfinite(loss)
        assert np.isfinite(gradient).all()
