"""Runs in Kubeflow Pipelines: find, read and resume them."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import kfp_server_api as kfp

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.job import Job
from components.prepare.job_config import job_config
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.connection import NotFound

_ONGOING = {
    "RUNTIME_STATE_UNSPECIFIED": "not started",
    "PENDING": "pending",
    "RUNNING": "running",
    "CANCELING": "being cancelled",
    "PAUSED": "paused",
}
_ENDED = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELED": "cancelled", "SKIPPED": "skipped"}
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NEWEST, _SHOWN = 200, 10
SHORT_ID = 8
"""Characters of an ID that lists show and commands take."""
_SHORT_ID = re.compile(f"[0-9a-f]{{{SHORT_ID}}}")


def has_ended(run: kfp.V2beta1Run) -> bool:
    return run.state in _ENDED


def states(run: kfp.V2beta1Run) -> list[str]:
    """Return all states that a run has had, the last one last."""
    return [*(status.state for status in run.state_history or ()), run.state]


def was_cancelled(run: kfp.V2beta1Run) -> bool:
    """Return whether a run has ended because it was cancelled. Kubeflow calls such runs FAILED in the end."""
    return run.state == "CANCELED" or (run.state == "FAILED" and "CANCELING" in states(run))


def run_state(run: kfp.V2beta1Run) -> str:
    if was_cancelled(run):
        return _ENDED["CANCELED"]
    return _ENDED.get(run.state) or _ONGOING.get(run.state) or "not started"


def run_name(run: kfp.V2beta1Run) -> str:
    """Return the name of the run in the store; Kubeflow's where more than the run's parameters is needed to tell."""
    given = parameters(run)
    if not given.get("run") and str(given.get("config", "")).lstrip().startswith("{"):
        # What `rapid` has compiled in is JSON. One of many runs in a list: YAML or a file would take long to read.
        with suppress(ValueError, KeyError, TypeError):
            section = json.loads(given["config"])["run"]
            return _job(run).run_name("", section if isinstance(section, str) else section["name"])
    return str(given.get("run") or run.display_name)


def find_run(client: ClusterClient, name: str) -> kfp.V2beta1Run:
    """Return the run with this ID, or with an ID that begins so, or the newest run with this name.

    Raises:
        NotFound: there is none; the message names the newest runs.
        InputError, ClusterUnavailable: as for every request.
    """
    if _ID.fullmatch(name):
        return _with_defaults(client, client.run(name))
    if _SHORT_ID.fullmatch(name):
        for listed in islice(client.runs(), _NEWEST):
            if listed.run_id.startswith(name):
                return _with_defaults(client, client.run(listed.run_id))
    run = next(_runs_named(client, name), None)
    if run is not None:
        # Listed runs may lack their tasks.
        return _with_defaults(client, client.run(run.run_id))
    names = list(dict.fromkeys(map(run_name, islice(client.runs(), _NEWEST))))
    existing = f"the newest are {', '.join(names[:_SHOWN])}" if names else "it has none"
    raise NotFound(f"{client.address} has no run named {name} ({existing})")


def _with_defaults(client: ClusterClient, run: kfp.V2beta1Run) -> kfp.V2beta1Run:
    """Add the defaults of its pipeline version to the parameters of a run that another client has started without."""
    given = (run.runtime_config.parameters if run.runtime_config else None) or {}
    if "config" not in given:
        with suppress(NotFound):
            spec = (client.version_of(run).pipeline_spec or {}).get("pipeline_spec", {})
            declared = spec.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
            defaults = {name: found["defaultValue"] for name, found in declared.items() if "defaultValue" in found}
            run.runtime_config = kfp.V2beta1RuntimeConfig(parameters={**defaults, **given})
    return run


def refuse_ongoing(client: ClusterClient, name: str) -> None:
    """Raise InputError if a run of this name has not ended: two would do the same work twice."""
    for run in _runs_named(client, name):
        if run_name(run) == name and not has_ended(run):
            # A clone is found by its ID only: an older run may have its name in Kubeflow.
            which = name if run.display_name == name else run.run_id
            raise InputError(
                f"a run named {name} has not ended ({run_state(run)}, {client.run_link(run.run_id)}): follow it with "
                f"rapid status {which} --watch, cancel it with rapid cancel {which}, or choose another run.name"
            )


def _runs_named(client: ClusterClient, name: str) -> Iterator[kfp.V2beta1Run]:
    """Yield the runs that have this name in Kubeflow, then those that have it in the store, each newest first.

    Runs of a schedule and clones have other names in Kubeflow, so the newest runs are searched for them.
    """
    yield from client.runs(name)
    yield from (run for run in islice(client.runs(), _NEWEST) if run_name(run) == name)


def parameters(run: kfp.V2beta1Run) -> dict[str, Any]:
    """Return the parameters of a run, with the name of the run as its prepare stage resolves it.

    KFP passes the time to prepare that its API calls `scheduled_at`: the label `workflowEpoch` of the workflow (in
    kubeflow/pipelines backend/src/v2/cmd/driver/main.go, backend/src/apiserver/resource/resource_manager.go). Only a
    copy of a firing is due when its workflow is made, up to a second later.
    """
    given = dict((run.runtime_config.parameters if run.runtime_config else None) or {})
    if (named := given.get("run")) and isinstance(named, str):
        given["run"] = _job(run).run_name(named, "")
    return given


def _job(run: kfp.V2beta1Run) -> Job:
    due = run.scheduled_at or run.created_at
    return Job(run.run_id, run.display_name, due.isoformat() if due else "")


def run_config(run: kfp.V2beta1Run) -> RunConfig:
    """Return the configuration of a run, as its prepare stage resolves it.

    Raises:
        InputError: the run belongs to another program, or its configuration is in object storage and cannot be read.
    """
    given = parameters(run)
    config = given.get("config")
    if not isinstance(config, str):
        raise InputError(f"run {run.display_name} belongs to another program: it has no parameter named config")
    named = {name: given.get(name, "") for name in ("run", "model", "data")}
    # Numbers arrive as floats.
    return job_config(config, **named, iterations=int(given.get("iterations", -1)), job=_job(run))


def resume(client: ClusterClient, run: kfp.V2beta1Run) -> kfp.V2beta1Run:
    """Start a run of the same name with the same parameters; its stages skip what is committed.

    Raises:
        InputError: the run has not ended or has succeeded, another one of its name has not ended, or it belongs to
            another program.
    """
    name = run_config(run).run.name
    if not has_ended(run):
        raise InputError(f"run {name} has not ended ({run_state(run)}): follow it with rapid status {name} --watch")
    if run.state == "SUCCEEDED":
        raise InputError(
            f"run {name} has succeeded, so there is nothing to resume; for more iterations, submit its configuration "
            "with a larger loop.iterations"
        )
    refuse_ongoing(client, name)
    return client.create_run(
        kfp.V2beta1Run(
            display_name=name,
            description=f"continues {run.run_id}",
            experiment_id=run.experiment_id,
            pipeline_version_reference=run.pipeline_version_reference,
            pipeline_spec=None if run.pipeline_version_reference else run.pipeline_spec,
            runtime_config=kfp.V2beta1RuntimeConfig(parameters={**parameters(run), "run": name}),
            service_account=_service_account(client, run),
        )
    )


def _service_account(client: ClusterClient, run: kfp.V2beta1Run) -> str | None:
    """Return the service account of a run's pods. Kubeflow keeps that of a firing with its schedule only."""
    account: str | None = run.service_account
    if run.recurring_run_id and not account:
        schedules = client.recurring_runs()
        account = next((s.service_account for s in schedules if s.recurring_run_id == run.recurring_run_id), None)
        account = account or ClusterConfig().service_account
    return account
