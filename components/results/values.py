"""Results of a run as named numbers, for charts and for the tasks of a pipeline."""

from components.contract.metrics import TrainMetrics
from components.results.round_results import RoundResult
from components.results.run_results import IterationResult, read_iteration
from components.store import Run


def iteration_values(iteration: IterationResult) -> dict[str, float]:
    """Return rewards, updates and times of a committed iteration."""
    assert iteration.train is not None
    assert iteration.time is not None
    assert iteration.sampled.train is not None
    split, train, time = iteration.sampled.train, iteration.train, iteration.time
    values: dict[str, float | None] = {
        "train_reward": split.reward,
        "guided_reward": iteration.sampled.guided.reward if iteration.sampled.guided else None,
        "guided_groups": iteration.sampled.guided_groups,
        "completion_tokens_mean": split.length,
        "truncated_share": split.truncated_share,
        "grading_failed_share": split.failed_share,
        "completions": iteration.sampled.completions,
        "dropped_groups": train.dropped_groups,
        "bad_groups": train.bad_groups,
        "ungraded_groups": train.ungraded_groups,
        "unused_groups": train.unused_groups,
        "skipped_steps": train.skipped,
        "ended_at": train.ended_at,
        "logprob_gap_mean": train.logprob_gap_mean,
        "logprob_gap_max": train.logprob_gap_max,
        "zero_signal_share": train.zero_signal_groups / train.groups if train.groups else None,
        "seconds": time.seconds,
        "compute_share": time.compute_share,
        **{f"seconds_{name}": stage.seconds for name, stage in time.stages.items()},
        **_replay_values(train),
    }
    if train.steps:
        shares = [step.effective_sample_share for step in train.steps]
        values["effective_sample_share"] = sum(shares) / len(shares)
        values["effective_sample_share_min"] = min(shares)
    return {key: value for key, value in values.items() if value is not None}


def _replay_values(train: TrainMetrics) -> dict[str, float]:
    """Return how many groups were chosen, left out and trained on once more, and how far away they are."""
    if not train.replay:
        return {}
    values: dict[str, float] = {
        "replay_chosen_groups": sum(groups.groups for groups in train.replay),
        "replay_left_out_groups": sum(groups.left_out for groups in train.replay),
        "replayed_groups": train.replayed_groups,
    }
    for groups in train.replay:
        source = f"age_{groups.age}" if groups.run is None else f"run_{groups.run}"
        values[f"replay_effective_sample_share_{source}"] = groups.effective_sample_share
        values[f"replay_log_ratio_mean_{source}"] = groups.log_ratio_mean
    return values


def iteration_numbers(run: Run, number: int) -> dict[str, float]:
    """Return everything that an iteration that has trained has numbers for."""
    result = read_iteration(run, number)
    assert result is not None
    numbers = run.directory(run.layout.train(number)).require().numbers
    return {**numbers, **iteration_values(result), **evaluation_values(result.sampled)}


def newest_iteration_numbers(run: Run) -> dict[str, float]:
    """Return the numbers of the last iteration that has trained; none before the first."""
    last = run.trained()
    return iteration_numbers(run, last) if last else {}


def evaluation_values(result: RoundResult) -> dict[str, float]:
    """Return scores on the held-out prompts of a round; empty where there are none."""
    if result.eval is None:
        return {}
    return {
        "eval_reward": result.eval.reward,
        "eval_truncated_share": result.eval.truncated_share,
        "eval_completion_tokens_mean": result.eval.length,
        **{f"pass_at_{k}": value for k, value in result.pass_at_k.items()},
    }
