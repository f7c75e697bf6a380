"""The training that a job does: one iteration, or every iteration of a run."""

from dataclasses import dataclass

from components.contract.digests import json_digest
from components.store import Run
from components.train.task import TrainTask
from components.trainjob.job_settings import JobSettings, job_name

_DIGITS = 16


@dataclass(frozen=True)
class Training:
    """One iteration, or with `task` None every iteration of the run by a worker that follows it."""

    run: Run
    settings: JobSettings
    task: TrainTask | None

    @property
    def name(self) -> str:
        """Name of the job: whoever launches the same training finds the same job."""
        return job_name(self.run.uri, self.task.iteration if self.task else None)

    @property
    def arguments(self) -> list[str]:
        """Arguments of `python -m components.train`."""
        return [self.run.uri, *(["--iteration", str(self.task.iteration)] if self.task else ["--follow"])]

    @property
    def digest(self) -> str:
        """Digest of the training and its settings, 16 hexadecimal digits, for a label."""
        train = self.run.config.train
        output = self.task.output if self.task else None
        # A job for a whole run reads the configuration once, when it begins.
        whole_run = [self.run.uri, self.run.config.model_dump(mode="json")]
        what = [dict(output.inputs), output.config_digest] if output else whole_run
        # The job of a start that was cancelled ends by itself, so that the next start is not to follow it.
        what.append(self.run.cancel_mark)
        return json_digest([*what, train.nodes, train.processes, self.settings.model_dump(mode="json")])[:_DIGITS]

    def has_ended(self) -> bool:
        """Return whether everything is committed that the job is for."""
        if self.task:
            return self.task.output.manifest() is not None
        return self.run.trained() >= self.run.config.loop.iterations or self.run.stopped()

    def has_trained(self) -> bool:
        """Return whether a policy has come out, so that a job that failed afterwards does no harm."""
        manifest = self.task.output.manifest() if self.task else None
        return self.has_ended() and (manifest is None or manifest.facts["outcome"] == "trained")
