"""A run held in one process learns what the pipeline's stages learn."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.learning.tasks import Problem, Task
from components.contract.resolve import load_config
from components.prepare.stage import run_stage as prepare
from components.store import open_run
from pipelines.demo.arithmetic import problems
from tests.support.arithmetic_run import stage, write_config
from tests.support.trained import metrics_of

if TYPE_CHECKING:
    from benchmarks.learning.resident import Course

pytestmark = pytest.mark.slow

UPDATES = 4


def small_task() -> Task:
    """The prompts of `arithmetic_run`, in its order."""
    pairs = tuple(Problem(prompt, answer) for prompt, answer in problems(0)[:64])
    return Task("small", "", pairs, pairs[:2], "", (), "", lambda problem, _: problem.answer, 6, 32, 0, 0, ())


def run_resident(config: Path) -> "Course":
    from benchmarks.learning.resident import Bench, Resident

    resolved = load_config(config)
    with Bench(resolved, small_task(), Path(resolved.model.path)) as bench:
        for course in Resident(resolved, bench).run(steps=2 * UPDATES, evaluate_every=UPDATES):
            last = course
    return last


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_config(
        tmp_path_factory.mktemp("learning"),
        data={"eval_prompts": 0},
        tracking={"enabled": False},
        evaluate={"samples": 8, "pass_k": [1, 8]},
    )


@pytest.fixture(scope="module")
def course(config: Path) -> "Course":
    # In a process of its own: the engine changes how vLLM computes.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run_resident, config).result()


def test_the_steps_are_those_of_the_stages(config: Path, course: "Course") -> None:
    prepared = prepare(load_config(config))
    for name, words in (
        ("rollout", ("--round", "iteration-0001")),
        ("reward", ("--round", "iteration-0001")),
        ("train", ("--iteration", "1")),
    ):
        process = stage(name, prepared.run_uri, *words)
        output, _ = process.communicate()
        assert process.returncode == 0, output
    expected = metrics_of(open_run(prepared.run_uri)).steps
    assert len(expected) == UPDATES
    for ours, theirs in zip(course.steps, expected, strict=False):
        assert ours.tokens == theirs.tokens
        assert ours.reward == pytest.approx(theirs.reward, abs=1e-6)
        assert ours.loss == pytest.approx(theirs.loss, abs=1e-5)
        assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)


def test_the_engine_samples_from_the_policy_it_was_given(course: "Course") -> None:
    first_of_second_pass = course.steps[UPDATES]
    assert course.updates == [UPDATES, UPDATES]
    assert course.steps[UPDATES - 1].log_ratio_mean > 1e-3
    assert first_of_second_pass.log_ratio_mean < 1e-4


def test_every_evaluation_reports_samples_and_seconds(course: "Course") -> None:
    base, middle, last = course.points
    assert [point.step for point in course.points] == [0, UPDATES, 2 * UPDATES]
    assert [point.completions for point in course.points] == [0, 64, 128]
    assert base.seconds["sampling"] == base.seconds["updating"] == 0
    assert 0 < middle.seconds["sampling"] < last.seconds["sampling"]
    assert 0 < middle.seconds["updating"] < last.seconds["updating"]
