"""The earlier runs whose completions a run trains on again (`data.replay`).

Prepare writes down how far each of them is. What it is continued by later is left alone, so that every start of this
run, in every layout, draws from the same completions.
"""

from typing import NamedTuple

from components.contract.errors import InputError
from components.contract.manifest import Timings
from components.contract.stage_digest import changed_options
from components.store.base import ObjectMissing
from components.store.run import Run, open_run, run_uri


class EarlierRun(NamedTuple):
    """A run that `data.replay` names.

    Attributes:
        iterations: those whose completions are drawn from.
        digest: of the weights of the last policy that these made, which stand for all that it was trained on.
    """

    run: Run
    iterations: int
    digest: str


def earlier_runs(run: Run) -> list[EarlierRun]:
    """Open the runs that `data.replay` names, as prepare has pinned them.

    Raises:
        InputError: one does not exist, or another has taken its name.
    """
    if not run.config.data.replay:
        return []
    pinned = run.directory(run.layout.earlier).require()
    return [_as_pinned(run, name, int(pinned.facts[name] or 0), pinned.inputs[name]) for name in run.config.data.replay]


def pin_earlier_runs(run: Run, timings: Timings) -> None:
    """Write down how far the runs of `data.replay` are, once. Raises InputError as `find_earlier_runs`."""
    tokenizer = str(run.policy(0).require().facts["tokenizer_digest"])
    found = find_earlier_runs(run, tokenizer, run.directory(run.layout.prompts).require().facts.get("date"))
    if not are_pinned(run):
        names = [other.run.layout.run for other in found]
        digests = {name: other.digest for name, other in zip(names, found, strict=True)}
        output = run.output("prepare", run.layout.earlier, digests)
        output.discard()
        output.commit(timings, {name: other.iterations for name, other in zip(names, found, strict=True)})


def are_pinned(run: Run) -> bool:
    """Return whether the runs that `data.replay` names now are pinned."""
    pinned = run.directory(run.layout.earlier).manifest() if run.config.data.replay else None
    return list(run.config.data.replay) == list(pinned.inputs if pinned else [])


def find_earlier_runs(run: Run, tokenizer: str, date: object) -> list[EarlierRun]:
    """Return the runs that `data.replay` names: as they are pinned, otherwise as they are now.

    Args:
        tokenizer: digest of this run's tokenizer and template.
        date: the day that its prompts hold, if any.

    Raises:
        InputError: one does not exist, is not finished, or its groups cannot share mini-batches with this run's: other
            tokenizer, template, temperature, group size or rewards.
    """
    found = earlier_runs(run) if are_pinned(run) else [finished_run(run, name) for name in run.config.data.replay]
    for other in found:
        _check_fit(run, tokenizer, date, other.run)
    return found


def finished_run(run: Run, name: str) -> EarlierRun:
    """Open a run that `data.replay` names. Raises InputError where it does not exist, or is not finished."""
    other = _open(run, name)
    iterations = other.trained()
    if not other.published() or not iterations:
        raise InputError(f"data.replay: run {name} has no finished training; continue it to its end, or leave it out")
    return EarlierRun(other, iterations, str(other.policy(iterations).require().facts["weights_digest"]))


def _as_pinned(run: Run, name: str, iterations: int, digest: str) -> EarlierRun:
    other = _open(run, name)
    policy = other.policy(iterations).manifest()
    if policy is None or policy.facts.get("weights_digest") != digest:
        raise InputError(
            f"data.replay: run {name} is not the one that run {run.layout.run} was prepared with; restore it, or start "
            "under another run.name"
        )
    return EarlierRun(other, iterations, digest)


def _open(run: Run, name: str) -> Run:
    try:
        return open_run(run_uri(run.store, name))
    except ObjectMissing as error:
        raise InputError(f"data.replay: {error}; name a finished run of the same store") from None


def _check_fit(run: Run, tokenizer: str, date: object, other: Run) -> None:
    name, ours, theirs = other.layout.run, run.config, other.config
    its_date = other.directory(other.layout.prompts).require().facts.get("date")
    for key, its, mine in (
        (
            "a tokenizer and template with digest",
            other.policy(0).require().facts["tokenizer_digest"],
            tokenizer,
        ),
        ("data.chat", theirs.data.chat, ours.data.chat),
        ("data.system_prompt", theirs.data.system_prompt, ours.data.system_prompt),
        # Equal questions are then equal tokens, by which held-out prompts are recognised.
        ("data.today", its_date, date),
        ("rollout.temperature", theirs.rollout.temperature, ours.rollout.temperature),
        ("rollout.group_size", theirs.rollout.group_size, ours.rollout.group_size),
    ):
        if its != mine:
            raise InputError(f"data.replay: run {name} has {key} {its}, this run {mine}; leave it out")
    if differences := changed_options(theirs, ours, ["reward"]):
        raise InputError(
            f"data.replay: run {name} has rewards by other settings than this run ({'; '.join(differences)}); "
            "leave it out"
        )
