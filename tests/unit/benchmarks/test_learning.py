"""From runs to figures, tables, pictures and page; tasks; configurations of all variants."""

import json
import random
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.learning import page, plots, tables
from benchmarks.learning.analysis import (
    PipelineClock,
    Spread,
    area,
    at_cost,
    best_rates,
    compute_seconds,
    over_an_iteration,
    reached,
    steps,
)
from benchmarks.learning.pipeline_clock import PipelineRun
from benchmarks.learning.records import Job, Record, load, save
from benchmarks.learning.resident import Course, Point
from benchmarks.learning.side import configuration
from benchmarks.learning.summary import by_variant, machine, task_summary
from benchmarks.learning.tasks import TASKS, Task
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, Variant

GRPO, RAPID = Variant("grpo", {"name": "grpo"}), Variant("rapid k=4", {"name": "rapid"}, 4)


def point(step: int, score: float, sampling: float, updates: int = 1) -> Point:
    seconds = {"sampling": sampling, "updating": float(step), "grading": 0.5, "hand_over": 0.25}
    return Point(step, step // updates, 32 * step, 100 * step, score, min(1.0, score + 0.1), seconds)


def record(
    variant: Variant, scores: list[float], seed: int = 0, rate: float = 1e-4, sampling_per_step: float = 1.0
) -> Record:
    """Evaluated every four steps."""
    points = [point(4 * i, score, 4 * i * sampling_per_step, variant.updates) for i, score in enumerate(scores)]
    last = points[-1].step
    figures = {
        name: [1.0 - 0.1 * (i % variant.updates) for i in range(last)]
        for name in (
            "effective_sample_share",
            "log_ratio_p50",
            "log_ratio_p95",
            "log_ratio_max",
            "clip_fraction",
            "kl",
        )
    }
    updates = [variant.updates] * (last // variant.updates)
    return Record(Job("addition", variant, rate, seed, last), points, figures, updates, [], 12.0)


def test_a_target_is_reached_by_the_first_policy_that_is_there() -> None:
    run = record(GRPO, [0.5, 0.7, 0.65, 0.9])
    assert reached(run, 0.7, steps) == 4
    assert reached(run, 0.71, steps) == 12
    assert reached(run, 0.71, compute_seconds) == 24.0
    assert reached(run, 0.95, steps) is None


def test_at_equal_cost_the_last_policy_within_it_counts() -> None:
    run = record(GRPO, [0.5, 0.7, 0.65, 0.9])
    assert at_cost(run, 11, steps).step == 8
    assert at_cost(run, 24.0, compute_seconds).step == 12


def test_the_area_is_the_mean_between_evaluations() -> None:
    assert area(record(GRPO, [0.5, 0.7, 0.9])) == pytest.approx(0.7)


def test_the_best_rate_is_that_of_the_largest_area_of_the_first_seed() -> None:
    runs = [
        record(GRPO, [0.5, 0.6, 0.7], rate=1e-4),
        record(GRPO, [0.5, 0.8, 0.7], rate=2e-4),
        record(GRPO, [0.5, 0.9, 0.9], rate=4e-4, seed=1),
    ]
    assert best_rates(runs) == {("addition", "grpo"): 2e-4}


def test_the_pipeline_adds_its_overhead_to_every_iteration() -> None:
    clock = PipelineClock(once=10.0, per_iteration=20.0)
    assert clock.seconds(point(8, 0.5, sampling=4.0, updates=4)) == 10.0 + 2 * 20.0 + 4.0 + 8.0


@pytest.mark.parametrize(
    ("values", "median", "missing"),
    [
        ([3.0, 1.0, 2.0], 2.0, 0),
        ([1.0, 2.0], 1.5, 0),
        ([1.0, None, 3.0], 3.0, 1),
        ([1.0, None, None], None, 2),
        ([None, None], None, 2),
        ([1.0, None], None, 1),
    ],
)
def test_seeds_that_never_got_there_count_as_last(
    values: list[float | None], median: float | None, missing: int
) -> None:
    spread = Spread.of(values)
    assert (spread.median, spread.missing) == (median, missing)


def test_figures_of_an_iteration_are_aligned_where_some_ended_early() -> None:
    run = record(RAPID, [0.5, 0.6])
    cut = Record(run.job, run.points, {"kl": [1.0, 2.0, 3.0, 5.0, 4.0]}, [2, 3], ["iteration 1: too far"], 1.0)
    assert over_an_iteration(cut, "kl") == [2.0, 3.5, 4.0]


def test_a_run_of_another_recipe_is_not_taken(tmp_path: Path) -> None:
    job = Job("addition", RAPID, 1e-4, 0, 4)
    course = Course([point(0, 0.5, 0.0), point(4, 0.6, 4.0)], [], [4], ["iteration 1: too far"])
    save(job.path(tmp_path), job.digest("one"), job, course, 3.0)
    kept = load(job.path(tmp_path), job.digest("one"))
    assert kept is not None
    assert (kept.job, kept.points, kept.updates, kept.seconds) == (job, course.points, [4], 3.0)
    assert load(job.path(tmp_path), job.digest("other")) is None
    assert load(job.path(tmp_path / "elsewhere"), job.digest("one")) is None


@pytest.fixture(scope="module")
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]()


every_task = pytest.mark.parametrize("task", TASKS, indirect=True)


@every_task
def test_tokens_give_back_what_they_were_made_of_and_fit(task: Task) -> None:
    tokenizer = task.tokenizer()
    for problem in (*task.held_out, *task.train[:500]):
        prompt, answer = tokenizer.encode(problem.prompt), tokenizer.encode(problem.answer)
        assert tokenizer.decode(prompt) == problem.prompt
        assert tokenizer.decode(answer) == problem.answer
        assert tokenizer.unk_token_id not in prompt + answer
        assert len(answer) + 1 <= task.max_tokens
        assert len(prompt) + task.max_tokens <= task.max_length


@every_task
def test_no_held_out_prompt_is_trained_on(task: Task) -> None:
    assert not {p.prompt for p in task.held_out} & {p.prompt for p in task.train}


@every_task
def test_half_of_the_demonstrations_are_wrong_and_their_grader_says_so(task: Task) -> None:
    from components.reward.graders.reasoning_gym import reasoning_gym

    answers = {p.prompt: p for p in task.train}
    samples = list(islice(task.demonstrations(0), 1000))
    mistakes = [(answers[prompt], said) for prompt, said in samples if said != answers[prompt].answer]
    assert 0.45 < len(mistakes) / len(samples) < 0.55
    if task.grader == "reasoning_gym":
        for problem, said in mistakes[:50]:
            metadata = json.loads(problem.metadata)
            assert reasoning_gym(completion=said, answer=problem.answer, metadata=metadata) < 1
            right = reasoning_gym(completion=problem.answer, answer=problem.answer, metadata=metadata)
            assert right == 1


@every_task
def test_a_spoilt_answer_is_never_right(task: Task) -> None:
    draw = random.Random(0)
    assert all(task.spoil(problem, draw) != problem.answer for problem in task.train[:500])


def test_every_variant_is_a_configuration_and_none_is_named_twice() -> None:
    task = TASKS["addition"]()
    variants = (*FIELD, *ABLATIONS, *BREAKING)
    for variant in variants:
        config = configuration(Job("addition", variant, 1e-4, 0, 8), task, Path("policy"))
        assert config.train.updates == variant.updates
    assert len({variant.name for variant in variants}) == len(variants)


def test_every_figure_finds_its_place_in_tables_pictures_and_page(tmp_path: Path) -> None:
    field = by_variant(
        record(variant, [0.5, 0.7, 0.85, 0.95], seed, sampling_per_step=cost)
        for seed in range(2)
        for variant, cost in ((GRPO, 1.0), (RAPID, 0.5))
    )
    studies = by_variant([record(ABLATIONS[0], [0.5] * 17)])
    parts = {"sampling": 1.0, "updating": 2.0, "start": 3.0}
    pipeline = {name: PipelineRun("addition", name, 5.0, [8.0, 9.0], [2.0, 3.0], parts) for name in field}
    swept = [record for runs in field.values() for record in runs]
    task = {"description": "sums", **task_summary(swept, field, studies, pipeline)}
    # 8 steps to 0.8: GRPO 8 x (1 + 1) s; RAPID 8 x (0.5 + 1) s, in 2 iterations instead of 8.
    assert task["field"]["rapid k=4"]["over_reference"]["compute"]["0.8"] == pytest.approx(12 / 16)
    assert task["field"]["rapid k=4"]["over_reference"]["pipeline"]["0.8"] == pytest.approx(
        (5 + 12 + 12) / (5 + 48 + 16)
    )
    summary = {
        "machine": machine(),
        "settings": {"seeds": 2, "steps": 12},
        "tasks": {"addition": json.loads(json.dumps(task))},
    }
    pictures = plots.draw(summary, tmp_path)
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
    page.write(summary, "the command", pictures, tmp_path / "README.md", "What it says.")
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "the command" in text
    assert "| rapid k=4 | 0.0001 |" in text
    assert all(f"({picture.name})" in text for picture in pictures)


def test_a_spread_shows_how_many_seeds_never_got_there() -> None:
    assert tables.spread(vars(Spread.of([10.0, 12.0, 11.0]))) == "11 (10-12)"
    assert tables.spread(vars(Spread.of([10.0, None, 11.0]))) == "11 (10-never)"
    assert tables.spread(vars(Spread.of([10.0, None, None]))) == "1 of 3 seeds"
    assert tables.spread(vars(Spread.of([None, None]))) == "never"
