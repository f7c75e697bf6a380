"""The share of a loop that computes, and the fixed cost of its iterations, from a run's store."""

from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks import loop
from components.results import read_run
from components.runtime.heartbeat import Beat
from components.store import Run
from tests.support.fake_run import START, finished_run


def beat(run: Run, stage: str, shard: int | None, started: float, loaded: float | None) -> None:
    """Leave a worker's heartbeat, with seconds since the run began."""
    moments = [None if s is None else START + timedelta(seconds=s) for s in (started, loaded)]
    text = Beat(attempt=1, count=9, state="ended", detail="", started=moments[0], loaded=moments[1]).model_dump_json()
    run.store.write(f"{run.layout.worker(stage, shard)}/heartbeat.json", text.encode())


def test_the_loop_counts_from_the_first_worker_and_from_when_all_are_loaded(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=2, rollout={"shards": 1}).run
    results = read_run(run)
    end = (results.iterations[1].finished - START).total_seconds()  # type: ignore[operator]
    for stage, shard, started, loaded in (("rollout", 0, 5, 22), ("reward", 0, 4, None), ("train", None, 6, 20)):
        beat(run, stage, shard, started, loaded)
    shares = loop.share_since_start(run, results)
    # Two iterations of 12 s sampling and 10 s updating; sampling began after 13 s, so that 11 s are left after 22 s.
    assert shares["first worker"].seconds == end - 4
    assert shares["first worker"].sampling_or_updating == 44
    assert shares["all loaded"].seconds == end - 22
    assert shares["all loaded"].sampling_or_updating == 43
    assert shares["first worker"].share == 44 / (end - 4)


def test_without_workers_the_loop_begins_after_prepare(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1, rollout={"shards": 1}).run
    results = read_run(run)
    shares = loop.share_since_start(run, results)
    assert list(shares) == ["first worker"]
    assert results.iterations[0].finished
    assert shares["first worker"].seconds == (results.iterations[0].finished - results.prepared).total_seconds()


def test_the_fixed_cost_leaves_out_the_first_iteration_and_what_computes(tmp_path: Path) -> None:
    results = read_run(finished_run(tmp_path, iterations=3, rollout={"shards": 1}).run)
    costs = loop.fixed_costs(results)
    seconds = [i.time.seconds for i in results.iterations if i.time]
    assert costs == [seconds[1] - 22, seconds[2] - 22]


def test_tables_have_a_row_for_every_layout_and_store(capsys: pytest.CaptureFixture[str]) -> None:
    share = {"seconds": 50.0, "sampling_or_updating": 40.0, "share": 0.8}
    demos = [
        {"layout": "pod", "command_seconds": 90.0, "first worker": share, "all loaded": share | {"share": 0.95}},
        {"layout": "tasks", "command_seconds": 160.0, "first worker": share | {"share": 0.47}},
    ]
    cost = {"layout": "pod", "store": "moto", "iterations": 20, "computing": 0.1, **loop.spread([0.5, 0.75, 2.0])}
    loop.show(demos, [cost])
    output = capsys.readouterr().out
    assert "80% of 50 s" in output
    assert "95% of 50 s" in output
    assert ["pod", "moto", "20", "0.75", "0.50", "2.00", "0.10"] in [line.split() for line in output.splitlines()]
