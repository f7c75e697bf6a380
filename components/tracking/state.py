"""Record of what the tracking server has received, kept in the run."""

from pydantic import BaseModel, ConfigDict, ValidationError

from components.store import ObjectMissing, Run


class Registration(BaseModel):
    """The published policy of a run as a version of a registered model."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    version: str
    weights_digest: str
    newest_digest: str
    """Weights of the newest policy; all up to it are registered."""
    champion: bool
    """True if it won the comparison."""
    comparison: str
    """Result of the comparison with the champion, as a sentence."""


class TrackingState(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    uri: str
    """The tracking server, without credentials."""
    run_id: str
    injected: bool = False
    """The run was given through `MLFLOW_RUN_ID`: whoever made it ends it."""
    config_digest: str | None = None
    iterations: int = 0
    """Iterations sent, from the first."""
    evaluated: int = 0
    """Policy versions, from 0, whose evaluation was sent or is not to come."""
    report: str | None = None
    """Digest of the report that was sent."""
    registration: Registration | None = None


def read_state(run: Run) -> TrackingState | None:
    """Return None before anything was sent. A state that cannot be read counts as none: sending again does no harm."""
    try:
        return TrackingState.model_validate_json(run.store.read(run.layout.tracking))
    except (ObjectMissing, ValidationError):
        return None


def write_state(run: Run, state: TrackingState) -> TrackingState:
    run.store.write(run.layout.tracking, state_json(state))
    return state


def state_json(state: TrackingState) -> bytes:
    return (state.model_dump_json(indent=2) + "\n").encode()
