"""The compiled pipeline as tests read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.cluster.config import ClusterConfig
from pipelines.compilation import compile_pipeline

Tree = dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """Attributes:
    spec: the pipeline's specification.
    settings: by executor, what it asks of Kubernetes.
    """

    text: str
    spec: Tree
    settings: Tree

    @property
    def graphs(self) -> dict[str, Tree]:
        """The root and every component that holds tasks."""
        return {
            name: part for name, part in {"root": self.spec["root"], **self.spec["components"]}.items() if "dag" in part
        }

    def tasks(self) -> Iterator[tuple[Tree, Tree]]:
        """(graph, task) of every task."""
        for graph in self.graphs.values():
            for task in graph["dag"]["tasks"].values():
                yield graph, task

    def executor(self, task: Tree) -> str | None:
        """Of a task that runs a container."""
        label: str | None = self.spec["components"][task["componentRef"]["name"]].get("executorLabel")
        return label

    def container(self, stage: str) -> Tree:
        container: Tree = self.spec["deploymentSpec"]["executors"][f"exec-{stage}"]["container"]
        return container

    def asks(self, stage: str) -> Tree:
        asked: Tree = self.settings[f"exec-{stage}"]
        return asked


def compiled(path: Path, cluster: ClusterConfig) -> Compiled:
    compile_pipeline(path, cluster)
    text = path.read_text(encoding="utf-8")
    spec, platform = yaml.safe_load_all(text)
    return Compiled(text, spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"])
