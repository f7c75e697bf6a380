"""Outputs whose inputs are replaced while they are made.

A train stage that is killed after it committed its policy repeats the iteration. If the weights then differ, that
policy is replaced, and what other workers have made from it is discarded.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from components.contract.errors import InputError
from components.contract.manifest import Manifest
from components.store import NoLongerWanted, OutputDirectory, StageOutput
from components.store.base import StoreUnavailable


class InputsReplaced(InputError):
    """An input of an output is gone or has been replaced; once it is there again, the output is to be made anew."""


def require_input(directory: OutputDirectory) -> Manifest:
    """Return the manifest of an input. Raises InputsReplaced where there is none, though a worker may have seen it."""
    manifest = directory.manifest()
    if manifest is None:
        raise InputsReplaced(f"{directory.uri} has no manifest: the stage that writes it has not finished")
    return manifest


@contextmanager
def discarded_if_replaced(output: StageOutput, inputs: Callable[[], Mapping[str, str]]) -> Iterator[None]:
    """Discard an output if its inputs change until the block, which makes and commits it, has ended.

    Args:
        inputs: looks up name and digest of what is committed now, by `require_input`.

    Raises:
        InputsReplaced: they have changed.
    """
    try:
        yield
    except (NoLongerWanted, StoreUnavailable):
        raise
    except InputError:  # perhaps because a file has gone with the input
        if not _changed(output, inputs):
            raise
    else:
        if not _changed(output, inputs):
            return
    if output.attempt:
        output.attempt.require_newest()
    output.discard()
    raise InputsReplaced(f"{output.uri} is discarded: what it was made from has been replaced meanwhile")


def require_unchanged(output: StageOutput, inputs: Callable[[], Mapping[str, str]]) -> None:
    """Raise InputsReplaced where the inputs of an output have changed."""
    if _changed(output, inputs):
        raise InputsReplaced(
            f"what {output.uri} is made from has been replaced meanwhile; start the same command again"
        )


def _changed(output: StageOutput, inputs: Callable[[], Mapping[str, str]]) -> bool:
    try:
        return dict(inputs()) != dict(output.inputs)
    except InputsReplaced:
        return True
