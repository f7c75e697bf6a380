"""The failure of a worker that ends the others: one object in the run, removed by the next start of the run."""

from pydantic import BaseModel, ConfigDict

from components.contract.errors import InputError
from components.contract.section import StageName
from components.store import ObjectExists, ObjectMissing, Run


class RunFailed(InputError):
    """Another worker of the run has failed for good."""


class Failure(BaseModel):
    """The reason why a run has ended.

    Attributes:
        lost: a worker fell silent, as one does whose pod was killed or evicted; no stage has failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    stage: StageName
    message: str
    lost: bool = False


def report_failure(run: Run, stage: StageName, message: str, lost: bool = False) -> None:
    """Leave the reason in the run; the first that fails is the one whose message counts."""
    try:
        data = Failure(stage=stage, message=" ".join(message.split()), lost=lost).model_dump_json()
        run.store.create(run.layout.failure, data.encode())
    except (ObjectExists, InputError):
        return  # the process ends with its message all the same


def read_failure(run: Run) -> Failure | None:
    """Return the failure that ended the run; None where there is none."""
    try:
        return Failure.model_validate_json(run.store.read(run.layout.failure))
    except ObjectMissing:
        return None


def check_failure(run: Run) -> None:
    """Raise RunFailed where a worker has failed for good."""
    if run.store.exists(run.layout.failure) and (failure := read_failure(run)):
        raise RunFailed(f"{failure.stage}: {failure.message}")
