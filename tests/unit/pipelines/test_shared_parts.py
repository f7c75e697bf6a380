"""Equal parts of a compiled pipeline become one."""

from typing import Any

from pipelines.compilation import share_equal_parts


def task(component: str) -> dict[str, Any]:
    return {"componentRef": {"name": component}}


def graph(*components: str) -> dict[str, Any]:
    return {"dag": {"tasks": {f"task-{number}": task(name) for number, name in enumerate(components)}}}


def pipeline() -> dict[str, Any]:
    """Two copies of a nested pipeline, each with a copy of its stage, and a stage of other code."""
    return {
        "root": graph("comp-nested", "comp-nested-2", "comp-other"),
        "components": {
            "comp-nested": graph("comp-stage"),
            "comp-nested-2": graph("comp-stage-2"),
            "comp-other": {"executorLabel": "exec-other"},
            "comp-stage": {"executorLabel": "exec-stage"},
            "comp-stage-2": {"executorLabel": "exec-stage-2"},
        },
        "deploymentSpec": {
            "executors": {
                "exec-other": {"container": {"image": "other"}},
                "exec-stage": {"container": {"image": "stage"}},
                "exec-stage-2": {"container": {"image": "stage"}},
            }
        },
    }


def platform(**settings: dict[str, Any]) -> dict[str, Any]:
    executors = {name.replace("_", "-"): asked for name, asked in settings.items()}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}


def test_copies_become_one_from_the_stage_up() -> None:
    spec, asked = pipeline(), platform(exec_stage={"a": 1}, exec_stage_2={"a": 1}, exec_other={"a": 1})
    share_equal_parts(spec, asked)
    assert spec["root"] == graph("comp-nested", "comp-nested", "comp-other")
    assert spec["components"].keys() == {"comp-nested", "comp-other", "comp-stage"}
    assert spec["deploymentSpec"]["executors"].keys() == {"exec-other", "exec-stage"}
    assert asked == platform(exec_stage={"a": 1}, exec_other={"a": 1})


def test_stages_that_ask_for_something_else_stay_apart() -> None:
    spec, asked = pipeline(), platform(exec_stage={"a": 1}, exec_stage_2={"a": 2})
    share_equal_parts(spec, asked)
    assert (spec, asked) == (pipeline(), platform(exec_stage={"a": 1}, exec_stage_2={"a": 2}))


def test_a_pipeline_that_asks_nothing_of_kubernetes() -> None:
    spec, asked = pipeline(), {}
    share_equal_parts(spec, asked)
    assert len(spec["components"]) == 3
    assert asked == {}
