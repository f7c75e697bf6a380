"""`rapid run` from configuration to report: the compiled pipeline under kfp.local with real vLLM, PyTorch, MLflow."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from components.contract.layout import Round, manifest_key
from components.results import best_policy, read_run
from components.store import Run, open_run, open_store
from components.store.parts import read_parts
from tests.support.arithmetic_run import assert_same_trajectories, stage, trajectories, write_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def start(config: Path, *words: str, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli.entry", "run", str(config), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "120", **environment},
    )


def finish(config: Path, *words: str, **environment: str) -> str:
    process = start(config, *words, **environment)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


def manifests(run: Run) -> dict[str, bytes]:
    keys = [info.key for info in run.store.list(run.layout.root) if info.key.endswith("manifest.json")]
    return {key: run.store.read(key) for key in keys}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uninterrupted")


@pytest.fixture(scope="module")
def output(directory: Path) -> str:
    """Return the output of `rapid run` for two iterations."""
    return finish(write_config(directory))


@pytest.fixture
def uninterrupted(directory: Path, output: str) -> Run:
    assert output
    return open_run(str(directory / "store/runs/small"))


def test_every_iteration_is_shown_in_one_line_and_the_run_in_a_table(output: str) -> None:
    lines = [line for line in output.splitlines() if line.startswith("iteration ")]
    assert [line.split(":")[0] for line in lines] == ["iteration 1", "iteration 2"]
    for line in lines:
        for word in ("reward ", "pass@1 ", "pass@4 ", "effective sample ", "rollout ", "train ", "% computing"):
            assert word in line
    assert "report/index.html" in output
    assert "mlflow ui --backend-store-uri sqlite:///" in output
    assert "loop.iterations=4" in output


def test_everything_is_committed_and_every_policy_evaluated(uninterrupted: Run) -> None:
    results = read_run(uninterrupted)
    assert results.policy_version == 2
    assert list(results.evaluated) == [0, 1, 2]
    assert [len(i.train.steps) for i in results.iterations if i.train] == [4, 4]
    assert [s.step for i in results.iterations if i.train for s in i.train.steps] == list(range(1, 9))
    assert results.rounds[0].status["ok"] == results.rounds[0].completions


def test_the_trainer_finds_the_engines_log_probabilities_at_every_policy(uninterrupted: Run) -> None:
    for iteration in read_run(uninterrupted).iterations:
        assert iteration.train is not None
        assert iteration.train.logprob_gap_max is not None
        assert iteration.train.logprob_gap_max < 1e-4


def test_the_policy_moved_and_loads_in_transformers(uninterrupted: Run) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, final = (uninterrupted.fetch_policy(version, Path("not-used")) for version in (0, 2))
    assert len(AutoTokenizer.from_pretrained(final)) == 14
    model = AutoModelForCausalLM.from_pretrained(final)
    before = AutoModelForCausalLM.from_pretrained(base)
    moved = max((p - q).abs().max().item() for p, q in zip(model.parameters(), before.parameters(), strict=True))
    assert moved > 1e-4


@pytest.mark.usefixtures("uninterrupted")
def test_mlflow_has_the_run_its_metrics_and_its_model_versions(directory: Path, uninterrupted: Run) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{directory}/store/mlflow.db")
    experiment = client.get_experiment_by_name("rapid")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    steps = client.get_metric_history(tracked.info.run_id, "step/effective_sample_share")
    assert sorted(point.step for point in steps) == list(range(1, 9))
    for machine in ("rollout-000", "reward-000", "train"):
        memory = client.get_metric_history(tracked.info.run_id, f"system/{machine}/memory_usage_megabytes")
        assert [point.step for point in sorted(memory, key=lambda point: point.step)] == [1, 2]
        assert all(point.value > 50 for point in memory)
        assert tracked.data.metrics[f"system/{machine}/cpu_utilization_percentage"] >= 0
    versions = client.search_model_versions("name = 'small'")
    assert sorted(version.tags["rapid.policy_version"] for version in versions) == ["1", "2"]
    champion = client.get_model_version_by_alias("small", "champion")
    assert champion.tags["rapid.policy_version"] == str(best_policy(uninterrupted, read_run(uninterrupted)))


def test_the_same_command_again_changes_nothing(uninterrupted: Run, directory: Path) -> None:
    before = manifests(uninterrupted)
    again = finish(directory / "config.yaml")
    assert manifests(uninterrupted) == before
    assert "report/index.html" in again


def test_workers_killed_in_the_middle_are_started_again(uninterrupted: Run, tmp_path: Path) -> None:
    config = write_config(tmp_path, tracking={"enabled": False})
    process = start(config)
    run = wait_for_run(tmp_path, process)
    kill_worker(process, "rollout")
    until(lambda: run.store.exists(manifest_key(run.layout.reward(Round.iteration(2), 0))), process)
    kill_worker(process, "train")
    kill_worker(process, "reward")
    output, _ = process.communicate()
    assert process.returncode == 0, output
    for worker in ("rollout", "train", "reward"):
        assert f"{worker} ended by SIGKILL; started again (1 of 3) in 1 s" in output
    assert_same_results(run, uninterrupted, exactly=False)


def test_a_killed_supervisor_ends_the_run_which_goes_on_in_layout_tasks(uninterrupted: Run, tmp_path: Path) -> None:
    config = write_config(tmp_path, tracking={"enabled": False})
    process = start(config)
    run = wait_for_run(tmp_path, process)
    until(lambda: run.store.exists(manifest_key(run.layout.policy(1))), process)
    children = psutil.Process(process.pid).children(recursive=True)
    kill(process, "components.pod")
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert "same command continues" in output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    output = finish(config, "--layout", "tasks")
    assert "--layout tasks loop.iterations=4" in " ".join(output.split())
    assert_same_results(run, uninterrupted)


def assert_same_results(run: Run, other: Run, exactly: bool = True) -> None:
    """Compare completions, rewards and policies.

    Args:
        exactly: whether log-probabilities and weights are compared bit for bit. The completions that are left after a
            kill are sampled in other batches.
    """
    rounds = [Round.iteration(1), Round.iteration(2), Round.evaluation(2)]
    for round_ in rounds:
        ours, theirs = trajectories(run, round_), trajectories(other, round_)
        assert_same_trajectories(ours, theirs)
        if exactly:
            assert ours == theirs
        assert rewards(run, round_) == rewards(other, round_)
    if exactly:
        assert weights(run) == weights(other)


def rewards(run: Run, round_: Round) -> dict[tuple[str, int], float]:
    rows = [
        row for part in read_parts(run.directory(run.layout.reward(round_, 0)), "rewards") for row in part.to_pylist()
    ]
    return {(row["group_id"], row["sample_index"]): row["reward"] for row in rows}


def weights(run: Run) -> list[Any]:
    return [run.policy(version).require().facts["weights_digest"] for version in range(run.policy_version() + 1)]


def until(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    """Wait for a condition while a process runs, without taking the processor from it."""
    while not condition():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            pytest.fail(f"ended with {process.returncode} before that")


def wait_for_run(directory: Path, process: "subprocess.Popen[str]") -> Run:
    until((directory / "store/runs/small/config.json").exists, process)
    return open_run(str(directory / "store/runs/small"))


def kill_worker(process: "subprocess.Popen[str]", stage: str) -> None:
    kill(process, f"components.{stage}", f"components.runtime.warm {stage}")


def kill(process: "subprocess.Popen[str]", *modules: str) -> None:
    """SIGKILL to the descendant of a process that executes one of the modules, once there is one."""
    killed: list[int] = []

    def found() -> bool:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                words = " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            if any(f"-m {module}" in words for module in modules):
                os.kill(child.pid, signal.SIGKILL)
                killed.append(child.pid)
                break
        return bool(killed)

    until(found, process)


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return the directory and output of a run of three iterations, sampled one policy behind."""
    directory = tmp_path_factory.mktemp("stale")
    return directory, finish(write_config(directory, tracking={"enabled": False}, **STALE))


STALE: dict[str, Any] = {"loop": {"iterations": 3, "staleness": 1}, "data": {"eval_prompts": 4}}


def test_stale_iterations_learn_from_what_the_policy_before_sampled(stale: tuple[Path, str]) -> None:
    directory, output = stale
    run = open_run(str(directory / "store/runs/small"))
    results = read_run(run)
    assert results.policy_version == 3
    assert [iteration.sampled.policy_version for iteration in results.iterations] == [0, 0, 1]
    assert list(results.evaluated) == [0, 1, 3]
    policies = [run.policy(version).require() for version in (0, 0, 1)]
    for iteration, policy in zip(results.iterations, policies, strict=True):
        rollout = run.directory(run.layout.rollout(iteration.sampled.round_, 0)).require()
        assert rollout.inputs["policy"] == policy.facts["weights_digest"]
        assert iteration.train is not None
        assert iteration.train.logprob_gap_max is not None
        assert iteration.train.logprob_gap_max < 1e-4, "the policy that is named has sampled"
    fresh, *later = (i.train.steps[0].log_ratio_mean for i in results.iterations if i.train)
    assert fresh < 1e-4 < min(later), "only the first iteration is trained on its own policy's samples"
    assert re.search(r"policy +iteration +held-out", output)


def test_workers_started_one_by_one_do_the_same(stale: tuple[Path, str], tmp_path: Path) -> None:
    pod = open_run(str(stale[0] / "store/runs/small"))
    config = write_config(tmp_path, tracking={"enabled": False}, **STALE)
    prepare = stage("prepare", str(config))
    output, _ = prepare.communicate()
    assert prepare.returncode == 0, output
    run = open_run(str(tmp_path / "store/runs/small"))
    workers = [stage(name, run.uri, "--follow") for name in ("rollout", "reward", "train")]
    for worker in workers:
        output, _ = worker.communicate()
        assert worker.returncode == 0, output
    assert weights(run) == weights(pod)
    for round_ in (*map(Round.iteration, (1, 2, 3)), Round.evaluation(3)):
        assert trajectories(run, round_) == trajectories(pod, round_)
        assert rewards(run, round_) == rewards(pod, round_)


def test_the_same_run_through_s3(moto: str, tmp_path: Path) -> None:
    s3_run(moto, tmp_path)


@pytest.mark.rgw
def test_the_same_run_through_a_real_s3_server(rgw: str, tmp_path: Path) -> None:
    s3_run(rgw, tmp_path)


def s3_run(bucket: str, directory: Path) -> None:
    config = write_config(
        directory,
        tracking={"uri": f"sqlite:///{directory}/mlflow.db"},
        loop={"iterations": 1},
        rollout={"part_groups": 4, "shards": 2},
    )
    output = finish(config, f"store={bucket}/fine-tunes")
    assert f"{bucket}/fine-tunes/runs/small/iterations/0001/train/policy" in output
    run = open_run(f"{bucket}/fine-tunes/runs/small")
    results: Any = read_run(run)
    assert results.policy_version == 1
    assert len(results.iterations[0].sampled.rollout) == 2
    assert results.iterations[0].train.logprob_gap_max < 1e-4
    assert b"<!DOCTYPE html>" in run.directory(run.layout.report).read("index.html")
    assert not (directory / "store").exists()

    copied = open_store(f"{bucket}/copied")
    for info in run.store.list(""):
        copied.write(info.key, run.store.read(info.key))
    output = finish(config, f"store={copied.uri}", "loop.iterations=3", "loop.target_reward=-1000")
    assert "target reached, policy kept" in output
    results = read_run(open_run(f"{copied.uri}/runs/small"))
    assert len(results.iterations) == 2
    assert results.policy_version == 1


def test_a_signal_stops_every_process_and_says_how_to_go_on(tmp_path: Path) -> None:
    output = ended_by(signal.SIGTERM, tmp_path)
    assert "the same command continues after them" in output
    assert "Traceback" not in output
    assert not list((tmp_path / "tmp").iterdir())


def test_nothing_goes_on_when_the_command_itself_is_killed(tmp_path: Path) -> None:
    ended_by(signal.SIGKILL, tmp_path)


def ended_by(number: signal.Signals, directory: Path) -> str:
    """Send a signal to a run that has begun; return its output once all its processes have ended."""
    (directory / "tmp").mkdir()
    process = start(write_config(directory, tracking={"enabled": False}), TMPDIR=str(directory / "tmp"))
    wait_for_run(directory, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number), output
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
    return output
