"""The display of a run in progress: bars of stages that work side by side, and each error once."""

import io
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from components.contract.manifest import now
from pipelines.cli.output import LiveView
from pipelines.cli.run_commands import crash_lines, distinct
from tests.support.fake_run import START, prepared_run
from tests.support.left_log import leave_log


def bars(*events: tuple[str, int]) -> list[str]:
    """Return the labels that are shown after events of (label, done) of 10."""
    view = LiveView(Console(file=io.StringIO(), force_terminal=True))
    for label, done in events:
        view.progress({"label": label, "done": done, "total": 10, "unit": "groups", "stats": ""})
    return [task.description for task in view.bars]


def test_stages_that_work_side_by_side_have_a_bar_each() -> None:
    sampling, training = "iteration 0002 rollout", "iteration 0001 train"
    assert bars((sampling, 3), (training, 5), (sampling, 4)) == [sampling, training]


def test_a_finished_bar_disappears_when_something_else_begins() -> None:
    assert bars(("iteration 0001 rollout", 10)) == ["iteration 0001 rollout"]
    assert bars(("iteration 0001 rollout", 10), ("iteration 0001 train", 0)) == ["iteration 0001 train"]


def test_a_stage_that_stopped_early_goes_on_to_another_round_in_one_bar() -> None:
    assert bars(("iteration 0001 train", 7), ("iteration 0002 train", 0)) == ["iteration 0002 train"]
    shards = ("iteration 0001 rollout shard 0", 7), ("iteration 0001 rollout shard 1", 2)
    assert len(bars(*shards)) == 2


def test_a_bar_is_full_where_there_turns_out_to_be_less_to_do() -> None:
    view = LiveView(Console(file=io.StringIO(), force_terminal=True))
    for total in (10, 7):
        view.progress({"label": "training", "done": 7, "total": total, "unit": "steps", "stats": ""})
    assert [(task.completed, task.total) for task in view.bars] == [(7, 7)]


def test_a_failure_that_workers_repeat_is_shown_once() -> None:
    assert distinct(["no such grader", "reward: no such grader", "no such grader", "disk full"]) == [
        "no such grader",
        "disk full",
    ]


def test_a_stage_that_crashed_is_named_with_its_reason_and_log(tmp_path: Path) -> None:
    run = prepared_run(tmp_path, tracking={"enabled": False}).run
    config = run.config.model_copy(update={"store": run.config.store.model_copy(update={"uri": run.store.uri})})
    leave_log(run.uri, "train", ["MemoryError"], "failed", "MemoryError")
    error, log = crash_lines(config, START)
    assert error == "error: train: MemoryError"
    assert log.endswith(f"rapid logs {run.store.local_path(run.layout.root)} train")
    assert crash_lines(config, now() + timedelta(minutes=1)) == [], "that of an earlier start"
