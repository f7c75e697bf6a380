"""The stand-in shows runs, their tasks and schedules as a real Kubeflow Pipelines 2.17 did."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.kfp_server import Cluster
from tests.support.kfp_server.workflow import LIMIT, UNFINISHED, Workflow

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[4] / "shared")) / "kfp"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the recordings (RAPID_SHARED)")
_CUT = 199
"""Characters at which the recorded lines end."""

STATES = {
    "Succeeded": "SUCCEEDED",
    "Failed": "FAILED",
    "Error": "FAILED",  # ToV2 in backend/src/apiserver/model/run.go
    "Running": "RUNNING",
    "Skipped": "SKIPPED",
    "Omitted": None,
}


def replayed(name: str, run: dict[str, Any]) -> Workflow:
    """Return the workflow of recorded nodes, whose lines are type, phase, start, end, display name, place, message."""
    names = [task["display_name"] for task in run["run_details"]["task_details"]]
    workflow = Workflow(run["run_id"], run["created_at"], specification=0)
    workflow.name = next(name for name in names if name.startswith("rapid-")).removesuffix("(0)")
    lines = (SHARED / f"{name}.nodes.txt").read_text().splitlines()
    for line in (line for line in lines if len(line) < _CUT):
        _, phase, start, end, _, *rest = line.split()
        place = rest[0] if rest and rest[0].startswith("(0)") else ""
        moment = "2026-11-28T{}Z".format
        workflow.put(place, "RUNNING", moment(start))
        if STATES[phase] != "RUNNING":
            workflow.put(place, STATES[phase], moment(end))
    return workflow


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SHARED / name).read_text())
    return found


def test_ids_names_and_times_are_those_of_the_recording() -> None:
    run = recorded("succeeded/run-041.json")
    workflow = replayed("rapid-first", run)
    tasks = run["run_details"]["task_details"]
    frozen = max(task["start_time"] for task in tasks)
    ours = [task for task in workflow.tasks() if task["start_time"] <= frozen]
    theirs = {(task["display_name"], task["start_time"]) for task in tasks}
    assert len(ours) > len(tasks) // 2
    assert {(task["display_name"], task["start_time"]) for task in ours} <= theirs
    named = {child["pod_name"] for task in tasks for child in task.get("child_tasks", ())}
    assert workflow.ids(until=frozen) <= named
    assert {task["create_time"] for task in tasks} == {task["create_time"] for task in workflow.tasks()}
    fields = {frozenset(task) for task in tasks} | {frozenset(task) - {"child_tasks"} for task in tasks}
    assert {frozenset(task) for task in workflow.tasks()} <= fields


def test_the_list_freezes_once_argo_compresses_the_nodes() -> None:
    run = recorded("succeeded/run-041.json")
    assert run["state"] == "SUCCEEDED"
    unfinished = [t for t in run["run_details"]["task_details"] if t["end_time"] == UNFINISHED]
    assert unfinished, "the recorded list froze before the run had ended"
    workflow = Workflow(run["run_id"], run["created_at"])
    for number in range(200):
        workflow.put(f"(0).node-{number}", "RUNNING", run["created_at"])
    assert abs(len(workflow.tasks()) - len(run["run_details"]["task_details"])) <= 3
    states = [json.loads(line) for line in (SHARED / "succeeded/states.jsonl").read_text().splitlines()]
    assert max(state["sizes"]["total"] for state in states) < LIMIT


def test_tasks_that_are_never_executed_have_no_state() -> None:
    run = recorded("failed/image-not-found.json")
    workflow = Workflow(run["run_id"], run["created_at"])
    workflow.put("", None, run["created_at"])
    (ours,) = workflow.tasks()
    never = [task for task in run["run_details"]["task_details"] if "state" not in task]
    assert never
    assert {frozenset(task) - {"child_tasks"} for task in never} == {frozenset(ours)}


@pytest.mark.parametrize(("name", "ending", "then"), [("killed", "VANISHED", "SUCCEEDED"), ("oom", "FAILED", None)])
def test_only_a_pod_that_vanishes_is_tried_again(cluster: Cluster, name: str, ending: str, then: str | None) -> None:
    lines = [line.split() for line in (SHARED / f"{name}.nodes.txt").read_text().splitlines()]
    begin = next(number for number, line in enumerate(lines) if line[4] == "rollout(0)") + 1
    theirs = [(line[4], STATES[line[1]]) for line in lines[begin:]]
    run_id = cluster.create_run(body(cluster))["run_id"]
    for state in filter(None, ("RUNNING", ending, then)):
        cluster.stage(run_id, "rollout", state, iteration=1, shard=0)
    tasks = cluster.get_run(run_id)["run_details"]["task_details"]
    ours = [(task["display_name"], task["state"]) for task in tasks if task["display_name"].startswith("executor")]
    assert ours == theirs[: len(ours)]
    assert not theirs[len(ours)][0].startswith("executor")


def test_a_pod_that_vanishes_again_and_again_fails_its_task(cluster: Cluster) -> None:
    run_id = cluster.create_run(body(cluster))["run_id"]
    for _ in range(3):
        cluster.stage(run_id, "train", "VANISHED", iteration=1)
    tasks = cluster.get_run(run_id)["run_details"]["task_details"]
    ended = {
        task["display_name"]: task["state"] for task in tasks if task["display_name"].startswith(("exec", "train"))
    }
    assert set(ended.values()) - {"SUCCEEDED"} == {"FAILED"}


def test_no_run_and_no_task_has_an_error_text() -> None:
    for path in SHARED.glob("*/*.json"):
        run = json.loads(path.read_text())
        assert "error" not in run
        assert not [task for task in run.get("run_details", {}).get("task_details", ()) if "error" in task]


@pytest.fixture
def cluster() -> Cluster:
    """A cluster with one experiment and one version of a pipeline without parameters."""
    made = Cluster()
    made.create_experiment({"display_name": "rapid"})
    made.versions["v"] = {"pipeline_id": "p", "pipeline_spec": {"pipeline_spec": {"root": {}}}}
    return made


def body(cluster: Cluster) -> dict[str, Any]:
    """Return what this project sends of a run or a schedule."""
    return {
        "display_name": "first",
        "experiment_id": next(iter(cluster.experiments)),
        "pipeline_version_reference": {"pipeline_id": "p", "pipeline_version_id": "v"},
        "runtime_config": {"parameters": {}},
        "service_account": "rapid-stage",
    }


def states(run: dict[str, Any]) -> list[str]:
    return [status["state"] for status in run["state_history"]]


@pytest.mark.parametrize("name", ["succeeded/run-041.json", "failed/run-010.json"])
def test_a_run_has_the_fields_and_states_of_the_recorded_one(cluster: Cluster, name: str) -> None:
    theirs = recorded(name)
    run_id = cluster.create_run(body(cluster))["run_id"]
    assert cluster.get_run(run_id)["finished_at"] == recorded("succeeded/run-003.json")["finished_at"]
    cluster.begin(run_id)
    cluster.end(run_id, theirs["state"])
    ours = cluster.get_run(run_id)
    assert set(ours) == set(theirs)
    assert states(ours) == states(theirs)
    assert ours["scheduled_at"] == ours["created_at"]
    assert theirs["scheduled_at"] == theirs["created_at"]


def test_a_cancelled_run_ends_as_the_recorded_one(cluster: Cluster) -> None:
    theirs = recorded("cancelled/run-015.json")
    run_id = cluster.create_run(body(cluster))["run_id"]
    cluster.begin(run_id)
    cluster.stage(run_id, "train", "RUNNING", iteration=1)
    cluster.terminate_run(run_id)
    while cluster.get_run(run_id)["state"] == "CANCELING":
        pass
    ours = cluster.get_run(run_id)
    assert set(ours) == set(theirs)
    assert states(ours) == states(theirs)
    for run in (theirs, ours):
        ended = {task.get("state") for task in run["run_details"]["task_details"]}
        assert ended - {None} == {"SUCCEEDED", "FAILED"}


def test_a_schedule_and_its_firing_have_the_recorded_fields_and_the_version_of_the_schedule(cluster: Cluster) -> None:
    (theirs,) = recorded("schedule/recurring-runs.json")["recurringRuns"]
    firing = recorded("schedule/firing.json")
    trigger = {"periodic_schedule": {"interval_second": "60"}}
    sent = {"trigger": trigger, "max_concurrency": "1", "mode": "ENABLE", "no_catchup": True}
    schedule = cluster.create_recurring(body(cluster) | sent)
    # Changed once, and in the namespace of a Kubeflow for one user.
    assert set(theirs) - set(schedule) == {"updated_at", "namespace"}
    assert not set(schedule) - set(theirs)
    cluster.versions["w"] = cluster.versions["v"]
    fired = cluster.fire(schedule["recurring_run_id"], datetime(2026, 11, 28, 18, 44, 16, tzinfo=UTC))
    assert fired is not None
    cluster.end(fired["run_id"], "FAILED")
    ours = cluster.get_run(fired["run_id"])
    assert set(ours) == set(firing)
    assert states(ours) == states(firing)
    assert (ours["scheduled_at"], ours["created_at"]) == (firing["scheduled_at"], firing["created_at"])
    for run, of in ((ours, schedule), (firing, theirs)):
        assert run["pipeline_version_reference"] == of["pipeline_version_reference"]
        assert run["recurring_run_id"] == of["recurring_run_id"]
