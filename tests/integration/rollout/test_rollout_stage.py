"""The rollout stage with real vLLM, through its own command line."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.schemas import read_facts
from components.rollout.stage import Rollout
from components.rollout.stage import run_stage as rollout
from components.store import Run
from components.store.parts import read_parts
from tests.support.arithmetic_run import FIRST, assert_same_trajectories, stage, trajectories

pytestmark = pytest.mark.slow


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


def test_killed_after_its_first_part_it_goes_on_to_the_same_trajectories(
    sampled: Run, fresh: Run, with_engine: Callable[[Run], Rollout]
) -> None:
    first_part = fresh.store.local_path(f"{fresh.layout.rollout(FIRST, 0)}/attempt-0001/part-00000.parquet")
    assert first_part is not None
    process = stage("rollout", fresh.uri, "--round", "iteration-0001")
    while not first_part.exists() and process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    directory = fresh.directory(fresh.layout.rollout(FIRST, 0))
    if directory.manifest() is None:
        before = first_part.read_bytes()
        with_engine(fresh).sample(FIRST, 0)
        assert first_part.read_bytes() == before
    assert_same_trajectories(trajectories(fresh, FIRST), trajectories(sampled, FIRST))


def test_resuming_samples_only_what_is_missing(sampled: Run, fresh: Run, with_engine: Callable[[Run], Rollout]) -> None:
    """The second part that another process has sampled is the first that this one finds."""
    key = f"{sampled.layout.rollout(FIRST, 0)}/attempt-0001"
    kept = sampled.store.read(f"{key}/part-00001.parquet")
    fresh.store.write(f"{key}/part-00000.parquet", kept)
    manifest = with_engine(fresh).sample(FIRST, 0, fresh.claim("rollout", 0))
    assert manifest.facts["groups_resumed"] == 8
    whole = sampled.directory(sampled.layout.rollout(FIRST, 0)).require()
    assert [file.sha256 for file in manifest.outputs] != [file.sha256 for file in whole.outputs]
    assert manifest.digest == whole.digest, "what was made from the one fits the other"
    assert fresh.store.read(f"{key}/part-00000.parquet") == kept
    assert_same_trajectories(trajectories(fresh, FIRST), trajectories(sampled, FIRST))


def test_a_finished_shard_is_left_alone(sampled: Run) -> None:
    before = sampled.directory(sampled.layout.rollout(FIRST, 0)).require()
    assert rollout(sampled.uri, FIRST, 0) == before


def test_a_shard_that_does_not_exist_is_refused(sampled: Run) -> None:
    with pytest.raises(InputError, match=r"shard 1 is not below rollout\.shards = 1"):
        rollout(sampled.uri, FIRST, 1)


def test_a_policy_that_is_not_there_yet_is_refused(sampled: Run) -> None:
    with pytest.raises(InputError, match="has no manifest: the stage that writes it has not finished"):
        rollout(sampled.uri, Round.iteration(3), 0)


def test_a_corrupted_policy_is_refused_before_anything_is_sampled(fresh: Run) -> None:
    weights = fresh.store.local_path(f"{fresh.layout.policy(0)}/model.safetensors")
    assert weights is not None
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    process = stage("rollout", fresh.uri, "--round", "iteration-0001")
    output, _ = process.communicate()
    assert process.returncode == 2
    assert "model.safetensors is corrupted" in output
    assert "Traceback" not in output
