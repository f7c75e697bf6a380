"""Stored completions graded again by other graders."""

import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from components.contract.errors import InputError
from components.contract.layout import Round, part_name
from components.contract.resolve import config_json, parse_config
from components.results import compare, read_completions
from components.reward.rescore import rescore
from components.reward.stage import run_stage as grade_shard
from components.store.parts import read_parts

AT = Round.iteration(1)
PARTS = [["1", "1.0", "2", "abort"], ["held out:1.00", "held out:1", "held out:2", "held out:2"]]


@pytest.fixture
def graded_run(sampled_run):
    run = sampled_run(PARTS, "reward=exact")
    grade_shard(run.uri, AT, 0)
    return run


def with_graders(run, *words):
    return parse_config(config_json(run.config), words)


def everything(run):
    return {info.key: run.store.read(info.key) for info in run.store.list(run.layout.root)}


def test_new_scores_are_stored_beside_those_the_run_was_trained_on(graded_run):
    before = everything(graded_run)
    name = rescore(graded_run, with_graders(graded_run, "reward=numeric"), [AT])
    after = everything(graded_run)
    assert {key: after[key] for key in before} == before
    assert {key.partition(f"/rescored/{name}/")[2] for key in after.keys() - before.keys()} == {
        "attempt-0001",
        "iterations/0001/shard-000/manifest.json",
        *(f"iterations/0001/shard-000/attempt-0001/{part_name(i)}" for i in range(2)),
    }
    own, other = read_completions(graded_run, AT), read_completions(graded_run, AT, name)
    assert own["reward"].to_pylist() == [1, 0, 0, 0, 0, 1, 0, 0]
    assert other["reward"].to_pylist() == [1, 1, 0, 0, 1, 1, 0, 0]
    assert other.drop_columns(["reward", "components", "grader", "seconds"]).equals(
        own.drop_columns(["reward", "components", "grader", "seconds"])
    )


def test_changes_are_reported_per_split(graded_run):
    name = rescore(graded_run, with_graders(graded_run, "reward=numeric"), [AT])
    train, held_out = compare(graded_run, AT, name, examples=3)
    assert (train.split, train.completions, train.changed, train.reward) == ("train", 4, 1, (0.25, 0.5))
    assert (held_out.split, held_out.changed, held_out.passed, held_out.failed) == ("eval", 1, (0.25, 0.5), (0, 0))
    assert train.failed == (1, 1)
    assert [(e.text, e.answer, e.before, e.after) for e in train.examples] == [("1.0", "1", 0.0, 1.0)]


def test_the_same_graders_find_their_scores(graded_run):
    config = with_graders(graded_run, "reward=numeric")
    first = rescore(graded_run, config, [AT])
    stored = everything(graded_run)
    assert rescore(graded_run, config, [AT]) == first
    assert everything(graded_run) == stored


def test_a_grader_whose_code_changed_is_another_one(sampled_run, grader_module):
    grader_module("return 1.0")
    run = sampled_run(PARTS, "reward=trial:grade")
    grade_shard(run.uri, AT, 0)
    first = rescore(run, run.config, [AT])
    grader_module("return 2.0")
    second = rescore(run, run.config, [AT])
    assert first != second
    (comparison, _) = compare(run, AT, second, examples=0)
    assert (comparison.changed, comparison.reward) == (3, (0.75, 1.5))
    assert comparison.grader_version[0] != comparison.grader_version[1]


def test_killed_and_started_again(sampled_run, grader_module, tmp_path):
    flag = tmp_path / "flag"
    grader_module(
        f"if completion == 'kill' and os.path.exists({str(flag)!r}):\n"
        f"    os.unlink({str(flag)!r})\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    time.sleep(1000)\n"
        "return len(completion)"
    )
    run = sampled_run([["a", "bb", "ccc", "d"], ["e", "kill", "f", "g"]], "reward=exact")
    grade_shard(run.uri, AT, 0)
    flag.touch()
    words = [sys.executable, "-m", "pipelines.cli.entry", "rescore", str(run.store.local_path(run.layout.root)),
             "--iteration", "1", "reward=trial:grade"]  # fmt: skip
    environment = {**os.environ, "COLUMNS": "120"}
    assert subprocess.run(words, env=environment, capture_output=True).returncode == -signal.SIGKILL
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "iteration-0001 train           8       8 0.000 -> 1.750" in done.stdout
    (name,) = {info.key.split("/")[3] for info in run.store.list(f"{run.layout.root}/rescored")}
    rows = pa.concat_tables(read_parts(run.directory(run.layout.rescored(name, AT, 0)), "rewards"))
    assert rows["reward"].to_pylist() == [1, 2, 3, 1, 1, 4, 1, 1]


def test_stopped_by_ctrl_c(sampled_run, grader_module, tmp_path):
    flag = tmp_path / "flag"
    grader_module(
        f"if completion == 'stop' and os.path.exists({str(flag)!r}):\n"
        f"    os.unlink({str(flag)!r})\n"
        "    os.kill(os.getppid(), signal.SIGINT)\n"
        "    time.sleep(1000)\n"
        "return len(completion)"
    )
    run = sampled_run([["a", "bb", "ccc", "d"], ["e", "stop", "f", "g"]], "reward=exact")
    grade_shard(run.uri, AT, 0)
    flag.touch()
    words = [sys.executable, "-m", "pipelines.cli.entry", "rescore", str(run.store.local_path(run.layout.root)),
             "--iteration", "1", "reward=trial:grade"]  # fmt: skip
    stopped = subprocess.run(words, capture_output=True, text=True)
    assert stopped.returncode == 130
    last = stopped.stdout.splitlines()[-1]
    assert last == "stopped; graded parts are kept, and the same command continues after them"
    assert "Traceback" not in stopped.stderr
    (part,) = [info.key for info in run.store.list(f"{run.layout.root}/rescored") if info.key.endswith(".parquet")]
    kept = run.store.read(part)
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert run.store.read(part) == kept


def test_graders_that_cannot_be_loaded_leave_nothing(graded_run):
    before = everything(graded_run)
    with pytest.raises(InputError, match="ModuleNotFoundError"):
        rescore(graded_run, with_graders(graded_run, "reward=no_such_module:grade"), [AT])
    assert everything(graded_run) == before
