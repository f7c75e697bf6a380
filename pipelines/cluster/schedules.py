"""Schedules: recurring fine-tunes, each start of which is a run of its own."""

from dataclasses import dataclass

import kfp_server_api as kfp

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.model_reference import ModelReference, is_model_reference
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.cluster_errors import NotFound
from pipelines.cluster.submit import Version, ensure_experiment, ensure_version, run_parameters

_SCHEDULED_TIME = "[[ScheduledTime]]"
"""KFP replaces this by fourteen digits, UTC (kubeflow/pipelines, backend/src/common/util/parameter_formatter.go)."""
_MAX_NAME = 63 - 1 - 14


@dataclass(frozen=True)
class Recurrence:
    """When runs are started, and how many at a time."""

    trigger: kfp.V2beta1Trigger
    max_concurrency: int
    catch_up: bool
    """Make up for every start that was missed while paused or because runs took longer."""


def create_schedule(
    client: ClusterClient, config: RunConfig, cluster: ClusterConfig, recurrence: Recurrence
) -> tuple[kfp.V2beta1RecurringRun, Version]:
    """Create a schedule with the name of the configuration's run; its runs have that name and the time they are due.

    Args:
        config: from `recurring_config`, checked against the cluster.

    Raises:
        InputError: a schedule of that name exists.
        ClusterUnavailable: the server does not respond.
    """
    name = config.run.name
    if found := next(client.recurring_runs(name), None):
        raise InputError(
            f"a schedule named {name} already exists ({found.recurring_run_id}, {schedule_state(found)}): delete it "
            f"with rapid schedule delete {name}, or choose another run.name"
        )
    version = ensure_version(client, cluster)
    parameters = {**run_parameters(config, cluster), "run": f"{name}-{_SCHEDULED_TIME}"}
    body = kfp.V2beta1RecurringRun(
        display_name=name,
        experiment_id=ensure_experiment(client, config.tracking.experiment),
        namespace=client.namespace,
        pipeline_version_reference=version.reference,
        runtime_config=kfp.V2beta1RuntimeConfig(parameters=parameters),
        service_account=cluster.service_account,
        trigger=recurrence.trigger,
        max_concurrency=str(recurrence.max_concurrency),
        no_catchup=not recurrence.catch_up,
        mode="ENABLE",
    )
    return client.create_recurring_run(body), version


def recurring_config(config: RunConfig) -> RunConfig:
    """Return the configuration of every run of a schedule: all register versions of one model.

    If they start from a champion, it is the champion of that model.

    Raises:
        InputError: the name is too long to be followed by a time, or no run could ever replace the champion.
    """
    if len(config.run.name) > _MAX_NAME:
        raise InputError(
            f"run.name {config.run.name} is too long for a schedule: it may have at most {_MAX_NAME} characters, "
            "because each run appends its time"
        )
    path, tracking = config.model.path, config.tracking
    reference = ModelReference.parse(path) if is_model_reference(path) else None
    own = reference.name if reference else config.run.name
    if reference and reference.alias and not tracking.enabled:
        raise InputError(
            f"model.path is {path}, but tracking.enabled is false: new policies would never be registered, so every "
            "run would start from the same one"
        )
    if reference and reference.alias and tracking.model_name not in (None, own):
        raise InputError(
            f"model.path is {path}, but tracking.model_name is {tracking.model_name}: new policies would become "
            f"versions of another model, so every run would start from the same one; leave tracking.model_name out"
        )
    return config.model_copy(
        update={"tracking": tracking.model_copy(update={"model_name": tracking.model_name or own})}
    )


def find_schedule(client: ClusterClient, name: str) -> kfp.V2beta1RecurringRun:
    """Return the schedule of this name or ID. Raises NotFound, which names the existing ones."""
    if (found := next(client.recurring_runs(name), None)) is not None:
        return found
    schedules = list(client.recurring_runs())
    if (by_id := next((s for s in schedules if s.recurring_run_id == name), None)) is not None:
        return by_id
    names = ", ".join(sorted({schedule.display_name for schedule in schedules}))
    raise NotFound(f"{client.address} has no schedule named {name} ({f'it has {names}' if names else 'it has none'})")


def schedule_state(schedule: kfp.V2beta1RecurringRun) -> str:
    return "paused" if schedule.status == "DISABLED" else "enabled"
