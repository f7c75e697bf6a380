"""The reward stage on committed trajectories."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from components.contract.errors import InputError
from components.contract.layout import Round, part_name
from components.results import evaluation_digest, read_round
from components.reward import stage
from components.reward.stage import run_stage as grade_shard
from components.store import Run
from components.store.parts import read_parts

AT = Round.iteration(1)
TRIAL = "reward=trial:grade"
KEY = ["group_id", "sample_index"]


def rewards_of(run: Run) -> pa.Table:
    return pa.concat_tables(read_parts(run.directory(run.layout.reward(AT, 0)), "rewards"))


def without_seconds(table: pa.Table) -> list[dict]:
    return table.drop_columns("seconds").to_pylist()


def parts_on_disk(run: Run) -> list[str]:
    return [info.key.rpartition("/")[2] for info in run.store.list(run.layout.reward(AT, 0))]


def command(run: Run) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "components.reward", run.uri, "--round", str(AT), "--shard", "0"]
    return subprocess.run(words, capture_output=True, text=True)


def test_rewards_mirror_trajectories(sampled_run):
    parts = [["1", "2", "1", "0"], ["held out:1", "held out:2", "held out:1", "held out:1"], ["1", "1", "2", "abort"]]
    graders = "[{name: numeric, weight: 2}, {name: regex, label: two, options: {pattern: '2'}}]"
    run = sampled_run(parts, f"reward.graders={graders}")
    manifest = grade_shard(run.uri, AT, 0)
    trajectories = read_parts(run.directory(run.layout.rollout(AT, 0)), "trajectories")
    rewards = read_parts(run.directory(run.layout.reward(AT, 0)), "rewards")
    assert [r.select(KEY).to_pylist() for r in rewards] == [t.select(KEY).to_pylist() for t in trajectories]
    table = pa.concat_tables(rewards)
    assert table["reward"].to_pylist() == [2, 1, 2, 0, 2, 1, 2, 2, 2, 2, 1, 0]
    assert dict(table["components"][1].as_py()) == {"numeric": 0.0, "two": 1.0}
    assert set(table["grader"].to_pylist()) == {"numeric+two"}
    assert set(table["grader_version"].to_pylist()) == {"2+1"}
    assert table["status"].to_pylist() == ["ok"] * 11 + ["invalid"]
    assert table["detail"].to_pylist() == [None] * 11 + ["the engine aborted this completion"]
    assert manifest.facts == {
        "rows": 12, "ok": 11, "timeout": 0, "error": 0, "invalid": 1, "reward_train": 10 / 8, "reward_eval": 7 / 4,
        "grader_version": "2+1",
    }  # fmt: skip
    assert (manifest.iteration, manifest.shard) == (1, 0)


def test_a_graded_shard_is_left_alone(sampled_run, monkeypatch):
    run = sampled_run([["1"] * 4])
    first = grade_shard(run.uri, AT, 0)
    monkeypatch.setattr(stage, "GraderPool", None)
    assert grade_shard(run.uri, AT, 0) == first


def test_every_way_to_fail_is_a_zero_with_its_reason(sampled_run, grader_module):
    grader_module(
        "if completion == 'hang': time.sleep(1000)\n"
        "if completion == 'raise': raise KeyError('lost')\n"
        "if completion == 'nan': return float('nan')\n"
        "if completion == 'exit': os._exit(0)\n"
        "return 1.0"
    )
    run = sampled_run(
        [["fine", "hang", "fine", "raise"], ["nan", "fine", "exit", "fine"]], TRIAL, "reward.time_limit=1"
    )
    manifest = grade_shard(run.uri, AT, 0)
    table = rewards_of(run)
    assert table["status"].to_pylist() == ["ok", "timeout", "ok", "error", "invalid", "ok", "error", "ok"]
    assert table["reward"].to_pylist() == [1, 0, 1, 0, 0, 1, 0, 1]
    assert table["detail"].to_pylist() == [
        None,
        "no result after 1 s",
        None,
        "KeyError: 'lost'",
        "trial:grade returned nan, not a finite number",
        None,
        "the grading process ended twice (exit status 0)",
        None,
    ]
    assert [manifest.facts[status] for status in ("ok", "timeout", "error", "invalid")] == [4, 1, 2, 1]


def test_identical_completions_of_a_prompt_are_graded_once(sampled_run, grader_module, tmp_path):
    log = tmp_path / "log"
    grader_module(f"open({str(log)!r}, 'a').write(prompt + '/' + completion + chr(10))\nreturn len(completion)")
    run = sampled_run([["a", "a", "bb", "a", "a", "bb", "bb", "bb"]], TRIAL)
    grade_shard(run.uri, AT, 0)
    assert sorted(log.read_text().splitlines()) == ["prompt 0/a", "prompt 0/bb", "prompt 1/a", "prompt 1/bb"]
    assert rewards_of(run)["reward"].to_pylist() == [1, 1, 2, 1, 1, 2, 2, 2]


def test_too_many_failures_stop_the_stage_and_leave_nothing_behind(sampled_run, grader_module):
    grader_module("if completion == 'x': raise KeyError('lost')\nreturn 1.0")
    run = sampled_run([["1", "2", "3", "4"], ["x", "x", "x", "5"]], TRIAL, "reward.max_failed_share=0.25")
    lost = r"3 of \d completions could not be graded .* status error .*KeyError: 'lost'.* start the same command again$"
    with pytest.raises(InputError, match=lost):
        grade_shard(run.uri, AT, 0)
    assert parts_on_disk(run) == []
    grader_module("return 2.0")
    assert grade_shard(run.uri, AT, 0).facts["reward_train"] == 2.0


def test_a_grader_that_never_works_is_noticed_early(sampled_run, grader_module, tmp_path):
    grader_module(f"open({str(tmp_path / 'log')!r}, 'a').write('x')\nreturn None")
    run = sampled_run([[str(i) for i in range(800)]], TRIAL, "reward.max_failed_share=0.9")
    with pytest.raises(InputError, match=r"64 of 64 completions .* status invalid \(64\): trial:grade returned None"):
        grade_shard(run.uri, AT, 0)
    assert len((tmp_path / "log").read_text()) < 200


def kill_on_marker(flag, body="return len(completion)"):
    """A grader that kills the stage at the completion `kill`, as long as the file is there."""
    return (
        f"if completion == 'kill' and os.path.exists({str(flag)!r}):\n"
        f"    os.unlink({str(flag)!r})\n"
        "    os.kill(os.getppid(), signal.SIGKILL)\n"
        "    time.sleep(1000)\n"
        f"{body}"
    )


PARTS = [[f"{part}-{'x' * row}" for row in range(8)] for part in range(5)]


def test_killed_in_the_middle_and_started_again(sampled_run, grader_module, tmp_path):
    parts = [list(part) for part in PARTS]
    parts[3][5] = "kill"
    flag = tmp_path / "flag"
    grader_module(kill_on_marker(flag))
    run = sampled_run(parts, TRIAL)
    flag.touch()
    assert command(run).returncode == -signal.SIGKILL
    assert parts_on_disk(run) == [part_name(i) for i in range(3)]
    first = [f"{run.layout.reward(AT, 0)}/attempt-0001/{part_name(i)}" for i in range(3)]
    kept = [run.store.read(key) for key in first]
    done = command(run)
    assert done.returncode == 0, done.stderr
    assert [run.store.read(key) for key in first] == kept
    resumed = rewards_of(run)
    texts = [text for part in parts for text in part]
    assert resumed.select(KEY).to_pylist() == [
        {"group_id": f"{row // 4:05d}", "sample_index": row % 4} for row in range(len(texts))
    ]
    assert resumed["reward"].to_pylist() == [len(text) for text in texts]

    whole = grade_shard(run.uri, AT, 0)
    for info in run.store.list(run.layout.reward(AT, 0)):
        run.store.delete(info.key)
    uninterrupted = grade_shard(run.uri, AT, 0)
    assert without_seconds(rewards_of(run)) == without_seconds(resumed)
    assert uninterrupted.facts == whole.facts
    assert uninterrupted.digest == whole.digest, "a policy that was trained on the first rewards fits these"


def test_parts_by_another_version_of_the_grader_are_regraded(sampled_run, grader_module, tmp_path):
    parts = [list(part) for part in PARTS]
    parts[3][5] = "kill"
    flag = tmp_path / "flag"
    grader_module(kill_on_marker(flag, "return 0.0"))
    run = sampled_run(parts, TRIAL)
    flag.touch()
    assert command(run).returncode == -signal.SIGKILL
    grader_module("return 1.0")
    grade_shard(run.uri, AT, 0)
    assert set(rewards_of(run)["reward"].to_pylist()) == {1.0}
    assert len(set(rewards_of(run)["grader_version"].to_pylist())) == 1


def test_a_changed_grader_of_ones_own_measures_something_else(sampled_run, grader_module):
    run = sampled_run([["1"] * 4, ["held out:1"] * 4], TRIAL)
    versions, measures = [], []
    for body in ("return 1.0", "return 0.5", "return 1.0"):
        grader_module(body)
        manifest = grade_shard(run.uri, AT, 0)
        result = read_round(run, AT)
        assert result.grader_version == manifest.facts["grader_version"]
        versions.append(result.grader_version)
        measures.append(evaluation_digest(run, result))
        for info in run.store.list(run.layout.reward(AT, 0)):
            run.store.delete(info.key)
    for found in (versions, measures):
        assert found[0] == found[2] != found[1]


def test_a_corrupted_part_of_trajectories_is_named(sampled_run):
    run = sampled_run([["1"] * 4, ["2"] * 4])
    path = run.store.local_path(f"{run.layout.rollout(AT, 0)}/{part_name(1)}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = command(run)
    assert done.returncode == 2
    assert "part-00001.parquet is corrupted" in done.stderr
    assert "Traceback" not in done.stderr
    assert parts_on_disk(run) == [part_name(0)]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward=maths", "'maths' is not a valid grader"),
        ("reward=no_such_module:f", "no_such_module:f: ModuleNotFoundError"),
        ("reward.graders=[{name: numeric, options: {tolerance: 1}}]", "unexpected keyword argument 'tolerance'"),
    ],
)
def test_unknown_graders_are_refused(sampled_run, override, message):
    run = sampled_run([["1"] * 4], override)
    done = command(run)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert parts_on_disk(run) == []


def test_nothing_to_grade_yet(make_run):
    with pytest.raises(InputError, match="rollout/shard-000 has no manifest"):
        grade_shard(make_run().uri, AT, 0)


def test_a_completion_of_an_unknown_prompt(sampled_run):
    run = sampled_run([["1"] * 4], prompt_id="other")
    with pytest.raises(InputError, match=r"part-00000.parquet, row 0: prompt 'other' is not among the prompts"):
        grade_shard(run.uri, AT, 0)


def test_a_shard_without_completions(sampled_run):
    manifest = grade_shard(sampled_run([]).uri, AT, 0)
    assert (manifest.outputs, manifest.facts["rows"], manifest.facts["reward_train"]) == ((), 0, None)


def test_graded_through_s3(sampled_run, moto):
    run = sampled_run([["1", "2", "1", "0"]], f"store={moto}")
    assert grade_shard(run.uri, AT, 0).facts["reward_train"] == 0.5


def test_progress_shows_counts_per_status(sampled_run, monkeypatch, capfd):
    monkeypatch.setenv("RAPID_EVENTS", "1")
    run = sampled_run([["1", "2", "1", "abort"]])
    grade_shard(run.uri, AT, 0)
    assert "ok 3, invalid 1" in capfd.readouterr().out


def test_equal_rewards_are_reported_at_once(sampled_run, grader_module, capfd):
    grader_module("if completion == 'late': raise TimeoutError('no answer from the judge')\nreturn 0.5")
    run = sampled_run([["1", "2", "3", "4"], ["held out:1", "held out:2", "held out:late", "held out:3"]], TRIAL)
    assert grade_shard(run.uri, AT, 0).facts["timeout"] == 1
    told = capfd.readouterr().err
    assert "1 of 8 completions could not be graded: 1 timeout; TimeoutError: no answer from the judge" in told
    assert "all 4 train completions earned the same reward, 0.5" in told
    assert "eval completions earned the same" not in told


def test_no_grading_process_is_left(sampled_run):
    grade_shard(sampled_run([["1"] * 4]).uri, AT, 0)
    own = f"components.reward.grading_main\0{os.getpid()}\0".encode()
    assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if own in _content(path)] == []


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
