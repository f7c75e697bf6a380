"""The compiled pipeline and its variants match the files of tests/fixtures/ir, whose README says how to renew them."""

import importlib.util
import inspect
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cluster.cluster_config import ClusterConfig
from tests.support.compiled import Compiled, Tree, compiled

GOLDEN = Path(__file__).parents[2] / "fixtures/ir"
VARIANTS: dict[str, dict[str, Any]] = {
    "cpu": {"device": "cpu", "images": "localhost:5001/rapid:dev"},
    "pod": {"layout": "pod"},
    "tasks": {"layout": "tasks", "train_job": {"queue": "rapid"}},
    "train-job": {"train_job": {}},
}
FOLDERS = {"train-job": "trainjob"}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return reviewable(tmp_path_factory.mktemp("default"))


def test_the_compiled_pipeline_is_the_reviewed_one(default: Compiled) -> None:
    assert_reviewed("default.yaml", dump(documents(default)))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_from_the_default_as_reviewed(name: str, default: Compiled, tmp_path: Path) -> None:
    variant = reviewable(tmp_path, **VARIANTS[name])
    assert_reviewed(f"{name}.patch.yaml", dump(merge_patch(documents(default), documents(variant))))


def test_a_merge_patch_holds_every_difference() -> None:
    before = {"same": 1, "list": [1, 2], "tree": {"changed": "a", "removed": "b"}, "replaced": {"x": 1}}
    after = {"same": 1, "list": [1, 3], "tree": {"changed": "c", "added": {"y": 2}}, "replaced": "text"}
    patch = {"list": [1, 3], "tree": {"changed": "c", "removed": None, "added": {"y": 2}}, "replaced": "text"}
    assert merge_patch(before, after) == patch


def reviewable(folder: Path, **settings: Any) -> Compiled:
    """Compile a pipeline and put a label in the place of each stage's code, which is reviewed where it is written."""
    pipeline = compiled(folder / "rapid.yaml", ClusterConfig.model_validate({"max_iterations": 2, **settings}))
    for label, executor in pipeline.spec["deploymentSpec"]["executors"].items():
        stage = label.removeprefix("exec-")
        *_, code = executor["container"]["command"]
        executor["container"]["command"][-1] = f"code of {source_of(stage, code)}"
    return pipeline


def source_of(stage: str, code: str) -> str:
    """Return the file whose component function the code of an executor is."""
    folder = FOLDERS.get(stage, stage)
    for file in ("component", "follow_component"):
        if importlib.util.find_spec(name := f"components.{folder}.{file}"):
            function = getattr(importlib.import_module(name), stage.replace("-", "_")).python_func
            source = inspect.getsource(function)
            if source[source.index("def ") :].strip() in code:
                return f"components/{folder}/{file}.py"
    raise AssertionError(f"{stage}: the code is that of no component")


def documents(pipeline: Compiled) -> Tree:
    return {"pipeline": pipeline.spec, "kubernetes": pipeline.settings}


def merge_patch(before: Tree, after: Tree) -> Tree:
    """Return the JSON merge patch (RFC 7396) from one tree to another; the trees hold no null."""
    patch: Tree = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if value != old:
            patch[key] = merge_patch(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return patch


def dump(tree: Tree) -> str:
    return yaml.safe_dump(tree, default_flow_style=None, sort_keys=True, width=120)


def assert_reviewed(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("RAPID_RENEW_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
