"""The prepare stage in a process of its own, for the pipeline; and the runs that a compiled pipeline refuses."""

import sys

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.job import Job
from components.contract.resolve import config_json
from components.prepare.stage import with_absolute_paths
from components.runtime.log_writer import leave_refusal
from components.runtime.parent import Limits, run_children
from components.runtime.processes import Child
from components.runtime.scratch import scratch_directory
from components.store import open_store, run_uri
from components.store.attempt_logs import LogPlace


def refuse_other_layout(config: RunConfig, layout: str, max_iterations: int, train_job: bool) -> None:
    """Refuse a run that a pipeline cannot execute as it was compiled; the reason is left in the run's log.

    Raises:
        InputError: with that reason.
    """
    try:
        _check_layout(config, layout, max_iterations, train_job)
    except InputError as error:
        leave_refusal(LogPlace(_uri(config), "prepare"), error)
        raise


def _uri(config: RunConfig) -> str:
    return run_uri(open_store(with_absolute_paths(config).store.uri), config.run.name)


def _check_layout(config: RunConfig, layout: str, max_iterations: int, train_job: bool) -> None:
    loop, nodes = config.loop, config.train.nodes
    if layout == "tasks" and loop.iterations > max_iterations:
        raise InputError(
            f"loop.iterations = {loop.iterations}, but this pipeline of layout tasks was compiled for at most "
            f"{max_iterations}; compile it with a larger --max-iterations, or with --layout workers or pod, which "
            "have no limit"
        )
    if layout == "tasks" and loop.staleness:
        raise InputError(
            f"loop.staleness = {loop.staleness}, but in layout tasks an iteration is sampled only once the one before "
            "has trained; use layout workers or pod"
        )
    if nodes > 1 and layout == "pod":
        raise InputError(f"train.nodes = {nodes}, but layout pod trains in its one pod; use layout workers or tasks")
    if nodes > 1 and not train_job:
        raise InputError(
            f"train.nodes = {nodes}, but this pipeline was compiled to train in one pod; compile it with --train-job"
        )


def prepare_in_process(config: RunConfig, job: Job, limits: Limits) -> str:
    """Prepare a run in a child process, which is started again when it crashes; return the run's URI.

    Raises:
        SystemExit: as `run_children` does.
    """
    uri = _uri(config)
    with scratch_directory("rapid-config-") as scratch:
        file = scratch / "config.yaml"
        file.write_text(config_json(config), encoding="utf-8")
        options = [f"--job={job.id}", f"--job-name={job.name}"] if job.id else []
        words = [sys.executable, "-m", "components.prepare", str(file), *options]
        run_children([Child("prepare", words, log=LogPlace(uri, "prepare"))], limits)
    return uri
