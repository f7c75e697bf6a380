"""The stand-in lists the tasks of a run as a real Kubeflow Pipelines 2.17 did."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.kfp_server.workflow import LIMIT, UNFINISHED, Workflow

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[4] / "shared")) / "kfp"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the recordings (RAPID_SHARED)")
_CUT = 199
"""Characters at which the recorded lines end."""

STATES = {"Succeeded": "SUCCEEDED", "Failed": "FAILED", "Running": "RUNNING", "Skipped": "SKIPPED", "Omitted": None}


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


def test_no_run_and_no_task_has_an_error_text() -> None:
    for path in SHARED.glob("*/*.json"):
        run = json.loads(path.read_text())
        assert "error" not in run
        assert not [task for task in run.get("run_details", {}).get("task_details", ()) if "error" in task]
