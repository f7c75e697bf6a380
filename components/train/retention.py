"""Deletion of what a run no longer needs: optimizer states, and policies beyond `train.keep_policies`.

Manifests stay: they say what there was. A kill in between leaves nothing behind for good, because each call goes down
from the newest that is not kept to the first that is gone.
"""

from collections.abc import Sequence

from components.contract.errors import InputError
from components.contract.manifest import Output
from components.runtime.progress import note
from components.store import OutputDirectory, Run

KEPT_OPTIMIZERS = 2


def delete_outdated(run: Run, iteration: int) -> None:
    """Delete what is not needed any more once an iteration is committed.

    Kept are the optimizer's state of the two newest iterations, and of policies the base policy, the newest
    `train.keep_policies` and those that were published.

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
        for version in range(iteration - kept, 0, -1):
            if not run.is_published(version) and not _delete(run.policy(version), _outputs(run.policy(version))):
                break


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
