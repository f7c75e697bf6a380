from pathlib import Path

from components.contract.layout import Round
from components.contract.metrics import TrainMetrics
from components.results import evaluation_warnings, read_run, run_warnings
from tests.support.fake_run import FakeRun, finished_run, prepared_run


def found(fake: FakeRun) -> str:
    results = read_run(fake.run)
    return "\n".join(run_warnings(results) + evaluation_warnings(fake.run.config, results))


def test_a_healthy_run_has_none(tmp_path: Path) -> None:
    assert found(finished_run(tmp_path)) == ""


def test_failing_graders(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.round(Round.iteration(1), status="timeout")
    assert "Grading failed for 100% of the completions of the held-out prompts in iteration 1" in found(fake)
    assert "20 timeout" in found(fake)


def test_equal_rewards(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.round(Round.iteration(1), pass_rate=1.0)
    assert "All 24 completions of the training prompts in iteration 1 earned the same reward, 1." in found(fake)


def test_what_the_train_stage_reports(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    original = fake._metrics

    def sick(iteration: int, outcome: str) -> TrainMetrics:
        changes = {
            "zero_signal_groups": 6,
            "logprob_gap_mean": 0.05,
            "unused_groups": 4,
            "ended_early": "effective sample share 0.02 below 0.1 at step 3",
        }
        return original(iteration, outcome).model_copy(update=changes)

    fake._metrics = sick  # type: ignore[method-assign]
    fake.iteration(1)
    text = found(fake)
    assert "Iteration 1 ended its updates early and left 4 of 6 groups unused: effective sample share 0.02" in text
    assert "nothing to learn" in text
    assert "disagreed by 0.050 nats" in text


def test_a_gap_that_jumps_is_named_and_noise_is_not(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    original, gaps = fake._metrics, {1: 2e-7, 2: 8e-6, 3: 3e-7, 4: 4e-4, 5: 2e-7}

    def measured(iteration: int, outcome: str) -> TrainMetrics:
        return original(iteration, outcome).model_copy(update={"logprob_gap_mean": gaps[iteration]})

    fake._metrics = measured  # type: ignore[method-assign]
    for iteration in gaps:
        fake.iteration(iteration)
    (line,) = [line for line in found(fake).splitlines() if "disagreed" in line]
    assert line.startswith("In iteration 4 engine and trainer disagreed by 0.0004 nats a token, 1333 times the median")
