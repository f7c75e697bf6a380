"""Deletion of what a run no longer needs: optimizer states, and policies beyond `train.keep_policies`.

Manifests stay: they say what there was. A kill in between leaves nothing behind for good, because each call goes down
from the newest that is not kept to the first that is gone, and deletes the oldest first.
"""

from collections.abc import Collection, Sequence
from itertools import takewhile

from components.contract.errors import InputError
from components.contract.manifest import Output
from components.results import best_first, evaluation_of
from components.runtime.progress import note
from components.store import OutputDirectory, Run

KEPT_OPTIMIZERS = 2


def delete_outdated(run: Run, iteration: int) -> None:
    """Delete what is not needed any more once an iteration is committed.

    Kept are the optimizer's state of the two newest iterations, and of policies the base policy, the newest
    `train.keep_policies`, the best one on held-out prompts, which may be published in the end, and those that were
    published.

    A store that refuses is named in a note, and the next iteration tries again.
    """
    try:
        _delete_outdated(run, iteration)
    except InputError as error:
        note(f"what iteration {iteration} has made superfluous is not deleted: {error}")


def _delete_outdated(run: Run, iteration: int) -> None:
    for older in range(iteration - KEPT_OPTIMIZERS, 0, -1):
        directory = run.directory(run.layout.train(older))
        if not _delete(directory, [o for o in _outputs(directory) if o.name.startswith("optimizer/")]):
            break
    if kept := run.config.train.keep_policies:
        _delete_policies(run, iteration - kept)


def _delete_policies(run: Run, newest: int) -> None:
    """Delete the policies up to `newest` but for the best of them and those that were published."""
    outdated = takewhile(run.keeps_policy, range(newest, 0, -1))
    candidates = {*outdated, *filter(run.keeps_policy, run.marked_best())}
    best = _best(run, candidates)
    if best is not None:
        run.mark_best(best)
    for version in sorted(candidates - {best}):
        if not run.is_published(version):
            _delete(run.policy(version), _outputs(run.policy(version)))
        run.unmark_best(version)


def _best(run: Run, versions: Collection[int]) -> int | None:
    """Return the policy with the highest pass@1, the earliest of equal ones; None where none was evaluated."""
    if run.config.data.eval_prompts == 0:
        return None
    evaluated = {version: found for version in versions if (found := evaluation_of(run, version))}
    return next(iter(best_first(evaluated)), None)


def _outputs(directory: OutputDirectory) -> Sequence[Output]:
    manifest = directory.manifest()
    return manifest.outputs if manifest else ()


def _delete(directory: OutputDirectory, outputs: Sequence[Output]) -> bool:
    """Delete committed files; return False where they had been deleted before."""
    keys = [f"{directory.key}/{output.path}" for output in outputs]
    if not keys or not directory.store.exists(keys[0]):
        return False
    for key in reversed(keys):  # the first one last, so that its absence means that all are gone
        directory.store.delete(key)
    return True
