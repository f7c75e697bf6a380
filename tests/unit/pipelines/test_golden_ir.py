"""The compiled pipeline is the one that was reviewed: tests/fixtures/ir, whose README says how to renew it."""

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.prepare.component import prepare
from components.publish.component import publish
from components.reward.component import reward
from components.rollout.component import rollout
from components.train.component import train
from components.trainjob.component import train_job
from pipelines.cluster.config import ClusterConfig
from tests.support.compiled import Compiled, compiled

GOLDEN = Path(__file__).parents[2] / "fixtures/ir"
CLUSTERS: dict[str, dict[str, Any]] = {
    "default": {"max_iterations": 2},
    "cpu": {"max_iterations": 2, "device": "cpu", "images": "localhost:5001/rapid:dev"},
    "pipelined": {"max_iterations": 2, "pipelined": True},
    "train-job": {"max_iterations": 2, "train_job": {"queue": "rapid"}},
}
CODE = {
    "prepare": prepare,
    "rollout": rollout,
    "reward": reward,
    "train": train,
    "train-job": train_job,
    "publish": publish,
}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_compiled_pipeline_is_the_reviewed_one(name: str, tmp_path: Path) -> None:
    text = reviewable(compiled(tmp_path / "rapid.yaml", ClusterConfig.model_validate(CLUSTERS[name])))
    path = GOLDEN / f"{name}.yaml"
    if os.environ.get("RAPID_RENEW_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def reviewable(pipeline: Compiled) -> str:
    """The IR with a word in the place of each stage's code, which is reviewed where it is written."""
    for label, executor in pipeline.spec["deploymentSpec"]["executors"].items():
        stage = label.removeprefix("exec-")
        *_, code = executor["container"]["command"]
        source = inspect.getsource(CODE[stage].python_func)
        assert source[source.index("def ") :].strip() in code
        executor["container"]["command"][-1] = f"code of components/{stage.replace('-', '')}/component.py"
    comments = [line for line in pipeline.text.splitlines(keepends=True) if line.startswith("#")]
    return "".join(comments) + yaml.safe_dump_all([pipeline.spec, pipeline.settings], sort_keys=True)
