"""The functions that KFP calls in a pod, with the processes that they start replaced by records of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.contract.layout import Round
from components.pod.component import pod
from components.publish.component import publish
from components.publish.render_report import render_report
from components.results import read_run
from components.reward import component as reward_task
from components.reward import follow_component as reward_worker
from components.rollout import component as rollout_task
from components.rollout import follow_component as rollout_worker
from components.runtime.parent import Limits
from components.store import Run
from components.train import component as train_task
from components.train import follow_component as train_worker
from tests.support.fake_run import finished_run

LIMITS = Limits(retries=2).model_dump_json()
Calls = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finished_run(tmp_path_factory.mktemp("run"), tracking={"enabled": False}).run


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Every call that would start a process."""
    made: Calls = []

    def record(name: str) -> Callable[..., None]:
        return lambda *words: made.append((name, *words))

    monkeypatch.setattr("components.runtime.stage_process.follow_stage", record("follow_stage"))
    monkeypatch.setattr("components.runtime.task.run_task", record("run_task"))
    monkeypatch.setattr("components.pod.supervisor.run_stages", record("run_stages"))
    return made


def metrics() -> dsl.Metrics:
    return dsl.Metrics(name="metrics", uri="")


@pytest.mark.parametrize("stage", ["rollout", "reward"])
def test_a_worker_of_sampling_serves_its_shard_and_shows_its_last_round(run: Run, calls: Calls, stage: str) -> None:
    function = {"rollout": rollout_worker.rollout, "reward": reward_worker.reward}[stage]
    shown = metrics()
    answer = function.python_func(run_uri=run.uri, shard="1", limits=LIMITS, metrics=shown)
    assert calls == [("follow_stage", run.uri, stage, [1], Limits(retries=2))]
    directory = getattr(run.layout, stage)(Round.evaluation(2), 1)
    assert answer == run.directory(directory).uri
    assert shown.metadata == run.directory(directory).require().numbers


def test_a_worker_of_training_shows_its_last_iteration(run: Run, calls: Calls) -> None:
    shown = metrics()
    answer = train_worker.train.python_func(run_uri=run.uri, limits=LIMITS, metrics=shown)
    assert calls == [("follow_stage", run.uri, "train", [], Limits(retries=2))]
    assert answer == run.policy_location(2)
    assert shown.metadata["policy_version"] == 2


def test_one_pod_does_the_work_of_all_and_shows_the_last_iteration(run: Run, calls: Calls) -> None:
    shown = metrics()
    pod.python_func(run_uri=run.uri, limits=LIMITS, metrics=shown)
    assert calls == [("run_stages", run.uri, Limits(retries=2))]
    assert shown.metadata["policy_version"] == 2
    assert "pass_at_1" in shown.metadata


def test_tasks_run_their_stage_for_one_round(run: Run, calls: Calls) -> None:
    common = {"run_uri": run.uri, "limits": LIMITS, "metrics": metrics()}
    trajectories = rollout_task.rollout.python_func(round="iteration-0002", shard="1", **common)
    rewards = reward_task.reward.python_func(round="final", shard="0", trajectories=trajectories, **common)
    remaining = train_task.train.python_func(iteration=1, rewards=[rewards], **common)
    assert trajectories.endswith("iterations/0002/rollout/shard-001")
    assert remaining == 1
    assert [(stage, *where) for _, stage, _, _, *where in calls] == [
        ("rollout", Round.iteration(2), 1),
        ("reward", Round.evaluation(2), 0),
        ("train", Round.iteration(1)),
    ]


def test_publish_hands_the_report_to_kubeflow(run: Run, calls: Calls, tmp_path: Path) -> None:
    output = run.output("publish", run.layout.report, {})
    output.write("index.html", render_report(run, read_run(run)).encode())
    output.commit(run.directory(run.layout.train(1)).require().timings, {"policy_version": 2, "pass_at_1": 0.5})
    report = dsl.HTML(name="report", uri="")
    report.path = str(tmp_path / "report.html")
    shown = metrics()
    publish.python_func(run_uri=run.uri, rewards=[], limits=LIMITS, report=report, metrics=shown)
    assert calls == [("run_task", "publish", run.uri, Limits(retries=2))]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert shown.metadata["pass_at_1"] == 0.5
