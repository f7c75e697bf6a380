"""One engine for the policies of several iterations, and the command line of a worker."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch

from components.contract.layout import Round
from components.contract.resolve import load_config
from components.prepare.stage import run_stage as prepare
from components.rollout import stage as rollout_stage
from components.rollout.engine import CannotReload, Engine, GroupRequest, SamplingSpec
from components.runtime.replaced import InputsReplaced
from components.store import Run, open_run
from components.store.parts import read_parts
from pipelines.demo.arithmetic import tokenizer
from tests.support.arithmetic_run import FIRST, SECOND, commit_policy, stage, trajectories, write_config
from tests.support.tiny_policy import plain_logprobs, tiny_model

pytestmark = pytest.mark.slow


def digest(run: Run, round_: Round) -> str:
    return run.directory(run.layout.rollout(round_, 0)).require().digest


def assert_policy_of(run: Run, round_: Round, version: int) -> None:
    """Compare log-probabilities with those of a plain forward pass of the policy."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(run.store.local_path(run.layout.policy(version)))
    for row in trajectories(run, round_).values():
        temperature = 1.3 if row["split"] == "train" else 1.0
        ours = plain_logprobs(model, row["prompt_token_ids"], row["completion_token_ids"], temperature)
        np.testing.assert_allclose(row["behaviour_logprobs"], ours, atol=1e-5)


def test_an_engine_that_sampled_another_policy_samples_what_a_fresh_one_does_to_the_last_bit(
    sampled, fresh, with_engine
):
    rollout = with_engine(fresh)
    engine = rollout._engine
    rollout.sample(FIRST, 0)
    assert rollout._engine is engine
    assert digest(fresh, FIRST) == digest(sampled, FIRST)


def test_its_log_probabilities_are_those_of_the_policy_that_the_trajectories_name(fresh, with_engine):
    rollout = with_engine(fresh)
    for round_, version in ((FIRST, 0), (SECOND, 1)):
        manifest = rollout.sample(round_, 0)
        assert manifest.inputs["policy"] == fresh.policy(version).require().facts["weights_digest"]
        assert_policy_of(fresh, round_, version)


def test_a_policy_that_is_replaced_while_it_is_sampled_is_sampled_again(fresh, with_engine, monkeypatch):
    rollout = with_engine(fresh)
    sample = rollout_stage.sample_shard

    def replaced(*arguments: Any) -> Any:
        facts = sample(*arguments)
        commit_policy(fresh, 1, seed=2)
        return facts

    monkeypatch.setattr(rollout_stage, "sample_shard", replaced)
    with pytest.raises(InputsReplaced, match="what it was made from has been replaced"):
        rollout.sample(SECOND, 0)
    assert list(fresh.store.list(fresh.layout.rollout(SECOND, 0))) == []
    monkeypatch.undo()
    manifest = rollout.sample(SECOND, 0)
    assert manifest.inputs["policy"] == fresh.policy(1).require().facts["weights_digest"]
    assert_policy_of(fresh, SECOND, 1)


def test_where_weights_cannot_be_replaced_another_engine_is_built(fresh, with_engine, sampled, monkeypatch, capsys):
    def refuse(*_: object) -> None:
        raise CannotReload("its weights stay")

    rollout = with_engine(fresh)
    before = rollout._engine
    rollout.load(1)
    monkeypatch.setattr(Engine, "reload", refuse)
    rollout.sample(FIRST, 0)
    assert digest(fresh, FIRST) == digest(sampled, FIRST)
    assert rollout._engine is not before
    assert "its weights stay; a new engine is built" in capsys.readouterr().err


def test_a_policy_without_all_weights_is_not_loaded_in_place(fresh, with_engine, tmp_path):
    from safetensors.torch import load_file, save_file

    source = fresh.store.local_path(fresh.layout.policy(0))
    assert source is not None
    shutil.copytree(source, tmp_path / "partial")
    file = tmp_path / "partial/model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if "layers.1.mlp.up" not in k}, file)
    engine = with_engine(fresh).load(1)
    with pytest.raises(CannotReload, match=r"no weights for model\.layers\.1\.mlp\.gate_up_proj\.weight"):
        engine.reload(tmp_path / "partial")


def test_weights_in_bfloat16_are_replaced_too(fresh, with_engine, tmp_path):
    """vLLM has CPU kernels of its own for them, which drop the weights."""
    rollout = with_engine(fresh)
    rollout._engine.close()
    rollout._engine = None
    paths = [tmp_path / str(seed) for seed in (5, 6)]
    for seed, path in zip((5, 6), paths, strict=True):
        tiny_model(seed, hidden_size=64, num_attention_heads=2).to(torch.bfloat16).save_pretrained(path)
        tokenizer().save_pretrained(path)
    model = fresh.config.model.model_copy(update={"dtype": "bfloat16"})
    engine = Engine(paths[0], model, fresh.config.rollout.engine, 0, is_resident=True)
    engine.reload(paths[1])
    requests = [GroupRequest("g", [4, 5, 12, 6], SamplingSpec(8, 1.0, 1.0, 6, ()), 0)]
    ((_, completions),) = engine.sample(requests)
    engine.close()
    ours, other = (tiny_model(seed, hidden_size=64, num_attention_heads=2).to(torch.bfloat16) for seed in (6, 5))

    def gap(policy: Any) -> float:
        return max(
            float(np.abs(c.logprobs - plain_logprobs(policy, [4, 5, 12, 6], c.token_ids)).mean()) for c in completions
        )

    assert gap(ours) < 0.1 < gap(other)


def test_prompts_are_read_once(fresh, with_engine, monkeypatch):
    rollout = with_engine(fresh)
    rollout.sample(FIRST, 0)
    fresh.output("rollout", fresh.layout.rollout(FIRST, 0), {}).discard()
    monkeypatch.setattr(rollout_stage, "read_prompts", None)
    assert rollout.sample(FIRST, 0).facts["rows"] == 16 * 4 + 8 * 4


def test_workers_evaluate_a_run_without_iterations_and_end(tmp_path):
    prepare(load_config(write_config(tmp_path, tracking={"enabled": False}, loop={"iterations": 0})))
    run = open_run(str(tmp_path / "store/runs/small"))
    processes = [stage(name, run.uri, "--follow") for name in ("rollout", "reward")]
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    final = Round.evaluation(0)
    assert run.final_round() == final
    rewards = read_parts(run.directory(run.layout.reward(final, 0)), "rewards")
    assert sum(part.num_rows for part in rewards) == 8 * 4


@pytest.mark.parametrize("name", ["rollout", "reward"])
def test_several_shards_are_named_only_to_follow_a_run(prepared, name):
    process = stage(name, prepared.uri, "--shard", "0", "--shard", "1")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "name one --shard, or use --follow" in output
