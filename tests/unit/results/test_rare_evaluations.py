"""A run that samples held-out prompts in every third iteration only."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from components.contract.errors import InputError
from components.contract.layout import Round
from components.publish.render_report import render_report
from components.publish.stage import run_stage as publish
from components.results import (
    evaluation_of,
    evaluation_warnings,
    read_completions,
    read_iteration,
    read_run,
    run_warnings,
)
from components.store import Run
from components.train.stage import _target_reached
from pipelines.cli.run_tables import grading_table, iteration_line, print_results, results_table
from pipelines.cli.stored_run_commands import rewards_command, trajectories_command
from tests.support.fake_run import finished_run, prepared_run

RARELY = {"every": 3}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finished_run(tmp_path, iterations=5, evaluate=RARELY, tracking={"enabled": False}).run


def text(*printed: object) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    for one in printed:
        console.print(one)
    return console.export_text()


def test_policies_without_evaluation_are_left_out(run: Run) -> None:
    results = read_run(run)
    assert list(results.evaluated) == [0, 3, 5]
    assert [i.sampled.eval is not None for i in results.iterations] == [True, False, False, True, False]
    assert results.iterations[1].sampled.pass_at_k == {}
    assert [evaluation_of(run, v) is not None for v in range(6)] == [True, False, False, True, False, True]
    assert run.final_round() == Round.evaluation(5)


def test_an_iteration_without_evaluation_is_one_line(run: Run) -> None:
    results = read_run(run)
    assert "held-out pass@1" in iteration_line(results.iterations[0])
    assert "held-out" not in iteration_line(results.iterations[1])
    assert iteration_line(results.iterations[1]).startswith("iteration 2: reward 0.")


def test_its_tables_have_gaps(run: Run) -> None:
    results = read_run(run)
    rows = [line.split() for line in text(results_table(run.config, results)).splitlines()[2:]]
    assert [row[0] for row in rows] == ["0", "1", "2", "3", "4", "5"]
    assert [row[1] == "-" for row in rows] == [False, True, True, False, True, False]
    assert "iteration-0002" in text(grading_table(results))
    print_results(run.config, results, Console(file=io.StringIO()))


def test_nothing_is_warned_of_that_was_never_to_be(run: Run) -> None:
    results = read_run(run)
    assert evaluation_warnings(run.config, results) == []
    assert not [warning for warning in run_warnings(results) if "held-out" in warning]


def test_the_report_and_publishing_take_it(run: Run) -> None:
    page = render_report(run, read_run(run))
    assert "iterations the policy was trained for" in page
    facts = publish(run.uri).facts
    assert (facts["policy_version"], facts["eval_reward"] is not None) == (5, True)


def test_the_target_is_looked_at_where_held_out_prompts_are_sampled(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, evaluate=RARELY, loop={"iterations": 5, "target_reward": 0.2})
    for number in (1, 2, 3, 4):
        fake.iteration(number, pass_rate=1.0)
    assert [_target_reached(fake.run, number) for number in (1, 2, 3, 4)] == [True, False, False, True]


def test_completions_are_shown_for_both_kinds(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    uri = str(run.store.local_path(run.layout.root))
    trajectories_command(uri, iteration=2, best=False, worst=False, split="train", count=1, seed=0, store="")
    assert "1 of 24 completions of iteration-0002" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"no completions of the eval split; every 3\. iteration samples held-out"):
        trajectories_command(uri, iteration=2, best=False, worst=False, split="eval", count=1, seed=0, store="")
    rewards_command(uri, iteration=2, by=None, store="")
    assert "Training prompts of iteration-0002" in capsys.readouterr().out
    assert set(read_completions(run, Round.iteration(2))["split"].to_pylist()) == {"train"}


def test_pipelined_iterations(tmp_path: Path) -> None:
    fake = finished_run(tmp_path, iterations=5, evaluate=RARELY, loop={"staleness": 1})
    results = read_run(fake.run)
    # Iterations 1 and 4 sample policies 0 and 2.
    assert list(results.evaluated) == [0, 2, 5]
    assert read_iteration(fake.run, 2).sampled.eval is None
    assert render_report(fake.run, read_run(fake.run))
