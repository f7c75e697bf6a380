"""Recurring fine-tunes: each firing is a run of its own."""

from dataclasses import dataclass

import kfp_server_api as kfp

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.model_reference import ModelReference, is_model_reference
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.config import ClusterConfig
from pipelines.cluster.errors import NotFound
from pipelines.cluster.readiness import check_ready
from pipelines.cluster.submission import Version, ensure_experiment, ensure_version, run_parameters

_FIRING = "[[ScheduledTime]]"
"""KFP fills this in: fourteen digits, in UTC (kubeflow/pipelines, backend/src/common/util/parameter_formatter.go)."""
_LONGEST = 63 - 1 - 14


@dataclass(frozen=True)
class Firing:
    """How often runs are started, and how many side by side."""

    trigger: kfp.V2beta1Trigger
    max_concurrency: int
    catch_up: bool
    """Whether firings that were missed (while paused, or because runs took longer) are made up for, each of them."""


def create_schedule(
    client: ClusterClient, config: RunConfig, cluster: ClusterConfig, firing: Firing
) -> tuple[kfp.V2beta1RecurringRun, Version]:
    """Start a schedule, named as the configuration's run; its runs are named after it and the time they are due.

    Raises:
        InputError: the configuration cannot recur or cannot work on a cluster, or there is a schedule of that name.
        ClusterUnavailable: no answer.
    """
    config = recurring(config)
    check_ready(config, cluster)
    name = config.run.name
    if found := next(client.recurring_runs(name), None):
        raise InputError(
            f"there is a schedule named {name} already ({found.recurring_run_id}, {state_word(found)}): delete it "
            f"with rapid schedule delete {name} first, or choose another run.name"
        )
    version = ensure_version(client, cluster)
    parameters = {**run_parameters(config, cluster), "run": f"{name}-{_FIRING}"}
    body = kfp.V2beta1RecurringRun(
        display_name=name,
        experiment_id=ensure_experiment(client, config.tracking.experiment),
        namespace=client.namespace,
        pipeline_version_reference=version.reference,
        runtime_config=kfp.V2beta1RuntimeConfig(parameters=parameters),
        service_account=cluster.service_account,
        trigger=firing.trigger,
        max_concurrency=str(firing.max_concurrency),
        no_catchup=not firing.catch_up,
        mode="ENABLE",
    )
    return client.create_recurring_run(body), version


def recurring(config: RunConfig) -> RunConfig:
    """The configuration of every firing: all register versions of one model, that of the champion they start from.

    Raises:
        InputError: the name is too long to be followed by a time, or no firing could ever replace the champion.
    """
    if len(config.run.name) > _LONGEST:
        raise InputError(
            f"run.name {config.run.name} is too long for a schedule: at most {_LONGEST} characters, because each run's "
            "time is put behind it"
        )
    path, tracking = config.model.path, config.tracking
    reference = ModelReference.parse(path) if is_model_reference(path) else None
    own = reference.name if reference else config.run.name
    if reference and reference.alias and not tracking.enabled:
        raise InputError(
            f"model.path is {path}, and tracking.enabled is false: new policies would never be registered, so every "
            "run would start from the same one"
        )
    if reference and reference.alias and tracking.model_name not in (None, own):
        raise InputError(
            f"model.path is {path}, and tracking.model_name is {tracking.model_name}: new policies would become "
            f"versions of another model, so every run would start from the same one; leave tracking.model_name out"
        )
    return config.model_copy(
        update={"tracking": tracking.model_copy(update={"model_name": tracking.model_name or own})}
    )


def find_schedule(client: ClusterClient, name: str) -> kfp.V2beta1RecurringRun:
    """Raises NotFound where there is none of this name or ID; names those there are."""
    if (found := next(client.recurring_runs(name), None)) is not None:
        return found
    schedules = list(client.recurring_runs())
    if (by_id := next((s for s in schedules if s.recurring_run_id == name), None)) is not None:
        return by_id
    names = ", ".join(sorted({schedule.display_name for schedule in schedules}))
    raise NotFound(f"{client.address} has no schedule named {name} ({f'it has {names}' if names else 'it has none'})")


def state_word(schedule: kfp.V2beta1RecurringRun) -> str:
    return "paused" if schedule.status == "DISABLED" else "enabled"
