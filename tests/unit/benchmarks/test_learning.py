"""From runs to figures, tables, pictures and page; tasks; configurations of all variants."""

import json
import random
from dataclasses import replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pytest

from benchmarks.learning import drive, page, plots, tables
from benchmarks.learning.analysis import (
    Spread,
    area,
    at_cost,
    compute_seconds,
    over_an_iteration,
    reached,
    steps,
    wall_seconds,
)
from benchmarks.learning.drive import best_rate
from benchmarks.learning.jobs import Job, JobFiles, RunFailed, configuration
from benchmarks.learning.records import STEP_FIGURES, Point, Record, seconds_worked
from benchmarks.learning.summary import by_variant, machine, task_summary, variant_figures
from benchmarks.learning.tasks import TASKS, Task
from benchmarks.learning.variants import ABLATIONS, BREAKING, FIELD, Variant
from benchmarks.training.report import RESULTS
from components.contract.config import RunConfig
from components.contract.layout import Round
from components.results import read_run
from components.store import Run
from tests.support import fake_run
from tests.support.fake_run import START, FakeRun

GRPO, RAPID = Variant("grpo", {"name": "grpo"}), Variant("rapid k=4", {"name": "rapid"}, 4)


def point(step: int, score: float, sampling: float, updates: int = 1) -> Point:
    seconds = {"sampling": sampling, "updating": float(step), "grading": 0.5, "wall": 20.0 + 5.0 * step}
    return Point(step, step // updates, 32 * step, score, min(1.0, score + 0.1), seconds)


def made(
    variant: Variant, scores: list[float], seed: int = 0, rate: float = 1e-4, sampling_per_step: float = 1.0
) -> Record:
    """Evaluated every four steps."""
    points = [point(4 * i, score, 4 * i * sampling_per_step, variant.updates) for i, score in enumerate(scores)]
    last = points[-1].step
    figures = {name: [1.0 - 0.1 * (i % variant.updates) for i in range(last)] for name in STEP_FIGURES}
    updates = [variant.updates] * (last // variant.updates)
    return Record(Job("addition", variant, rate, seed, last), points, figures, updates, [])


def test_a_target_is_reached_by_the_first_policy_that_is_there() -> None:
    run = made(GRPO, [0.5, 0.7, 0.65, 0.9])
    assert reached(run, 0.7, steps) == 4
    assert reached(run, 0.71, steps) == 12
    assert reached(run, 0.71, compute_seconds) == 24.0
    assert reached(run, 0.71, wall_seconds) == 80.0
    assert reached(run, 0.95, steps) is None


def test_at_equal_cost_the_last_policy_within_it_counts() -> None:
    run = made(GRPO, [0.5, 0.7, 0.65, 0.9])
    assert at_cost(run, 11, steps).step == 8
    assert at_cost(run, 24.0, compute_seconds).step == 12


def test_the_area_is_the_mean_between_evaluations() -> None:
    assert area(made(GRPO, [0.5, 0.7, 0.9])) == pytest.approx(0.7)


def test_the_best_rate_is_that_of_the_highest_accuracy_over_the_run() -> None:
    swept = {"grpo": {"5e-05": 0.7, "0.0001": 0.8, "0.0002": 0.75}, "rapid k=16": {"0.0001": 0.7, "0.0004": 0.9}}
    assert best_rate(swept, GRPO) == 1e-4
    # Never searched: on-policy as GRPO, reusing batches as RAPID.
    assert best_rate(swept, Variant("pg", {"name": "pg"})) == 1e-4
    assert best_rate(swept, RAPID) == 4e-4


def test_every_task_has_a_learning_rate_for_every_variant() -> None:
    rates = json.loads((RESULTS / "algorithms" / "rates.json").read_text(encoding="utf-8"))
    for name, make in TASKS.items():
        searched = make().rates
        assert all(best_rate(rates[name], variant) in searched for variant in FIELD)


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
    run = made(RAPID, [0.5, 0.6])
    cut = Record(run.job, run.points, {"kl": [1.0, 2.0, 3.0, 5.0, 4.0]}, [2, 3], ["iteration 1: too far"])
    assert over_an_iteration(cut, "kl") == [2.0, 3.5, 4.0]


def test_a_stopped_run_counts_until_its_last_commit_and_from_its_next_start() -> None:
    at = [START + timedelta(seconds=seconds) for seconds in (0, 10, 30, 1000, 1025, 2000)]
    start, first, second, again, third, _ = at
    commits = [first, second, third]
    assert seconds_worked(first, [start], commits) == 10
    assert seconds_worked(third, [start], commits) == 1025
    assert seconds_worked(second, [start, again], commits) == 30
    assert seconds_worked(third, [start, again], commits) == 30 + 25
    # A start that committed nothing costs nothing.
    assert seconds_worked(third, [start, again - timedelta(seconds=60), again], commits) == 30 + 25


@pytest.fixture
def eight_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_run, "SAMPLES", 8)


def finish(run: Run, iterations: int) -> None:
    """Give a run synthetic outputs up to its report."""
    fake = FakeRun(run)
    fake.prepare(run.config.data.eval_prompts)
    for number in range(1, iterations + 1):
        fake.iteration(number)
    fake.round(Round.evaluation(iterations))
    report = run.output("publish", run.layout.report, {})
    report.write("index.html", b"")
    report.commit(fake.spend(1.0), {"policy_version": iterations})


@pytest.mark.usefixtures("eight_samples")
def test_missing_runs_are_started_and_finished_ones_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job("addition", Variant("rapid k=16", {"name": "rapid"}, 16), 1e-4, 0, 32)
    kept = tmp_path / "records.jsonl"
    assert drive.Runs(tmp_path, None, kept).finished([job]) == []

    def run(files: JobFiles, config: RunConfig, _: object) -> None:
        started.append(files)
        finish(files.open(config), config.loop.iterations)

    started: list[JobFiles] = []
    monkeypatch.setattr(drive, "make_base_policy", lambda *_: None)
    monkeypatch.setattr(JobFiles, "run", run)
    monkeypatch.setattr(JobFiles, "starts", [START])
    for _ in range(2):
        drive.Runs(tmp_path, None, kept).finish([job])
    # Reported without those that are missing.
    (read,) = drive.Runs(tmp_path, None, kept).finished([job, replace(job, seed=1)])
    # What was measured outlives the runs.
    (again,) = drive.Runs(tmp_path / "elsewhere", None, kept).finish([job])
    assert again.points[-1].seconds["wall"] == pytest.approx(read.points[-1].seconds["wall"], rel=1e-5)
    assert (again.updates, again.ended_early, again.figures.keys()) == (
        read.updates,
        read.ended_early,
        read.figures.keys(),
    )
    assert len(started) == 1
    results = read_run(started[0].open(configuration(job, TASKS["addition"](), started[0].folder)))

    assert [(p.iteration, p.step, p.completions) for p in read.points] == [(0, 0, 0), (1, 16, 48), (2, 32, 96)]
    assert [p.pass_at_1 for p in read.points] == [r.pass_at_k[1] for r in results.evaluated.values()]
    base, middle, last = (p.seconds for p in read.points)
    assert base == {"sampling": 0, "updating": 0, "grading": 0, "wall": 11.0}
    # 12 s of sampling, of which 6 of 102 prompts are training prompts.
    assert middle["sampling"] == pytest.approx(12 * 6 / 102, rel=0.3)
    assert (middle["updating"], last["updating"]) == (10.0, 20.0)
    assert results.iterations[0].finished
    assert middle["wall"] == (results.iterations[0].finished - START).total_seconds()
    assert read.updates == [16, 16]
    assert len(read.figures["kl"]) == 32


def test_figures_need_the_reference() -> None:
    with pytest.raises(RunFailed, match=r"no run of grpo is finished on any task"):
        drive.summarise([])
    with pytest.raises(RunFailed, match=r"no run of grpo is finished on addition"):
        drive.summarise([made(RAPID, [0.5, 0.7])])
    assert list(drive.summarise([made(RAPID, [0.5, 0.7]), made(GRPO, [0.5, 0.7])])) == ["addition"]


def test_a_run_without_updates_has_figures() -> None:
    assert area(made(GRPO, [0.5])) == 0.5
    assert variant_figures(by_variant([made(GRPO, [0.5])]))["grpo"]["seconds_per_step"]["sampling"] == 0.0


def test_a_failed_run_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    job = Job("addition", RAPID, 1e-4, 0, 8)
    files = JobFiles(job, tmp_path)
    config = configuration(job, TASKS["addition"](), tmp_path)
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"status 1; its output is in .*rapid-k4\.0\.0001\.seed0\.log"):
            files.run(config, None)
    assert len(files.starts) == 2


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
def test_a_share_of_the_demonstrations_is_wrong_and_their_grader_says_so(task: Task) -> None:
    from components.reward.graders.reasoning_gym import reasoning_gym

    answers = {p.prompt: p for p in task.train}
    samples = list(islice(task.demonstrations(0), 1000))
    mistakes = [(answers[prompt], said) for prompt, said in samples if said != answers[prompt].answer]
    assert len(mistakes) / len(samples) == pytest.approx(task.wrong_share, abs=0.05)
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
        config = configuration(Job("addition", variant, 1e-4, 0, 300), task, Path("folder"))
        assert config.train.updates.most == variant.updates
        assert 0 <= config.loop.iterations * variant.updates - 300 * variant.longer < variant.updates
    assert len({variant.name for variant in variants}) == len(variants)


def test_every_figure_finds_its_place_in_tables_pictures_and_page(tmp_path: Path) -> None:
    field = by_variant(
        made(variant, [0.5, 0.7, 0.85, 0.95], seed, sampling_per_step=cost)
        for seed in range(2)
        for variant, cost in ((GRPO, 1.0), (RAPID, 0.5))
    )
    task = {"description": "sums", **task_summary(field)}
    # 8 steps to 0.8: GRPO 8 x (1 + 1) s; RAPID 8 x (0.5 + 1) s.
    assert task["field"]["rapid k=4"]["over_reference"]["compute"]["0.8"] == pytest.approx(12 / 16)
    assert task["field"]["rapid k=4"]["to_target"]["wall"]["0.8"]["median"] == 60.0
    summary = {
        "machine": machine(),
        "settings": {"seeds": 2, "steps": 12},
        "tasks": {"addition": json.loads(json.dumps(task))},
    }
    pictures = plots.draw(summary, tmp_path)
    assert all(picture.stat().st_size > 10_000 for picture in pictures)
    page.write(summary, {"addition": {"grpo": {"0.0001": 0.7}}}, "the command", pictures, tmp_path / "figures.md")
    text = (tmp_path / "figures.md").read_text(encoding="utf-8")
    assert "the command" in text
    assert "| rapid k=4 | 0.0001 |" in text
    assert all(f"({picture.name})" in text for picture in pictures)
    assert "| grpo | 0.700 |" in text


def test_ablations_have_a_page_of_their_own(tmp_path: Path) -> None:
    studies = variant_figures(by_variant(made(variant, [0.5] * 17) for variant in ABLATIONS))
    picture = plots.draw_ablations({"addition": studies}, tmp_path / "ablations.png")
    summary = {"seeds": 1, "steps": 64, "tasks": {"addition": studies}}
    page.write_ablations(summary, "the command", picture, tmp_path / "ablations.md")
    text = (tmp_path / "ablations.md").read_text(encoding="utf-8")
    assert "| rapid, C=1 k=64 | 0.500 ± 0.000 |" in text
    assert "(ablations.png)" in text


def test_a_spread_shows_how_many_seeds_never_got_there() -> None:
    assert tables.spread(vars(Spread.of([10.0, 12.0, 11.0]))) == "11 (10-12)"
    assert tables.spread(vars(Spread.of([10.0, None, 11.0]))) == "11 (10-never)"
    assert tables.spread(vars(Spread.of([10.0, None, None]))) == "1 of 3 seeds"
    assert tables.spread(vars(Spread.of([None, None]))) == "never"
