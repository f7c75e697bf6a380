"""A server, a configuration that suits it, and the `rapid` command in this process."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from pipelines.cli.main import main
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.compilation import CompiledPipeline
from pipelines.compilation import compile_pipeline as really_compile
from tests.support.kfp_server import Cluster, KfpServer, kfp_server

CONFIG = {
    "run": {"name": "adder"},
    "store": {"uri": "s3://bucket/fine-tunes"},
    "model": {"path": "owner/model", "dtype": "float32", "max_length": 64},
    "data": {"train": "s3://bucket/prompts.jsonl", "eval_prompts": 4},
    "rollout": {"group_size": 4, "max_tokens": 16},
    "reward": {"graders": [{"name": "exact"}]},
    "train": {"updates": 2, "mini_batch_prompts": 2},
    "evaluate": {"samples": 4, "pass_k": [1, 4]},
    "loop": {"iterations": 2},
}


@dataclass(frozen=True)
class Said:
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a mistake is answered with."""
        assert "Traceback" not in self.out + self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith("error: ")]
        return line


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing that this machine knows of clusters, and wide lines."""
    for name in list(os.environ):
        if name.startswith(("KF_PIPELINES_", "RAPID_KFP_", "KUBE", "MLFLOW_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("pipelines.cluster.watcher.POLL_SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def compiled_once(compiled: dict[str, CompiledPipeline], monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that were compiled before are not compiled again: it takes seconds."""

    def compile_pipeline(cluster: ClusterConfig) -> CompiledPipeline:
        key = cluster.model_dump_json()
        if key not in compiled:
            compiled[key] = really_compile(cluster)
        return compiled[key]

    monkeypatch.setattr("pipelines.compilation.compile_pipeline", compile_pipeline)


@pytest.fixture(scope="session")
def compiled() -> dict[str, CompiledPipeline]:
    return {}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    with kfp_server() as served:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", served.url)
        yield served
        assert not served.violations


@pytest.fixture
def team_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    """A Kubeflow with several users."""
    with kfp_server(Cluster(multi_user=True)) as served:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", served.url)
        yield served
        assert not served.violations


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A cluster file of layout tasks, whose pipeline compiles fast."""
    path = tmp_path / "cluster.yaml"
    path.write_text("{layout: tasks, max_iterations: 2}\n", encoding="utf-8")
    return path


@pytest.fixture
def rapid(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    def run(*words: str | Path) -> Said:
        monkeypatch.setattr("sys.argv", ["rapid", *map(str, words)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        else:
            status = 0
        out, err = capsys.readouterr()
        assert isinstance(status, int)
        return Said(status, out, err)

    return run
