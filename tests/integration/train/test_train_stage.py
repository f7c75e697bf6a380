"""The train stage on runs with a tiny policy."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.contract.errors import InputError
from components.contract.layout import manifest_key
from components.contract.objective_config import OBJECTIVE_OPTIONS
from components.contract.resolve import config_json
from components.train.stage import run_stage as train
from components.train.trainer import update_policy
from tests.support.tiny_policy import plain_logprobs
from tests.support.trained import metrics_of, state, weights

Make = Callable[..., Any]


def test_training_makes_the_next_policy(training_run: Make) -> None:
    made = training_run()
    made.sample()
    manifest = train(made.run.uri, 1)
    metrics = metrics_of(made.run)
    assert manifest.facts | {"outcome": "trained", "target_reached": False, "policy_version": 1} == manifest.facts
    assert manifest.facts["step"] == 2
    assert manifest.inputs.keys() == {"policy", "trajectories/000", "rewards/000"}
    assert manifest.inputs["policy"] == made.policy(0).facts["weights_digest"]
    assert made.run.policy_version() == 1
    assert [step.step for step in metrics.steps] == [1, 2]
    assert metrics.groups == 4
    assert metrics.logprob_gap_max < 1e-5
    assert metrics.steps[0].effective_sample_share == pytest.approx(1.0, abs=1e-4)
    assert metrics.steps[1].log_ratio_max > 0
    assert all(step.gradient_norm > 0 and step.tokens_per_second > 0 for step in metrics.steps)
    before, after = weights(made.run, 0), weights(made.run, 1)
    assert before.keys() == after.keys()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert made.policy(1).facts["tokenizer_digest"] == made.policy(0).facts["tokenizer_digest"]
    assert manifest.timings.load > 0
    assert manifest.timings.compute > 0
    assert manifest.timings.store > 0


def test_the_next_policy_loads_and_prefers_what_was_rewarded(training_run: Make) -> None:
    made = training_run(
        "train.learning_rate=0.01", "train.updates=8", "train.mini_batch_prompts=2", "rollout.group_size=8"
    )
    made.sample(groups=16)
    train(made.run.uri, 1)
    path = made.policy_path(1)
    assert AutoTokenizer.from_pretrained(path)("1+2")["input_ids"] == [3, 12, 4]
    old, new = (AutoModelForCausalLM.from_pretrained(made.policy_path(v)) for v in (0, 1))
    prompts = [[2, 7, 12], [9, 9, 12, 3], [13, 4, 12]]
    gained = [plain_logprobs(new, p, [5])[0] - plain_logprobs(old, p, [5])[0] for p in prompts]
    assert np.mean(gained) > 0.1


def test_a_second_call_leaves_everything_alone(training_run: Make) -> None:
    made = training_run()
    made.sample()
    first = train(made.run.uri, 1)
    assert train(made.run.uri, 1) == first


def test_the_second_iteration_carries_the_optimizer_on(training_run: Make) -> None:
    """Two iterations of 2 updates equal one optimizer over 4, which a fresh one each iteration would not."""
    made = training_run("train.warmup_steps=3", "train.weight_decay=0.1")
    for iteration in (1, 2):
        made.sample(iteration)
        train(made.run.uri, iteration)
    steps = [*metrics_of(made.run, 1).steps, *metrics_of(made.run, 2).steps]
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert [step.learning_rate for step in steps] == pytest.approx([1e-4 / 3, 2e-4 / 3, 1e-4, 1e-4])
    first, second = state(made.run, 1), state(made.run, 2)
    assert (int(first["step"]), int(second["step"])) == (2, 4)
    name = "exp_avg_sq/model.embed_tokens.weight"
    # Second moments decay by 0.999 a step: what iteration 1 gathered is still in there.
    assert (second[name] >= 0.99 * first[name]).all()
    assert metrics_of(made.run, 2).logprob_gap_max < 1e-5


def test_bf16_policies_keep_float32_master_weights(training_run: Make) -> None:
    made = training_run("model.dtype=bfloat16", "train.learning_rate=1e-6")
    for iteration in (1, 2):
        made.sample(iteration)
        train(made.run.uri, iteration)
    saved = state(made.run, 2)
    base, published = weights(made.run, 0), weights(made.run, 1)
    master = {name: saved[f"weights/{name}"] for name in base}
    assert {tensor.dtype for tensor in published.values()} == {torch.bfloat16}
    moved = [(master[name] - base[name].float())[published[name] == base[name]].abs() for name in base]
    furthest = torch.cat(moved).max().item()
    # Where bf16 rounded the first iteration's two steps of 1e-6 away, two more alone could not get this far.
    assert 3e-6 < furthest < 4.5e-6


def test_float32_policies_have_no_second_copy(training_run: Make) -> None:
    made = training_run()
    made.sample()
    train(made.run.uri, 1)
    assert {name.split("/")[0] for name in state(made.run, 1)} == {"step", "exp_avg", "exp_avg_sq"}


def test_shards_and_their_order_do_not_matter(training_run: Make) -> None:
    one = training_run()
    one.sample()
    train(one.run.uri, 1)
    two = training_run("rollout.shards=2", "run.name=sharded")
    two.sample()
    manifest = train(two.run.uri, 1)
    assert {"trajectories/001", "rewards/001"} < manifest.inputs.keys()
    for name, tensor in weights(one.run, 1).items():
        assert torch.equal(tensor, weights(two.run, 1)[name]), name


def test_target_reached_commits_no_policy(training_run: Make) -> None:
    made = training_run("loop.target_reward=0.5")
    made.sample()
    manifest = train(made.run.uri, 1)
    assert manifest.facts == {"outcome": "target_reached", "policy_version": 0, "target_reached": True}
    assert [output.name for output in manifest.outputs] == ["metrics.json"]
    assert metrics_of(made.run).outcome == "target_reached"
    assert made.run.policy_version() == 0
    with pytest.raises(InputError, match=r"target_reward was reached; there is nothing to train"):
        train(made.run.uri, 2)


def test_a_target_that_was_reached_stays_so_until_the_run_is_prepared_with_another(training_run: Make) -> None:
    made = training_run("loop.target_reward=0.5")
    made.sample()
    stopped = train(made.run.uri, 1)
    assert train(made.run.uri, 1) == stopped
    assert made.run.stopped()

    loop = made.run.config.loop.model_copy(update={"target_reward": 0.51})
    raised = made.run.config.model_copy(update={"loop": loop})
    made.run.store.write(made.run.layout.config, config_json(raised).encode())
    assert train(made.run.uri, 1) == stopped
    for directory in (made.run.layout.train(1), made.run.layout.policy(1)):  # as prepare does
        made.run.store.delete(manifest_key(directory))
    assert train(made.run.uri, 1).facts["outcome"] == "trained"
    assert made.run.policy_version() == 1


def test_a_second_attempt_leaves_what_the_first_committed(training_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one commits while the other still computes, and what the other makes differs a little."""
    made = training_run("train.max_logprob_gap=1")
    made.sample()
    directory = made.run.directory(made.run.layout.train(1))
    committed: dict[str, bytes] = {}

    def overtaken(trainer: Any, *more: Any) -> Any:
        monkeypatch.undo()
        train(made.run.uri, 1)
        committed.update((info.key, made.run.store.read(info.key)) for info in made.run.store.list(directory.key))
        with torch.no_grad():
            trainer.policy.model.get_input_embeddings().weight.add_(1e-3)
        return update_policy(trainer, *more)

    monkeypatch.setattr("components.train.iteration.update_policy", overtaken)
    with pytest.raises(InputError, match="attempt 1 of worker train stops: attempt 2 has taken over its work"):
        train(made.run.uri, 1)
    assert committed
    assert {info.key: made.run.store.read(info.key) for info in made.run.store.list(directory.key)} == committed


def test_target_not_reached_trains(training_run: Make) -> None:
    made = training_run("loop.target_reward=0.51")
    made.sample()
    assert train(made.run.uri, 1).facts["outcome"] == "trained"


@pytest.mark.parametrize("objective", list(OBJECTIVE_OPTIONS))
def test_every_objective_trains(training_run: Make, objective: str) -> None:
    made = training_run(f"train.objective={objective}", "train.micro_batch_tokens=16")
    made.sample()
    train(made.run.uri, 1)
    assert len(metrics_of(made.run).steps) == 2


def test_an_objective_of_your_own_is_an_input(
    training_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "own_objectives.py"
    code = "from components.train.objectives import Objective, centred, log_likelihood\n"
    module.write_text(code + "plain = Objective(centred, log_likelihood)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    own = training_run("train.objective=own_objectives:plain")
    built_in = training_run("train.objective=pg", "run.name=pg")
    manifests = []
    for made in (own, built_in):
        made.sample()
        manifests.append(train(made.run.uri, 1))
    assert own.policy(1).digest == built_in.policy(1).digest
    assert manifests[0].inputs.keys() - manifests[1].inputs.keys() == {"objective"}
    module.write_text(code + "plain = Objective(centred, log_likelihood, clones=True)\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"was committed from other inputs \(objective\)"):
        train(own.run.uri, 1)


def test_bf16_compute_and_checkpointing_train(training_run: Make) -> None:
    made = training_run("train.compute_dtype=bfloat16", "train.gradient_checkpointing=true", "rollout.temperature=0.7")
    made.sample()
    train(made.run.uri, 1)
    assert 0 < metrics_of(made.run).logprob_gap_mean < 0.05


def test_adapters_train_and_what_is_published_is_what_the_next_iteration_meets(training_run: Make) -> None:
    made = training_run("train.lora=4", "train.learning_rate=0.01", "train.guide=0.01")
    for iteration in (1, 2):
        made.sample(iteration)
        manifest = train(made.run.uri, iteration)
        assert metrics_of(made.run, iteration).logprob_gap_max < 1e-4
        assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} < {o.name for o in manifest.outputs}
    before, after = weights(made.run, 0), weights(made.run, 2)
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name for name in before if name.endswith("_proj.weight")} == moved


def test_rows_and_padded_sequences_train_alike(training_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"rows": (), "split": ("train.micro_batch_tokens=12",), "padded": ()}
    runs = [training_run(*words, f"run.name={name}") for name, words in settings.items()]
    for name, made in zip(settings, runs, strict=True):
        if name == "padded":
            monkeypatch.setattr("components.train.policy.groups_unfit", lambda _: "its attention is its own")
        made.sample()
        train(made.run.uri, 1)
    rows, *others = (metrics_of(made.run).steps for made in runs)
    for steps in others:
        for mine, theirs in zip(rows, steps, strict=True):
            assert (mine.loss, mine.gradient_norm) == pytest.approx((theirs.loss, theirs.gradient_norm), abs=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs g++ on the CPU")
def test_compiled_layers_train_alike(training_run: Make) -> None:
    runs = [training_run(f"train.compile={word}", f"run.name=compile-{word}") for word in ("true", "false")]
    for made in runs:
        made.sample()
        train(made.run.uri, 1)
    for mine, theirs in zip(*(metrics_of(made.run).steps for made in runs), strict=True):
        assert (mine.loss, mine.gradient_norm) == pytest.approx((theirs.loss, theirs.gradient_norm), abs=1e-4)


def test_the_same_policy_through_s3(training_run: Make, moto: str) -> None:
    digests = []
    for overrides in ((), (f"store={moto}/runs-of-tests",)):
        made = training_run(*overrides)
        for iteration in (1, 2):
            made.sample(iteration)
            train(made.run.uri, iteration)
        digests.append(made.policy(2).digest)
    assert digests[0] == digests[1]
