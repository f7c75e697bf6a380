"""The train stage, done by a training job."""

from components.contract.manifest import Manifest
from components.runtime.clock import Clock
from components.store import open_run
from components.tracking import sync
from components.train.stage import find_finished
from components.train.task import TrainTask
from components.trainjob.job_settings import JobSettings
from components.trainjob.training import Training


def run_stage(run_uri: str, iteration: int, settings: JobSettings) -> Manifest:
    """Train an iteration with a training job; what is committed, or needs no training, launches none.

    Raises:
        InputError: as `components.train.stage.run_stage`; or Kubernetes refuses the job, or cannot be reached.
        SystemExit: the job failed, or this process received SIGTERM.
    """
    task = TrainTask.find(open_run(run_uri), iteration)
    if manifest := find_finished(task, Clock()):
        return manifest
    # The SDK takes a second to import.
    from components.trainjob.launcher import launch

    launch(Training(task.run, settings, task))
    return task.output.require()


def follow_run(run_uri: str, settings: JobSettings) -> int:
    """Train every iteration of a run with one training job; return the number of trained iterations.

    Raises:
        InputError, SystemExit: as `run_stage`; or another worker of the run has failed.
    """
    run = open_run(run_uri)
    training = Training(run, settings, None)
    if not training.has_ended():
        from components.trainjob.launcher import launch

        launch(training)
    sync(run)
    return run.trained()
