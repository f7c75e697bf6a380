"""Lines about workers that are not heard of."""

from datetime import timedelta
from pathlib import Path

import pytest

from components.contract.layout import Round
from components.runtime.failure import report_failure
from components.runtime.heartbeat import Beat, State
from components.store import Run
from components.store.attempt_logs import LogPlace, claim_log
from pipelines.cluster.silent_workers import SilentWorkers, silence_line, unfinished_lines, workers_of
from tests.support.fake_run import START, prepared_run


def beat(count: int = 1, state: State = "working", detail: str = "iteration 0003 train") -> Beat:
    return Beat(attempt=2, count=count, state=state, detail=detail, started=START)


def test_a_worker_that_never_began_waits_for_what_its_stage_needs() -> None:
    assert silence_line("runs/a/workers/train", 360, None) == (
        "train has not started for 6 min: its pod may be waiting for a GPU"
    )
    assert silence_line("runs/a/workers/reward-001", 700, None) == (
        "reward-001 has not started for 12 min: its pod may be waiting for a node"
    )


def test_a_worker_that_fell_silent_may_be_gone() -> None:
    assert silence_line("runs/a/workers/rollout-000", 360, beat()) == (
        "rollout-000 has been silent for 6 min: its pod may be gone, or waiting for a GPU"
    )


def test_nothing_that_starts_is_noticed_in_every_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOOK_SECONDS", "_FIRST_SECONDS"):
        monkeypatch.setattr(f"pipelines.cluster.silent_workers.{name}", 0.0)
    run = prepared_run(tmp_path, tracking={"enabled": False}).run
    claim_log(run.store, LogPlace(run.uri, "prepare"), run.layout, "pod", START)
    silent = SilentWorkers(run, START)
    assert list(silent.lines()) == ["no stage has started for 0 min: the pods may be waiting for nodes or images"]
    claim_log(run.store, LogPlace(run.uri, "rollout", 0), run.layout, "pod", START)
    assert list(silent.lines()) == []


def test_what_an_earlier_start_of_the_run_has_left_is_not_taken_for_this_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run is started again for more iterations, and one pod gets no node."""
    for name in ("_LOOK_SECONDS", "_FIRST_SECONDS"):
        monkeypatch.setattr(f"pipelines.cluster.silent_workers.{name}", 0.0)
    rollout, reward, train = workers_of(run)
    for worker in (rollout, reward, train):
        leave(run, worker, beat(7, "ended", ""))
    claim_log(run.store, LogPlace(run.uri, "prepare"), run.layout, "pod", START)
    again = START + timedelta(hours=1)
    claim_log(run.store, LogPlace(run.uri, "prepare"), run.layout, "pod", again)
    silent = SilentWorkers(run, again)
    assert list(silent.lines()) == ["no stage has started for 0 min: the pods may be waiting for nodes or images"]
    (line,) = unfinished_lines(run)
    assert line.startswith("no stage has started for ")
    for worker in (rollout, reward):
        leave(run, worker, beat(8).model_copy(update={"started": again}))
    assert [line for line in silent.lines() if line.startswith("train")] == [
        "train has not started for 0 min: its pod may be waiting for a GPU"
    ]
    assert list(unfinished_lines(run))[-1].startswith("train has not started for ")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("pipelines.cluster.silent_workers.BEAT_SECONDS", -1.0)
    fake = prepared_run(tmp_path, rollout={"shards": 1}, tracking={"enabled": False})
    fake.round(Round.iteration(1))
    return fake.run


def leave(run: Run, worker: str, said: Beat) -> None:
    run.store.write(f"{worker}/heartbeat.json", said.model_dump_json().encode())


def test_a_run_without_heartbeats_has_nothing_to_say(run: Run) -> None:
    assert list(unfinished_lines(run)) == []


def test_each_worker_is_looked_at_twice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(run, run.layout.worker("rollout", 0), beat())
    leave(run, run.layout.worker("reward", 0), beat(state="waiting", detail="for iteration 0003 rollout"))

    def meanwhile(_seconds: float) -> None:
        leave(run, run.layout.worker("reward", 0), beat(2, "waiting", "for iteration 0003 rollout"))

    monkeypatch.setattr("pipelines.cluster.silent_workers.time.sleep", meanwhile)
    rollout, reward, train = unfinished_lines(run)
    assert rollout == ("rollout-000 is silent, so its process has probably ended; it was working iteration 0003 train")
    assert reward == "reward-000: waiting for iteration 0003 rollout (attempt 2)"
    assert train.startswith("train has not started for ")
    assert "pod" not in train  # it may be a process of this machine


def test_a_failure_is_all_that_counts(run: Run) -> None:
    leave(run, run.layout.worker("rollout", 0), beat())
    report_failure(run, "train", "no room on the GPU")
    assert list(unfinished_lines(run)) == ["failed: train: no room on the GPU"]


def test_what_a_training_job_waits_for_is_said_once_while_its_launcher_lives(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.cluster.silent_workers._LOOK_SECONDS", 0.0)
    silent = SilentWorkers(run, START)
    told = []
    for count in (1, 2, 3, 3):
        waits = beat(count, "waiting", "for nodes: node 0 of 2: Unschedulable: 2 Insufficient cpu")
        leave(run, run.layout.launcher, waits)
        told += [line for line in silent.lines() if line.startswith("train waits")]
    assert told == ["train waits for nodes: node 0 of 2: Unschedulable: 2 Insufficient cpu"]
    assert "train-job" in " ".join(unfinished_lines(run))
