"""The launcher in a process of its own, for the pipeline."""

import sys

from components.contract.layout import Round
from components.runtime.parent import Limits
from components.runtime.processes import Child
from components.runtime.scratch import scratch_directory
from components.runtime.stage_process import run_stage_child
from components.runtime.worker import SILENCE_VARIABLE
from components.store.attempt_logs import LogPlace
from components.trainjob.job_settings import JobSettings


def launch_in_process(run_uri: str, iteration: int | None, settings: JobSettings, limits: Limits) -> None:
    """Run `python -m components.trainjob` for an iteration, or for all, again when the job has failed.

    Raises:
        SystemExit: as `run_children`.
    """
    with scratch_directory("rapid-job-") as scratch:
        file = scratch / "settings.yaml"
        file.write_text(settings.model_dump_json(), encoding="utf-8")
        what = ["--follow"] if iteration is None else ["--iteration", str(iteration)]
        command = [sys.executable, "-m", "components.trainjob", run_uri, *what, "--settings", str(file)]
        environment = {SILENCE_VARIABLE: str(limits.silence_minutes)}
        log = LogPlace(run_uri, "train", round_=Round.iteration(iteration) if iteration else None)
        run_stage_child(run_uri, "train", Child("train", command, environment, log), limits)
