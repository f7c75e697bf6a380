"""A run as Kubeflow returns it: its name, parameters and tasks."""

import json
from datetime import UTC, datetime

import kfp_server_api as kfp
import pytest

from components.contract.errors import InputError
from pipelines.cluster.runs import parameters, run_config, run_name
from pipelines.cluster.task_details import TaskDetails

CONFIG = json.dumps(
    {"run": "nightly", "store": "s3://b/p", "model": "owner/name", "data": "s3://b/d/", "loop": {"iterations": 9}}
)


def run(tasks: tuple[kfp.V2beta1PipelineTaskDetail, ...] = (), **fields: object) -> kfp.V2beta1Run:
    details = kfp.V2beta1RunDetails(task_details=list(tasks))
    return kfp.V2beta1Run(run_id="the-id", display_name="shown", run_details=details, **fields)


def task(name: str, state: str = "FAILED", parent: str = "", message: str = "", **fields: object):
    error = kfp.GoogleRpcStatus(message=message) if message else None
    return kfp.V2beta1PipelineTaskDetail(
        task_id=name, display_name=name, state=state, parent_task_id=parent or None, error=error, **fields
    )


def given(**values: object) -> kfp.V2beta1RuntimeConfig:
    return kfp.V2beta1RuntimeConfig(parameters=values)


def test_parameters_go_before_the_configuration_and_numbers_may_be_floats() -> None:
    found = run(runtime_config=given(config=CONFIG, run="hot", model="s3://b/m", data="", iterations=3.0))
    config = run_config(found)
    assert (config.run.name, config.model.path, config.data.train) == ("hot", "s3://b/m", "s3://b/d/")
    assert config.loop.iterations == 3
    assert run_config(run(runtime_config=given(config=CONFIG, run="2026", model="null"))).run.name == "2026"
    assert run_config(run(runtime_config=given(config=CONFIG, iterations=-1))).loop.iterations == 9


def test_placeholders_are_filled_in_where_they_still_stand() -> None:
    config = given(run="nightly-[[ScheduledTime]]-[[RunUUID]]")
    moment = datetime(2026, 12, 1, 2, 0, 5, tzinfo=UTC)
    fired = run(runtime_config=config, recurring_run_id="r", scheduled_at=moment)
    assert parameters(fired)["run"] == run_name(fired) == "nightly-20261201020005-the-id"
    assert parameters(run(runtime_config=config))["run"] == "nightly-[[ScheduledTime]]-the-id"


def test_a_run_of_another_program() -> None:
    assert run_name(run()) == "shown"
    with pytest.raises(InputError, match="run shown belongs to another program"):
        run_config(run())


def test_servers_that_name_parents_are_believed() -> None:
    failed = TaskDetails(
        run(
            (
                task("root"),
                task("iterations", parent="root"),
                task("iteration-2", parent="iterations"),
                task("train", parent="iteration-2", message="Error\n  (exit code 2)", pod_name="pod-1"),
                task("rollout", "SUCCEEDED", parent="iteration-2"),
            )
        )
    ).failed()
    assert [(f.name, f.message, f.pod) for f in failed] == [
        ("iterations / iteration-2 / train", "Error (exit code 2)", "pod-1")
    ]


def test_where_every_failed_task_holds_others_all_are_named() -> None:
    child = kfp.PipelineTaskDetailChildTask(pod_name="wf-1")
    assert [f.name for f in TaskDetails(run((task("loop", child_tasks=[child]),))).failed()] == ["loop"]


def test_a_driver_that_failed_is_named_itself() -> None:
    child = kfp.PipelineTaskDetailChildTask(pod_name="wf-1")
    tasks = (task("root", child_tasks=[child]), task("train-driver", pod_name="wf-system-dag-driver-1"))
    assert [(f.name, f.pod) for f in TaskDetails(run(tasks)).failed()] == [("train-driver", "wf-system-dag-driver-1")]


def test_tasks_that_hold_each_other_do_not_hang() -> None:
    assert [f.name for f in TaskDetails(run((task("a", parent="b"), task("b", parent="a"), task("c")))).failed()] == [
        "c"
    ]
