"""The earlier runs whose completions a run trains on again (`data.replay`)."""

from components.contract.errors import InputError
from components.store.run import Run, open_run, run_uri


def earlier_runs(run: Run) -> list[Run]:
    """Open the runs that `data.replay` names.

    Raises:
        InputError: one does not exist, is not finished, or its groups cannot share mini-batches with this run's: other
            tokenizer, template, temperature, group size or graders.
    """
    return [_open(run, name) for name in run.config.data.replay]


def _open(run: Run, name: str) -> Run:
    other = open_run(run_uri(run.store, name))
    if not other.published() or not other.trained():
        raise InputError(f"data.replay: run {name} has no finished training; continue it to its end, or leave it out")
    mine = _in_common(run)
    for key, its in _in_common(other).items():
        if its != mine[key]:
            raise InputError(f"data.replay: run {name} has {key} {its}, this run {mine[key]}; leave it out")
    return other


def _in_common(run: Run) -> dict[str, object]:
    """Return by name what runs whose groups share mini-batches must have in common."""
    config = run.config
    return {
        "a tokenizer and template with digest": run.policy(0).require().facts["tokenizer_digest"],
        "data.chat": config.data.chat,
        "data.system_prompt": config.data.system_prompt,
        # Equal questions are then equal tokens, by which held-out prompts are recognised.
        "data.today": run.directory(run.layout.prompts).require().facts.get("date"),
        "rollout.temperature": config.rollout.temperature,
        "rollout.group_size": config.rollout.group_size,
        "reward.graders": [grader.name for grader in config.reward.graders],
    }
