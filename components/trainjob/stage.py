"""The train stage, done by a training job."""

from components.contract.manifest import Manifest
from components.train.stage import run_stage as train
from components.train.work import Work
from components.trainjob.settings import JobSettings


def run_stage(run_uri: str, iteration: int, settings: JobSettings) -> Manifest:
    """As `components.train.stage.run_stage`: what is committed, or needs no training, launches nothing.

    Raises:
        InputError: as there; or Kubernetes refuses the job, or cannot be reached.
        SystemExit: the job failed, or this process was told to end.
    """

    def elsewhere(work: Work) -> None:
        # The SDK takes a second to import.
        from components.trainjob.launcher import launch

        launch(work, settings)

    return train(run_uri, iteration, elsewhere)
