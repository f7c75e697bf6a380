"""The compiled pipeline as tests read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.compilation import compile_pipeline

Tree = dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline.

    Attributes:
        spec: KFP's pipeline specification.
        settings: the Kubernetes settings of each executor, by its label.
    """

    text: str
    spec: Tree
    settings: Tree

    @property
    def graphs(self) -> dict[str, Tree]:
        """The root and every component that has tasks, by name."""
        return {
            name: part for name, part in {"root": self.spec["root"], **self.spec["components"]}.items() if "dag" in part
        }

    def tasks(self) -> Iterator[tuple[Tree, Tree]]:
        """Yield every task with the graph it is in."""
        for graph in self.graphs.values():
            for task in graph["dag"]["tasks"].values():
                yield graph, task

    def executor(self, task: Tree) -> str | None:
        """Return the label of the executor of a task that runs a container, else None."""
        label: str | None = self.spec["components"][task["componentRef"]["name"]].get("executorLabel")
        return label

    def container(self, stage: str) -> Tree:
        container: Tree = self.spec["deploymentSpec"]["executors"][f"exec-{stage}"]["container"]
        return container

    def kubernetes(self, stage: str) -> Tree:
        settings: Tree = self.settings[f"exec-{stage}"]
        return settings


def compiled(path: Path, cluster: ClusterConfig) -> Compiled:
    compile_pipeline(cluster).write(path)
    text = path.read_text(encoding="utf-8")
    spec, platform = yaml.safe_load_all(text)
    return Compiled(text, spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
