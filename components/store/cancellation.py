"""Cancellation of a run: a mark in its store, for which every process of the run looks.

Marks are numbered and stay. A run that is started again withdraws those that are there, and a process looks for the
first that was not withdrawn when it opened the run. So what is left of a cancelled start ends even where the run goes
on meanwhile, and the next start is not taken for cancelled.
"""

import re
from contextlib import suppress

from components.contract.layout import RunLayout
from components.store.attempts import NoLongerWanted
from components.store.base import ObjectExists, Store

_MARK = re.compile(r"(\d+)(-withdrawn)?")


class RunCancelled(NoLongerWanted):
    """The run was cancelled after this process had opened it."""


def cancel(store: Store, layout: RunLayout) -> None:
    """Mark a run as cancelled: whatever has opened it commits nothing more, and ends within seconds."""
    newest, _ = _marks(store, layout)
    with suppress(ObjectExists):  # somebody else cancels it too
        store.create(layout.cancellation(newest + 1), b"")


def withdraw_cancellations(store: Store, layout: RunLayout) -> None:
    """Let processes that open the run from now on execute it."""
    newest, withdrawn = _marks(store, layout)
    if newest > withdrawn:
        with suppress(ObjectExists):
            store.create(layout.withdrawn_cancellation(newest), b"")


def next_cancellation(store: Store, layout: RunLayout) -> str:
    """Return the key of the mark that cancels a process which opens the run now; it may be there already."""
    _, withdrawn = _marks(store, layout)
    return layout.cancellation(withdrawn + 1)


def require_not_cancelled(store: Store, mark: str) -> None:
    """Raise RunCancelled where a mark of `next_cancellation` is there; an empty one never is."""
    if mark and store.exists(mark):
        raise RunCancelled("the run is cancelled; what is committed is kept, and its next start goes on from there")


def _marks(store: Store, layout: RunLayout) -> tuple[int, int]:
    """Return the numbers of the newest mark and of the newest that is withdrawn; 0 for none."""
    names = (info.key.rpartition("/")[2] for info in store.list(layout.cancellations))
    found = [match for name in names if (match := _MARK.fullmatch(name))]
    newest = max((int(match[1]) for match in found), default=0)
    return newest, max((int(match[1]) for match in found if match[2]), default=0)
