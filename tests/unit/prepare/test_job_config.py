"""The configuration of a job of Kubeflow, and the run that it begins or continues."""

from pathlib import Path
from typing import Any

import pytest

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.job import NO_JOB, Job
from components.contract.layout import RunLayout
from components.prepare.job_config import job_config
from components.prepare.stage import what_a_job_does
from components.store import Run, open_store
from tests.support.fake_run import finished_run

TEXT = "{run: adder, model: owner/name, data: s3://b/d/, loop: {iterations: 9}}"
JOB = Job("fbd2cb2e-ab3d-4a02-8feb-e3bd41b8b0c1", "", "2026-11-28T18:44:16Z")


def made(config: str = TEXT, job: Job = JOB, **given: Any) -> RunConfig:
    return job_config(config, **{"run": "", "model": "", "data": "", "iterations": -1, **given}, job=job)


def test_parameters_go_before_the_configuration() -> None:
    found = made(run="n-{due}", model="s3://b/m", iterations=0)
    assert (found.run.name, found.model.path, found.data.train, found.loop.iterations) == (
        "n-20261128-1844-fbd2cb2e",
        "s3://b/m",
        "s3://b/d/",
        0,
    )
    assert made().run.name == "adder-fbd2cb2e"
    assert made(job=NO_JOB).run.name == "adder"
    assert made(run="2026").run.name == "2026"


@pytest.mark.parametrize(
    ("config", "given", "message"),
    [
        ("  ", {}, "config is empty: give the text of a configuration, or its place, s3://bucket/my.yaml"),
        (TEXT, {"run": "a b"}, "run: name"),
        ("s3://Bad_Bucket/my.yaml", {}, "is not a bucket name"),
    ],
)
def test_what_is_refused(config: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        made(config, **given)


@pytest.fixture
def finished(tmp_path: Path) -> Run:
    """Two of two iterations, published."""
    run = finished_run(tmp_path, tracking={"enabled": False}).run
    output = run.output("publish", run.layout.report, {})
    output.commit(run.directory(run.layout.train(1)).require().timings, {"policy_version": 2, "pass_at_1": 0.5})
    return run


def test_a_copied_job_that_would_do_nothing_is_refused(finished: Run) -> None:
    name = finished.config.run.name
    for job in (Job("id", f"Clone of {name}"), Job("id", "")):
        with pytest.raises(InputError, match="is finished, with 2 iterations trained and published") as refused:
            what_a_job_does(finished, job)
        assert "leave the parameter run empty or give it a new name (in a schedule NAME-{due})" in str(refused.value)
        assert f"to go on with {name} raise the parameter iterations" in str(refused.value)
    # Submitted by rapid under its name, or with more to do.
    assert what_a_job_does(finished, Job("id", name)) == f"run {name} goes on after 2 of 2 iterations"
    more = finished.config.model_copy(update={"loop": finished.config.loop.model_copy(update={"iterations": 3})})
    longer = Run(finished.store, finished.layout, more)
    assert what_a_job_does(longer, Job("id", f"Clone of {name}")) == f"run {name} goes on after 2 of 3 iterations"


def test_a_job_that_begins_a_run(tmp_path: Path) -> None:
    run = Run(open_store(str(tmp_path)), RunLayout("new"), made())
    assert what_a_job_does(run, JOB) == "run new begins"
