"""A job of Kubeflow Pipelines, and the name of the run that it works on."""

from dataclasses import dataclass
from datetime import UTC, datetime

DUE = "{due}"
"""Stands in the parameter `run` for what `Job.due` and the job's ID make of it: 20261128-1857-fbd2cb2e."""
DUE_LENGTH = len("20261128-1857-fbd2cb2e")
_LONGEST_NAME = 63
_ID_DIGITS = 8


@dataclass(frozen=True)
class Job:
    """A run in Kubeflow's sense; everything is empty on one machine.

    A run has as many jobs as it was submitted, resumed or cloned. What Kubeflow tries again stays the same job.

    Attributes:
        id: given by Kubeflow.
        name: shown by Kubeflow. `rapid` gives it the run's name; for what a schedule starts Kubeflow passes none on.
        due: when the schedule was to start it, otherwise when it was made, such as 2026-11-28T18:57:00Z.
    """

    id: str = ""
    name: str = ""
    due: str = ""

    def run_name(self, given: str, configured: str) -> str:
        """Return the name of the run, the same at every start of the job.

        The ID makes it unique: two firings may be due in one minute, and schedules may be copied.

        Args:
            given: the pipeline's parameter `run`; empty for a run of its own, and it may contain `{due}`.
            configured: `run.name` of the configuration.
        """
        if not self.id:
            return given or configured
        digits = self.id[:_ID_DIGITS]
        if not given:
            return f"{configured[: _LONGEST_NAME - 1 - _ID_DIGITS]}-{digits}"
        if DUE not in given:
            return given
        due = datetime.fromisoformat(self.due).astimezone(UTC)
        return given.replace(DUE, f"{due:%Y%m%d-%H%M}-{digits}")


NO_JOB = Job()
"""The job of a run on one machine."""
