"""A run as Kubeflow returns it: its name, parameters and tasks."""

import json
from pathlib import Path

import kfp_server_api as kfp
import pytest

from components.contract.errors import InputError
from components.contract.resolve import config_json, parse_config
from pipelines.cluster.runs import parameters, run_config, run_name, run_state, was_cancelled
from pipelines.cluster.task_details import TaskDetails
from pipelines.cluster.watcher import Watcher

FIXTURES = Path(__file__).parents[3] / "fixtures/kfp"
CONFIG = json.dumps(
    {"run": "nightly", "store": "s3://b/p", "model": "owner/name", "data": "s3://b/d/", "loop": {"iterations": 9}}
)


def run(**fields: object) -> kfp.V2beta1Run:
    return kfp.V2beta1Run(run_id="the-id", display_name="shown", **fields)


def given(**values: object) -> kfp.V2beta1RuntimeConfig:
    return kfp.V2beta1RuntimeConfig(parameters=values)


def test_parameters_go_before_the_configuration_and_numbers_may_be_floats() -> None:
    found = run(runtime_config=given(config=CONFIG, run="hot", model="s3://b/m", data="", iterations=3.0))
    config = run_config(found)
    assert (config.run.name, config.model.path, config.data.train) == ("hot", "s3://b/m", "s3://b/d/")
    assert config.loop.iterations == 3
    assert run_config(run(runtime_config=given(config=CONFIG, run="2026", model="null"))).run.name == "2026"
    assert run_config(run(runtime_config=given(config=CONFIG, iterations=-1))).loop.iterations == 9


def test_a_firing_has_the_name_that_prepare_makes_of_its_time() -> None:
    """Kubeflow's API gives the time as `scheduled_at` that the driver gives to prepare."""
    found = recorded("firing")
    found.runtime_config.parameters |= {"run": "nightly-{due}", "config": CONFIG}
    assert found.scheduled_at < found.created_at
    assert run_name(found) == parameters(found)["run"] == run_config(found).run.name == "nightly-20261128-1844-fbd2cb2e"


def test_a_job_without_a_name_has_the_configurations_and_its_own() -> None:
    for config in (CONFIG, config_json(parse_config(CONFIG))):
        found = run(runtime_config=given(config=config))
        assert run_name(found) == run_config(found).run.name == "nightly-the-id"
    # A list does not wait for object storage.
    assert run_name(run(runtime_config=given(config="s3://b/my.yaml"))) == "shown"


def test_a_run_of_another_program() -> None:
    assert run_name(run()) == "shown"
    with pytest.raises(InputError, match="run shown belongs to another program"):
        run_config(run())


def recorded(name: str) -> kfp.V2beta1Run:
    """Return a run as Kubeflow Pipelines 2.17 on a cluster returned it, without what is not read."""

    class Answer:
        data = (FIXTURES / f"{name}.json").read_text(encoding="utf-8")

    found: kfp.V2beta1Run = kfp.ApiClient().deserialize(Answer, "V2beta1Run")
    return found


def test_the_task_whose_process_was_killed_is_named_with_its_iteration() -> None:
    found = recorded("failed")
    assert TaskDetails(found).failed() == ["iteration 1, rollout"]
    assert (run_state(found), was_cancelled(found)) == ("failed", False)
    stages = {name: task.state for name, task in TaskDetails(found).stages()}
    assert stages["prepare"] == "SUCCEEDED"
    assert stages["iteration 1, rollout"] == "FAILED"


def test_a_cancelled_run_which_kubeflow_calls_failed_is_called_cancelled() -> None:
    found = recorded("cancelled")
    assert found.state == "FAILED"
    assert (run_state(found), was_cancelled(found)) == ("cancelled", True)


def test_what_was_running_when_a_run_was_cancelled_has_not_failed() -> None:
    found = recorded("failed")
    assert "iteration 1, rollout: failed" in Watcher(None, found).stages()
    cancelled = recorded("cancelled")
    found.state_history = cancelled.state_history
    assert not [line for line in Watcher(None, found).stages() if line.endswith("failed")]


def test_where_no_task_of_the_pipeline_failed_its_drivers_are_named() -> None:
    details = TaskDetails(recorded("no-service-account"))
    assert (details.failed(), details.failed_drivers()) == ([], ["the run"])
    assert details.failures()[0].startswith("the driver of the run failed: drivers fail where")
