"""Runs as Kubeflow Pipelines knows them: found, read, started again."""

import re
from itertools import chain, islice
from typing import Any

import kfp_server_api as kfp

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.resolve import parameter_overrides, parse_config
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.errors import NotFound

ONGOING = {
    "RUNTIME_STATE_UNSPECIFIED": "not begun",
    "PENDING": "pending",
    "RUNNING": "running",
    "CANCELING": "being cancelled",
    "PAUSED": "paused",
}
"""States in which something may still happen, in words."""
_ENDED = {"SUCCEEDED": "succeeded", "FAILED": "failed", "CANCELED": "cancelled", "SKIPPED": "skipped"}
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEARCHED, _SHOWN = 200, 10


def ended(run: kfp.V2beta1Run) -> bool:
    return run.state in _ENDED


def state_word(run: kfp.V2beta1Run) -> str:
    return _ENDED.get(run.state) or ONGOING.get(run.state) or "not begun"


def run_name(run: kfp.V2beta1Run) -> str:
    """The name of the run in the store; Kubeflow's, where it is none of this program."""
    return str(parameters(run).get("run") or run.display_name)


def find_run(client: ClusterClient, name: str) -> kfp.V2beta1Run:
    """The run with this ID, or the newest with this name.

    Raises:
        NotFound: there is none; names the newest there are.
        InputError, ClusterUnavailable: as every call.
    """
    if _ID.fullmatch(name):
        return client.run(name)
    found = next(client.runs(name), None)
    newest: list[kfp.V2beta1Run] = []
    if found is None:
        # Kubeflow names the runs of a schedule in its own way.
        newest = list(islice(client.runs(), _SEARCHED))
        found = next((run for run in newest if run_name(run) == name), None)
    if found is not None:
        # What is listed may lack the tasks.
        return client.run(found.run_id)
    names = list(dict.fromkeys(map(run_name, newest)))
    there = f"the newest are {', '.join(names[:_SHOWN])}" if names else "it has none at all"
    raise NotFound(f"{client.address} has no run named {name} ({there})")


def parameters(run: kfp.V2beta1Run) -> dict[str, Any]:
    """What the run was started with, with the placeholders of a schedule filled in.

    In a multi-user Kubeflow the API shows them as they were written, and fills them in only where the run is compiled
    (formatParameterMacros in kubeflow/pipelines, backend/src/apiserver/template).
    """
    given = dict((run.runtime_config.parameters if run.runtime_config else None) or {})
    filled = {"[[RunUUID]]": run.run_id}
    if run.recurring_run_id and run.scheduled_at:
        filled["[[ScheduledTime]]"] = run.scheduled_at.strftime("%Y%m%d%H%M%S")
    name = given.get("run")
    if isinstance(name, str):
        for placeholder, value in filled.items():
            name = name.replace(placeholder, value)
        given["run"] = name
    return given


def run_config(run: kfp.V2beta1Run) -> RunConfig:
    """The configuration of a run, as its prepare stage resolves it.

    Raises:
        InputError: this is no run of this program.
    """
    given = parameters(run)
    text = given.get("config")
    if not isinstance(text, str):
        raise InputError(f"run {run.display_name} is not one of this program: it has no parameter named config")
    named = {name: given.get(name, "") for name in ("run", "model", "data")}
    # Numbers travel as floats.
    words = parameter_overrides(**named, iterations=int(given.get("iterations", -1)))
    return parse_config(text, words, what=f"the parameters of run {run.display_name}")


def refuse_ongoing(client: ClusterClient, name: str) -> None:
    """Two runs of one name would do the same work twice. Raises InputError where one has not ended.

    Runs of a schedule and clones have other names in Kubeflow: they are looked for among the newest.
    """
    for run in chain(client.runs(name), islice(client.runs(), _SEARCHED)):
        if run_name(run) == name and not ended(run):
            # By its name in Kubeflow an older one would be found.
            which = name if run.display_name == name else run.run_id
            raise InputError(
                f"a run named {name} is going on ({state_word(run)}, {client.run_link(run.run_id)}): follow it with "
                f"rapid status {which} --watch, end it with rapid cancel {which}, or choose another run.name"
            )


def resume(client: ClusterClient, run: kfp.V2beta1Run) -> kfp.V2beta1Run:
    """Start a run of the same name with the same parameters: stages pass over what is committed.

    Raises:
        InputError: it has not ended, or has succeeded; another of its name is going on; it is none of this program.
    """
    name = run_config(run).run.name
    if not ended(run):
        raise InputError(f"run {name} has not ended ({state_word(run)}): follow it with rapid status {name} --watch")
    if run.state == "SUCCEEDED":
        raise InputError(
            f"run {name} has succeeded, so there is nothing to resume; for more iterations submit its configuration "
            "again with a larger loop.iterations"
        )
    refuse_ongoing(client, name)
    return client.create_run(
        kfp.V2beta1Run(
            display_name=name,
            description=f"goes on from {run.run_id}",
            experiment_id=run.experiment_id,
            pipeline_version_reference=run.pipeline_version_reference,
            pipeline_spec=None if run.pipeline_version_reference else run.pipeline_spec,
            runtime_config=kfp.V2beta1RuntimeConfig(parameters=parameters(run)),
            service_account=run.service_account,
        )
    )
