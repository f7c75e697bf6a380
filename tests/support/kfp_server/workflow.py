"""The nodes of Argo's workflow behind a run, and the tasks that Kubeflow makes of them.

As recorded on a cluster: every node is a Retry node with tries, because of the retry strategy that KFP sets for all
templates; drivers, graphs and pods are in one list; a node names those below it and those that wait for it.
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

UNFINISHED = "0001-01-01T00:00:00Z"
LIMIT = 1 << 20
"""Bytes from which on Argo compresses the nodes, which Kubeflow then no longer reads."""

RETRIES = 2
"""`limit` of the retry strategy in KFP's own configuration of Argo, whose policy is OnError."""

_NODE_BYTES = 7150
"""Mean size of a node as JSON in a recorded run."""


@dataclass
class _Node:
    name: str
    display: str
    state: str | None
    start: str
    end: str = UNFINISHED
    history: list[dict[str, str]] = field(default_factory=list)
    children: list[str] = field(default_factory=list)


class Workflow:
    """The nodes of one run.

    Args:
        specification: bytes of the workflow without its nodes.
    """

    def __init__(self, run_id: str, created: str, specification: int = 161_000) -> None:
        self.name = f"rapid-{run_id[:5]}"
        self._run_id, self._created, self._specification = run_id, created, specification
        self._nodes: dict[str, _Node] = {}
        self._listed: list[dict[str, Any]] = []

    def put(self, name: str, state: str | None, moment: str, after: str | None = None) -> None:
        """Add a node, or move it to another state.

        Args:
            name: full name without the workflow's, such as `(0).root(0).prepare`; empty for the root.
            state: as Kubeflow's; None for a node that is never executed.
            after: full name of the node that it waits for, below which it is named too; its parent by default.
        """
        node = self._nodes.get(name)
        if node is None:
            above = name.rpartition("(")[0] if name.endswith(")") and ":" not in name.rpartition("(")[2] else None
            display = (self.name + name).rpartition(".")[2]
            node = self._nodes[name] = _Node(name, display, state, moment)
            parent = after if after is not None else above if above is not None else name.rpartition(".")[0]
            if name and parent in self._nodes:
                self._nodes[parent].children.append(self.id_of(name))
        node.state = state
        if not node.history or node.history[-1].get("state") != state:
            node.history.append({"update_time": moment, **({"state": state} if state else {})})
        if state not in ("PENDING", "RUNNING"):
            node.end = moment
        self._list()

    def try_of(self, name: str, state: str | None, moment: str, after: str | None = None) -> str:
        """Put a Retry node and its newest try; return the name of the try."""
        self.put(name, "RUNNING" if state == "PENDING" else state, moment, after)
        newest = f"{name}({max(0, self._tries(name) - 1)})"
        self.put(newest, state, moment)
        return newest

    def vanish(self, name: str, moment: str) -> str:
        """Let the pod of a Retry node's newest try vanish; return the state of the Retry node.

        It is what Argo calls an error, and only after errors does the policy OnError try again.
        """
        self.put(self.try_of(name, "RUNNING", moment), "FAILED", moment)
        tries = self._tries(name)
        if tries > RETRIES:
            self.put(name, "FAILED", moment)
            return "FAILED"
        self.put(f"{name}({tries})", "PENDING", moment)
        return "RUNNING"

    def _tries(self, name: str) -> int:
        return next(number for number in range(RETRIES + 2) if f"{name}({number})" not in self._nodes)

    def finish(self, state: str, moment: str) -> None:
        """End all nodes that have not ended, as with the run: also the pods of a run that was cancelled are FAILED."""
        for name in [name for name, node in self._nodes.items() if node.state in ("PENDING", "RUNNING")]:
            self.put(name, state, moment)

    def id_of(self, name: str) -> str:
        number = 0x811C9DC5
        for byte in (self.name + name).encode():
            number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
        return f"{self.name}-{number}" if name else self.name

    def ids(self, until: str) -> set[str]:
        """Return the IDs of the nodes but the root that had started by then."""
        return {self.id_of(name) for name, node in self._nodes.items() if name and node.start <= until}

    def tasks(self) -> list[dict[str, Any]]:
        """Return what Kubeflow lists."""
        return self._listed

    def _list(self) -> None:
        if self._specification + _NODE_BYTES * len(self._nodes) > LIMIT:
            return
        self._listed[:] = [
            {
                "run_id": self._run_id,
                "task_id": str(uuid.uuid5(uuid.NAMESPACE_URL, self._run_id + node.name)),
                "display_name": node.display,
                "create_time": self._created,
                "start_time": node.start,
                "end_time": node.end,
                **({"state": node.state} if node.state else {}),
                "state_history": list(node.history),
                **({"child_tasks": [{"pod_name": child} for child in node.children]} if node.children else {}),
            }
            for node in self._nodes.values()
        ]
