"""A client for the part of Kubeflow Pipelines' API that this project uses."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kfp_server_api as kfp

from pipelines.cluster.api_errors import READ_SECONDS, not_kubeflow, translate_errors
from pipelines.cluster.connection import Connection, NotFound

CONNECT_SECONDS = 5
_PAGE = 100


class ClusterClient:
    """Requests to Kubeflow Pipelines.

    Every method raises InputError (including NotFound and AlreadyExists) for errors that the user can fix, and
    ClusterUnavailable if the server does not respond or fails.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._api, self.address = connection.api()
        self._pipelines = kfp.PipelineServiceApi(self._api)
        self._uploads = kfp.PipelineUploadServiceApi(self._api)
        self._experiments = kfp.ExperimentServiceApi(self._api)
        self._runs = kfp.RunServiceApi(self._api)
        self._recurring = kfp.RecurringRunServiceApi(self._api)

    @cached_property
    def namespace(self) -> str | None:
        """The user's namespace. If none was given, that of this pod inside a multi-user Kubeflow, else None."""
        inside = self.connection.pod_namespace
        if self.connection.namespace or inside is None:
            return self.connection.namespace
        health = self._call("its health", kfp.HealthzServiceApi(self._api).healthz_service_get_healthz)
        return inside if health.multi_user else None

    def run_link(self, run_id: str) -> str:
        """Return the URL of a run's page, or only its path if Kubeflow's address is unknown."""
        return f"{self.connection.ui or ''}/#/runs/details/{run_id}"

    def schedule_link(self, recurring_run_id: str) -> str:
        """Return the URL of a schedule's page, as `run_link` does for a run."""
        return f"{self.connection.ui or ''}/#/recurringrun/details/{recurring_run_id}"

    # Pipelines and versions

    def pipeline(self, name: str) -> kfp.V2beta1Pipeline:
        get = self._pipelines.pipeline_service_get_pipeline_by_name
        return self._call(f"pipeline {name}", get, name, **self._scope())

    def create_pipeline(self, name: str, description: str) -> kfp.V2beta1Pipeline:
        body = kfp.V2beta1Pipeline(display_name=name, name=name, description=description, namespace=self.namespace)
        return self._call(f"pipeline {name}", self._pipelines.pipeline_service_create_pipeline, body, changes=True)

    def version(self, pipeline_id: str, name: str) -> kfp.V2beta1PipelineVersion:
        listing = self._pipelines.pipeline_service_list_pipeline_versions
        found = self._call(f"version {name}", listing, pipeline_id, filter=_named(name)).pipeline_versions
        if not found:
            raise NotFound(f"pipeline version {name} does not exist")
        return found[0]

    def version_of(self, run: kfp.V2beta1Run) -> kfp.V2beta1PipelineVersion:
        """Return the pipeline version that a run executes. Raises NotFound where it was deleted."""
        reference = run.pipeline_version_reference
        if reference is None:
            raise NotFound(f"run {run.display_name} has no pipeline version")
        get = self._pipelines.pipeline_service_get_pipeline_version
        return self._call("the pipeline version", get, reference.pipeline_id, reference.pipeline_version_id)

    def upload_version(self, pipeline_id: str, name: str, file: Path, description: str) -> kfp.V2beta1PipelineVersion:
        return self._call(
            f"version {name}",
            self._uploads.upload_pipeline_version,
            str(file),
            name=name,
            display_name=name,
            pipelineid=pipeline_id,
            description=description,
            changes=True,
        )

    # Experiments

    def experiment(self, name: str) -> kfp.V2beta1Experiment:
        listing = self._experiments.experiment_service_list_experiments
        found = self._call(f"experiment {name}", listing, filter=_named(name), **self._scope()).experiments
        if not found:
            raise NotFound(f"experiment {name} does not exist")
        return found[0]

    def create_experiment(self, name: str) -> kfp.V2beta1Experiment:
        body = kfp.V2beta1Experiment(display_name=name, namespace=self.namespace)
        create = self._experiments.experiment_service_create_experiment
        return self._call(f"experiment {name}", create, body, changes=True)

    # Runs

    def create_run(self, run: kfp.V2beta1Run) -> kfp.V2beta1Run:
        return self._call(f"run {run.display_name}", self._runs.run_service_create_run, run, changes=True)

    def run(self, run_id: str) -> kfp.V2beta1Run:
        return self._call(f"run {run_id}", self._runs.run_service_get_run, run_id)

    def runs(self, name: str | None = None) -> Iterator[kfp.V2beta1Run]:
        """Yield all of them, or those of one name, newest first."""
        return self._pages("runs", self._runs.run_service_list_runs, name)

    def terminate_run(self, run_id: str) -> None:
        self._call(f"run {run_id}", self._runs.run_service_terminate_run, run_id, changes=True)

    # Recurring runs

    def create_recurring_run(self, recurring: kfp.V2beta1RecurringRun) -> kfp.V2beta1RecurringRun:
        create = self._recurring.recurring_run_service_create_recurring_run
        return self._call(f"schedule {recurring.display_name}", create, recurring, changes=True)

    def recurring_runs(self, name: str | None = None) -> Iterator[kfp.V2beta1RecurringRun]:
        """Yield all of them, or those of one name, newest first."""
        return self._pages("recurring_runs", self._recurring.recurring_run_service_list_recurring_runs, name)

    def set_recurring_run(self, recurring_run_id: str, *, enabled: bool) -> None:
        enable = self._recurring.recurring_run_service_enable_recurring_run
        disable = self._recurring.recurring_run_service_disable_recurring_run
        self._call(f"schedule {recurring_run_id}", enable if enabled else disable, recurring_run_id, changes=True)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Delete a schedule; the runs that it has started continue."""
        delete = self._recurring.recurring_run_service_delete_recurring_run
        # Its runs are its dependents in Kubernetes, which would otherwise delete them too.
        self._call(f"schedule {recurring_run_id}", delete, recurring_run_id, propagation_policy="ORPHAN", changes=True)

    def _scope(self) -> dict[str, Any]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _pages(self, field: str, listing: Callable[..., Any], name: str | None) -> Iterator[Any]:
        options: dict[str, Any] = {"sort_by": "created_at desc", **({"filter": _named(name)} if name else {})}
        token = ""
        while True:
            page = self._call(field, listing, page_size=_PAGE, page_token=token, **options, **self._scope())
            yield from getattr(page, field) or []
            token = page.next_page_token
            if not token:
                return

    def _call(
        self, what: str, function: Callable[..., Any], *words: Any, changes: bool = False, **options: str | int
    ) -> Any:
        """Make one request.

        Args:
            what: the object of the request, for messages.
            changes: whether the request changes something, so that its outcome is unknown without a response.
        """
        with translate_errors(self.address, what, self.connection.namespace, changes):
            response = function(*words, **options, _request_timeout=(CONNECT_SECONDS, READ_SECONDS))
            kind = self._api.last_response.getheader("content-type") or "no content type"
            if not kind.startswith("application/json"):
                raise not_kubeflow(self.address, kind)
        return response


def _named(name: str) -> str:
    """Return a filter for the objects of this name.

    The server decodes URL encoding once more than HTTP does (parseAPIFilter in kubeflow/pipelines,
    backend/src/apiserver/server/list_request_util.go), so names with % and + must be encoded twice.
    """
    return quote(json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "string_value": name}]}))
