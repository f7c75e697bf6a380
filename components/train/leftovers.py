"""Removal of the checkpoints inside a pass; imports nothing heavy."""

from components.contract.layout import manifest_key
from components.store import Run


def checkpoints(run: Run, iteration: int) -> set[int]:
    """Mini-batches behind every checkpoint of which anything is stored, whole or not."""
    root = run.layout.checkpoints(iteration)
    names = (info.key.removeprefix(f"{root}/").split("/")[0] for info in run.store.list(root))
    return {int(name) for name in names if name.isdecimal()}


def clear_checkpoints(run: Run, iteration: int, all_but: int | None = None) -> None:
    """Remove an iteration's checkpoints."""
    for done in checkpoints(run, iteration) - {all_but}:
        key = run.layout.checkpoint(iteration, done)
        # First what makes it count, so that a kill in between leaves no checkpoint with files missing.
        run.store.delete(manifest_key(key))
        for info in run.store.list(key):
            run.store.delete(info.key)
