"""The rollout stage with real vLLM, through its own command line."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.resolve import load_config
from components.contract.schemas import read_facts
from components.prepare.stage import run_stage as prepare
from components.rollout.stage import run_stage as rollout
from components.store import Run, open_run
from components.store.parts import read_parts
from tests.support.arithmetic_run import assert_same_trajectories, stage, trajectories, write_config
from tests.support.tiny_policy import plain_logprobs

FIRST = Round.iteration(1)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a prepared run."""
    directory = tmp_path_factory.mktemp("prepared")
    prepare(load_config(write_config(directory, tracking={"enabled": False})))
    return directory


@pytest.fixture(scope="module")
def sampled(prepared: Path) -> Run:
    """The first iteration, sampled without interruption."""
    uri = str(prepared / "store/runs/small")
    process = stage("rollout", uri, "--round", "iteration-0001")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return open_run(uri)


@pytest.fixture
def fresh(prepared: Path, tmp_path: Path) -> Callable[..., Run]:
    """A copy of the prepared run without what was sampled."""

    def copy() -> Run:
        shutil.copytree(prepared / "store", tmp_path / "store", ignore=shutil.ignore_patterns("iterations", "workers"))
        return open_run(str(tmp_path / "store/runs/small"))

    return copy


def test_every_group_is_there_once_and_whole(sampled: Run) -> None:
    rows = trajectories(sampled, FIRST)
    by_split = {split: [r for r in rows.values() if r["split"] == split] for split in ("train", "eval")}
    assert len(by_split["train"]) == 16 * 4
    assert len(by_split["eval"]) == 8 * 4
    assert {r["finish_reason"] for r in rows.values()} <= {"stop", "length"}
    for row in rows.values():
        assert (row["finish_reason"] == "stop") == (row["completion_token_ids"][-1] == 1)


def test_groups_do_not_cross_parts_and_facts_name_the_policy(sampled: Run) -> None:
    directory = sampled.directory(sampled.layout.rollout(FIRST, 0))
    parts = read_parts(directory, "trajectories")
    assert len(parts) == 3
    ids = [set(part["group_id"].to_pylist()) for part in parts]
    assert sum(map(len, ids)) == len(set.union(*ids))
    facts = read_facts(parts[0].schema, "part")
    policy = sampled.policy(0).require()
    assert facts["weights_digest"] == policy.facts["weights_digest"]
    assert (facts["temperature"], facts["top_p"], facts["logprob_mode"]) == (1.3, 1.0, "processed_logprobs")


def test_stored_log_probabilities_are_those_of_a_plain_forward_pass(sampled: Run) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(sampled.store.local_path(sampled.layout.policy(0)))
    for row in trajectories(sampled, FIRST).values():
        temperature = 1.3 if row["split"] == "train" else 1.0
        ours = plain_logprobs(model, row["prompt_token_ids"], row["completion_token_ids"], temperature)
        np.testing.assert_allclose(row["behaviour_logprobs"], ours, atol=1e-4)


def test_killed_after_its_first_part_it_goes_on_to_the_same_trajectories(
    sampled: Run, fresh: Callable[..., Run]
) -> None:
    run = fresh()
    first_part = run.store.local_path(f"{run.layout.rollout(FIRST, 0)}/attempt-0001/part-00000.parquet")
    assert first_part is not None
    process = stage("rollout", run.uri, "--round", "iteration-0001")
    while not first_part.exists() and process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    directory = run.directory(run.layout.rollout(FIRST, 0))
    if directory.manifest() is None:
        before = first_part.read_bytes()
        again = stage("rollout", run.uri, "--round", "iteration-0001")
        output, _ = again.communicate()
        assert again.returncode == 0, output
        assert first_part.read_bytes() == before
    assert_same_trajectories(trajectories(run, FIRST), trajectories(sampled, FIRST))


def test_resuming_samples_only_what_is_missing(sampled: Run, tmp_path: Path) -> None:
    expected = trajectories(sampled, FIRST)
    directory = sampled.directory(sampled.layout.rollout(FIRST, 0))
    place = sampled.store.local_path(directory.key)
    assert place is not None
    kept = (place / "attempt-0001/part-00001.parquet").read_bytes()
    shutil.move(place, tmp_path / "whole")
    (place / "attempt-0001").mkdir(parents=True)
    (place / "attempt-0001/part-00000.parquet").write_bytes(kept)
    process = stage("rollout", sampled.uri, "--round", "iteration-0001")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert directory.require().facts["groups_resumed"] == 8
    assert (place / "attempt-0001/part-00000.parquet").read_bytes() == kept
    assert_same_trajectories(trajectories(sampled, FIRST), expected)


def test_a_finished_shard_is_left_alone(sampled: Run) -> None:
    before = sampled.directory(sampled.layout.rollout(FIRST, 0)).require()
    assert rollout(sampled.uri, FIRST, 0) == before


def test_a_shard_that_does_not_exist_is_refused(sampled: Run) -> None:
    with pytest.raises(InputError, match=r"shard 1 is not below rollout\.shards = 1"):
        rollout(sampled.uri, FIRST, 1)


def test_a_policy_that_is_not_there_yet_is_refused(sampled: Run) -> None:
    with pytest.raises(InputError, match="has no manifest: the stage that writes it has not finished"):
        rollout(sampled.uri, Round.iteration(2), 0)


def test_a_corrupted_policy_is_refused_before_anything_is_sampled(fresh: Callable[..., Run]) -> None:
    run = fresh()
    weights = run.store.local_path(f"{run.layout.policy(0)}/model.safetensors")
    assert weights is not None
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    process = stage("rollout", run.uri, "--round", "iteration-0001")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "model.safetensors is corrupted" in output
    assert "Traceback" not in output
