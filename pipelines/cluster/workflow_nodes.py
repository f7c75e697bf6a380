"""The places of a run's tasks in its graph.

Kubeflow lists the nodes of Argo's workflow without parents: several are called `rollout`, `executor(0)` or
`iteration-driver`. But each names the nodes below and behind it by their IDs, and Argo makes the ID of a node from the
names of all nodes above it (NodeID in argoproj/argo-workflows, pkg/apis/workflow/v1alpha1/workflow_types.go). So names
are put together from the root on until no further ID is found.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kfp_server_api import V2beta1PipelineTaskDetail as Task

_FNV_OFFSET, _FNV_PRIME, _32_BITS = 0x811C9DC5, 0x01000193, 0xFFFFFFFF
_TRIES = range(10)
_TRY = re.compile(r"\(\d+\)$")


@dataclass(frozen=True)
class Node:
    """A task with its place.

    Attributes:
        path: names from the root of the workflow down to this node, those of tries left out.
    """

    task: Task
    path: tuple[str, ...]


def find_nodes(tasks: Iterable[Task]) -> Iterator[Node]:
    """Yield the tasks whose place is known: all that a node with a place names, and that name one themselves."""
    tasks = list(tasks)
    named = {child.pod_name for task in tasks for child in task.child_tasks or ()}
    workflow = next((name.rpartition("-")[0] for name in named), None)
    if workflow is None:
        return
    known = {
        f"{workflow}-{hash_}": name for name, hash_ in _find_names(workflow, {t.display_name for t in tasks}, named)
    }
    for task in tasks:
        for child in task.child_tasks or ():
            name = _owner(known.get(child.pod_name, ""), task.display_name)
            if name is not None:
                yield Node(task, tuple(_TRY.sub("", part) for part in name.split(".")))
                break


def _find_names(workflow: str, displayed: set[str], ids: set[str]) -> Iterator[tuple[str, int]]:
    """Yield the full name of every node among the IDs, and the number in its ID."""
    steps = [*(f"({number})" for number in _TRIES), *(f".{name}" for name in sorted(displayed))]
    frontier = [(workflow, _fnv1a(workflow))]
    found = set()
    while frontier:
        name, state = frontier.pop()
        for step in steps:
            below = _fnv1a(step, state)
            if f"{workflow}-{below}" in ids and below not in found:
                found.add(below)
                frontier.append((name + step, below))
                yield name + step, below


def _owner(child: str, displayed: str) -> str | None:
    """Return the name of the node with a displayed name that has `child` as its try or directly below it."""
    above = _TRY.sub("", child) if _TRY.search(child) else child.rpartition(".")[0]
    return above if above.rpartition(".")[2] == displayed else None


def _fnv1a(text: str, state: int = _FNV_OFFSET) -> int:
    """Return the 32-bit FNV-1a hash, which goes on from the state of a prefix."""
    for byte in text.encode():
        state = ((state ^ byte) * _FNV_PRIME) & _32_BITS
    return state
