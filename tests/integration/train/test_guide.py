"""A guide: its log-probabilities are computed once an iteration, stored, and used by every update."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import components.train.guide
import components.train.iteration
from components.contract.errors import InputError
from components.contract.layout import Round
from components.results import read_shard
from components.runtime.clock import Clock
from components.store.parquet import decode
from components.train.distributed import Processes
from components.train.resident import Resident
from components.train.stage import run_stage as train
from components.train.trainer import Trainer
from tests.support.tiny_policy import VOCABULARY, plain_logprobs
from tests.support.trained import assert_same_state, metrics_of, state

Make = Callable[..., Any]
OWN = "train.guide={model: guide, coefficient: 0.5}"


@pytest.fixture
def guides(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The guides that are loaded from here on."""
    loaded: list[Path] = []
    load = components.train.guide.load_frozen

    def counted(policy: Path, *more: Any) -> Any:
        loaded.append(policy)
        return load(policy, *more)

    monkeypatch.setattr(components.train.guide, "load_frozen", counted)
    return loaded


def stored(made: Any, iteration: int) -> pa.Table:
    directory = made.run.directory(made.run.layout.guide_logprobs(iteration))
    return decode(directory.read("logprobs.parquet"), directory.uri)


def interrupt(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the train stage once the guide has been used, where the policy is loaded."""

    def dies(*_: Any) -> Trainer:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("components.train.resident.build_trainer", dies)
        with pytest.raises(KeyboardInterrupt):
            train(made.run.uri, 1)


def test_what_is_stored_are_the_guides_logprobs(training_run: Make) -> None:
    made = training_run(OWN, "rollout.temperature=0.7", "train.mini_batch_prompts=3", "train.updates=1")
    guide = made.guide(9, hidden_size=64, num_hidden_layers=3)  # larger than the policy
    made.sample()
    train(made.run.uri, 1)
    rows = stored(made, 1).to_pylist()
    sampled = pa.concat_tables(read_shard(made.run, Round.iteration(1), 0)).to_pylist()
    keys = [(row["group_id"], row["sample_index"]) for row in rows]
    size = made.run.config.rollout.group_size
    assert len(keys) == len(set(keys)) == 3 * size, "of the groups in a mini-batch"
    by_key = {(r["group_id"], r["sample_index"]): r for r in sampled}
    for key, row in zip(keys, rows, strict=True):
        ids = by_key[key]["prompt_token_ids"], by_key[key]["completion_token_ids"]
        np.testing.assert_allclose(row["guide_logprobs"], plain_logprobs(guide, *ids, 0.7), atol=2e-5)
    assert metrics_of(made.run).steps[0].guide_kl != 0.0


def test_the_base_policy_as_its_own_guide(training_run: Make) -> None:
    """Before the first update the policy is the guide, so nothing pulls; afterwards something does."""
    runs = [training_run(*words, f"run.name={name}") for name, words in (("none", ()), ("base", ("train.guide=5.0",)))]
    for made in runs:
        made.sample()
        train(made.run.uri, 1)
    (plain, *_), (first, *later) = (metrics_of(made.run).steps for made in runs)
    assert plain.guide_kl is None
    assert first.guide_kl == pytest.approx(0.0, abs=1e-6)
    assert first.gradient_norm == pytest.approx(plain.gradient_norm, rel=1e-3)
    assert abs(later[-1].guide_kl) > 1e-6
    assert runs[0].policy(1).digest != runs[1].policy(1).digest


def test_nothing_pulls_at_the_base_policy_in_bf16_either(training_run: Make) -> None:
    made = training_run("train.guide=5.0", "train.compute_dtype=bfloat16", "train.max_logprob_gap=10")
    made.sample()
    train(made.run.uri, 1)
    assert metrics_of(made.run).steps[0].guide_kl == 0.0


@pytest.mark.parametrize("more", [("loop.staleness=1",), ("train.lora=4", "train.learning_rate=0.01")])
def test_a_guide_beside_a_behaviour_policy_and_adapters(
    training_run: Make, more: tuple[str, ...], guides: list[Path]
) -> None:
    made = training_run(OWN, "loop.iterations=3", *more)
    made.guide(9)
    for iteration in (1, 2):
        made.sample(iteration)
        train(made.run.uri, iteration)
    assert len(guides) == 2
    assert all(step.guide_kl is not None for step in metrics_of(made.run, 2).steps)


def test_replayed_groups_are_scored_once(training_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = training_run(OWN, "loop.replay={share: 0.5, iterations: 1}", "loop.iterations=2")
    made.guide(9)
    scored: list[list[str]] = []
    chosen: list[str] = []
    compute, read = components.train.guide.completion_logprobs, components.train.iteration.read_replayed

    def listed(guide: Any, data: Any, *more: Any) -> Any:
        scored[-1].extend(data.group_ids)
        return compute(guide, data, *more)

    def overheard(*arguments: Any) -> Any:
        replayed = read(*arguments)
        chosen.extend(replayed.data.group_ids if replayed else [])
        return replayed

    monkeypatch.setattr(components.train.guide, "completion_logprobs", listed)
    monkeypatch.setattr(components.train.iteration, "read_replayed", overheard)
    for iteration in (1, 2):
        scored.append([])
        made.sample(iteration)
        train(made.run.uri, iteration)
        assert metrics_of(made.run, iteration).steps[0].guide_kl is not None
    assert metrics_of(made.run, 2).replay
    first, second = (set(stored(made, iteration)["group_id"].to_pylist()) for iteration in (1, 2))
    assert sorted(scored[0]) == sorted(first)
    assert sorted(scored[1]) == sorted([*second, *(set(chosen) - first)])
    assert first.intersection(chosen)


def test_the_trainer_of_a_gpu_waits_in_the_memory_of_the_host(
    training_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = training_run()
    moves: list[str] = []
    monkeypatch.setattr("components.train.resident.move_trainer", lambda _, device: moves.append(device.type))
    resident = Resident(made.run, Processes.init(), tmp_path)
    first, _ = resident.load(0, Clock())
    resident.keep(0, str(made.policy(0).facts["weights_digest"]), 0)
    resident.processes = Processes(0, 1, torch.device("cuda"))  # nothing is moved: what would be is written down
    resident.make_room()
    assert resident.load(0, Clock())[0] is first
    assert moves == ["cpu", "cuda"]
    resident.keep(0, str(made.policy(0).facts["weights_digest"]), 0)
    resident.processes = Processes(0, 1, torch.device("cpu"))
    resident.make_room()
    assert resident.load(0, Clock())[0] is not first


def test_an_attempt_after_a_kill_uses_what_is_stored(
    training_run: Make, guides: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = (training_run(OWN, f"run.name={name}") for name in ("whole", "killed"))
    for made in (whole, killed):
        made.guide(9)
        made.sample()
    train(whole.run.uri, 1)
    assert len(guides) == 1

    interrupt(killed, monkeypatch)
    train(killed.run.uri, 1)
    assert len(guides) == 2, "once a run"
    assert killed.policy(1).digest == whole.policy(1).digest
    assert_same_state(state(killed.run, 1), state(whole.run, 1))


def test_another_guide_is_scored_anew(training_run: Make, guides: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = training_run(OWN)
    made.guide(9)
    made.sample()

    interrupt(made, monkeypatch)
    before = stored(made, 1)
    made.run.guide().discard()
    made.guide(10)
    train(made.run.uri, 1)
    assert len(guides) == 2
    assert stored(made, 1) != before


def test_a_token_that_the_guide_does_not_know(training_run: Make) -> None:
    made = training_run(OWN)
    made.guide(9, vocab_size=VOCABULARY - 1)
    made.sample()
    with pytest.raises(InputError, match=rf"^train.guide: .* token {VOCABULARY - 1}, but .* has {VOCABULARY - 1};"):
        train(made.run.uri, 1)
