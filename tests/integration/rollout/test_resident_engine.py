"""One engine for the policies of several iterations, and the workers' command lines."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.contract.digests import file_digest
from components.contract.layout import Round
from components.contract.manifest import Output, policy_digests
from components.contract.resolve import load_config
from components.prepare.stage import run_stage as prepare
from components.rollout import stage as rollout_stage
from components.rollout.engine import CannotReload, Engine
from components.rollout.stage import Rollout
from components.runtime.clock import Clock
from components.runtime.replaced import InputsReplaced
from components.store import Run, open_run
from components.store.parts import read_parts
from tests.support.arithmetic_run import stage, trajectories, write_config
from tests.support.tiny_policy import plain_logprobs, tiny_model

FIRST, SECOND = Round.iteration(1), Round.iteration(2)

pytestmark = pytest.mark.slow


def commit_policy(run: Run, version: int, seed: int) -> None:
    """Commit a policy that is not the one before it."""
    source = run.store.local_path(run.layout.policy(0))
    place = run.store.local_path(run.layout.policy(version))
    assert source is not None
    assert place is not None
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("manifest.json", "*.safetensors"), dirs_exist_ok=True)
    tiny_model(seed, hidden_size=64, num_attention_heads=2).save_pretrained(place)
    output = run.output("train", run.layout.policy(version), {}, Round.iteration(version))
    for path in sorted(p for p in place.iterdir() if p.name != "manifest.json"):
        output.files.append(Output(path=path.name, size=path.stat().st_size, sha256=file_digest(path)))
    output.retract()
    output.commit(Clock().timings(), policy_digests(output.files))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with policies 0 and 1."""
    directory = tmp_path_factory.mktemp("resident")
    prepare(load_config(write_config(directory, tracking={"enabled": False})))
    made = open_run(str(directory / "store/runs/small"))
    commit_policy(made, 1, seed=1)
    return made


@pytest.fixture(scope="module")
def resident(run: Run) -> Rollout:
    """An engine that has sampled iteration 1."""
    made = Rollout(run, is_resident=True)
    made.sample(FIRST, 0)
    return made


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Callable[..., Run]:
    """Return a function that copies the run without what was sampled."""

    def make() -> Run:
        root = run.store.local_path("")
        assert root is not None
        shutil.copytree(root, tmp_path / "store", ignore=shutil.ignore_patterns("rollout", "workers"))
        return open_run(str(tmp_path / "store/runs/small"))

    return make


def of_run(rollout: Rollout, run: Run) -> Rollout:
    """Return the loaded engine for a copy of its run."""
    other = Rollout(run, is_resident=True)
    other._engine, other._loaded = rollout._engine, rollout._loaded
    return other


def test_a_resident_engine_samples_what_a_fresh_one_does_to_the_last_bit(run, resident, copy):
    engine = resident._engine
    resident.sample(SECOND, 0)
    assert resident._engine is engine
    fresh = copy()
    process = stage("rollout", fresh.uri, "--round", str(SECOND))
    output, _ = process.communicate()
    assert process.returncode == 0, output
    digests = [r.directory(r.layout.rollout(SECOND, 0)).require().digest for r in (run, fresh)]
    assert digests[0] == digests[1]
    assert trajectories(run, SECOND) == trajectories(fresh, SECOND)


def test_its_log_probabilities_are_those_of_the_policy_that_the_trajectories_name(run, resident):
    from transformers import AutoModelForCausalLM

    resident.sample(SECOND, 0)
    for round_, version in ((FIRST, 0), (SECOND, 1)):
        model = AutoModelForCausalLM.from_pretrained(run.store.local_path(run.layout.policy(version)))
        facts = run.directory(run.layout.rollout(round_, 0)).require()
        assert facts.inputs["policy"] == run.policy(version).require().facts["weights_digest"]
        for row in trajectories(run, round_).values():
            temperature = 1.3 if row["split"] == "train" else 1.0
            ours = plain_logprobs(model, row["prompt_token_ids"], row["completion_token_ids"], temperature)
            np.testing.assert_allclose(row["behaviour_logprobs"], ours, atol=1e-5)


def test_a_policy_that_is_replaced_while_it_is_sampled_is_sampled_again(resident, copy, monkeypatch):
    run = copy()
    worker = of_run(resident, run)
    sample = rollout_stage.sample_shard

    def replaced(*arguments: Any) -> Any:
        facts = sample(*arguments)
        commit_policy(run, 1, seed=2)
        return facts

    monkeypatch.setattr(rollout_stage, "sample_shard", replaced)
    with pytest.raises(InputsReplaced, match="what it was made from has been replaced"):
        worker.sample(SECOND, 0)
    assert list(run.store.list(run.layout.rollout(SECOND, 0))) == []
    monkeypatch.undo()
    manifest = worker.sample(SECOND, 0)
    assert manifest.inputs["policy"] == run.policy(1).require().facts["weights_digest"]
    rows = trajectories(run, SECOND)
    assert len(rows) == 16 * 4 + 8 * 4


def test_another_policy_than_the_loaded_one_is_never_sampled(resident, copy):
    """It is loaded by its digest, not by its version."""
    run = copy()
    worker = of_run(resident, run)
    worker.load(1)
    before = worker._loaded
    commit_policy(run, 1, seed=3)
    worker.load(1)
    assert worker._loaded != before
    assert worker._loaded["policy"] == run.policy(1).require().facts["weights_digest"]


def test_where_weights_cannot_be_replaced_another_engine_is_built(resident, copy, monkeypatch, capsys):
    run = copy()

    def refuse(*_: object) -> None:
        raise CannotReload("its weights stay")

    worker = of_run(resident, run)
    worker.load(0)
    expected = {}
    for round_, version in ((FIRST, 0), (SECOND, 1)):
        worker.sample(round_, 0)
        expected[version] = run.directory(run.layout.rollout(round_, 0)).require().digest
        run.output("rollout", run.layout.rollout(round_, 0), {}).discard()
    monkeypatch.setattr(Engine, "reload", refuse)
    before = worker._engine
    for round_, version in ((FIRST, 0), (SECOND, 1)):
        worker.sample(round_, 0)
        assert run.directory(run.layout.rollout(round_, 0)).require().digest == expected[version]
    assert worker._engine is not before
    resident._engine, resident._loaded = worker._engine, worker._loaded
    assert "its weights stay; a new engine is built" in capsys.readouterr().err


def test_a_policy_without_all_weights_is_not_loaded_in_place(resident, run, tmp_path):
    from safetensors.torch import load_file, save_file

    source = run.store.local_path(run.layout.policy(0))
    assert source is not None
    shutil.copytree(source, tmp_path / "partial")
    weights = load_file(tmp_path / "partial/model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layers.1.mlp.down" not in k}, tmp_path / "partial/model.safetensors"
    )
    resident.load(0)
    with pytest.raises(CannotReload, match=r"layers\.1\.mlp\.down_proj\.weight"):
        resident._engine.reload(tmp_path / "partial")
    resident._loaded = {}
    resident.load(0)


def test_workers_evaluate_a_run_without_iterations_and_end(tmp_path):
    prepare(load_config(write_config(tmp_path, tracking={"enabled": False}, loop={"iterations": 0})))
    run = open_run(str(tmp_path / "store/runs/small"))
    processes = [stage(name, run.uri, "--follow") for name in ("rollout", "reward")]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
    final = Round.evaluation(0)
    assert run.final_round() == final
    rewards = read_parts(run.directory(run.layout.reward(final, 0)), "rewards")
    assert sum(part.num_rows for part in rewards) == 8 * 4


def test_several_shards_are_named_only_to_follow_a_run(run):
    process = stage("rollout", run.uri, "--shard", "0", "--shard", "1")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "name one --shard, or use --follow" in output


def test_prompts_are_read_once(run, resident, monkeypatch):
    resident.sample(SECOND, 0)
    run.output("rollout", run.layout.rollout(SECOND, 0), {}).discard()
    monkeypatch.setattr(rollout_stage, "read_prompts", None)
    assert resident.sample(SECOND, 0).facts["rows"] == 16 * 4 + 8 * 4
