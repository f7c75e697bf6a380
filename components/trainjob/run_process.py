"""The launcher in a process of its own, for the pipeline."""

import sys
from collections.abc import Sequence

from components.runtime.parent import Limits, run_stage_child
from components.runtime.processes import Child
from components.runtime.scratch import scratch_directory
from components.runtime.worker import SILENCE_VARIABLE
from components.trainjob.job_settings import JobSettings


def launch_in_process(words: Sequence[str], settings: JobSettings, limits: Limits) -> None:
    """Run `python -m components.trainjob WORDS --settings ...`, again when the job has failed.

    Raises:
        SystemExit: as `run_children`.
    """
    with scratch_directory("rapid-job-") as scratch:
        file = scratch / "settings.yaml"
        file.write_text(settings.model_dump_json(), encoding="utf-8")
        command = [sys.executable, "-m", "components.trainjob", *words, "--settings", str(file)]
        environment = {SILENCE_VARIABLE: str(limits.silence_minutes)}
        run_stage_child(words[0], "train", Child("train", command, environment), limits)
