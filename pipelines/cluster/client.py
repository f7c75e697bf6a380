"""Kubeflow Pipelines' API: the few calls that are made, with errors in one line."""

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import kfp_server_api as kfp

from pipelines.cluster.answers import READ_SECONDS, explained, foreign
from pipelines.cluster.connection import Connection
from pipelines.cluster.errors import NotFound

CONNECT_SECONDS = 5
_PAGE = 100
_NEWEST = "created_at desc"


class ClusterClient:
    """Every method raises InputError for what a user can fix (NotFound, AlreadyExists among it), and
    ClusterUnavailable where no answer came or the server failed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._api, self.address = connection.api()
        self._pipelines = kfp.PipelineServiceApi(self._api)
        self._uploads = kfp.PipelineUploadServiceApi(self._api)
        self._experiments = kfp.ExperimentServiceApi(self._api)
        self._runs = kfp.RunServiceApi(self._api)
        self._recurring = kfp.RecurringRunServiceApi(self._api)

    @cached_property
    def namespace(self) -> str | None:
        """The user's namespace; inside a multi-user Kubeflow that of this pod, where none was given."""
        inside = self._connection.pod_namespace
        if self._connection.namespace or inside is None:
            return self._connection.namespace
        health = self._call("its health", kfp.HealthzServiceApi(self._api).healthz_service_get_healthz)
        return inside if health.multi_user else None

    @property
    def options(self) -> str:
        """As `Connection.options`."""
        return self._connection.options

    def run_link(self, run_id: str) -> str:
        """Address of a run's page; only its end, where Kubeflow's address is not known."""
        return f"{self._connection.ui or ''}/#/runs/details/{run_id}"

    def schedule_link(self, recurring_run_id: str) -> str:
        """As `run_link`, of a schedule."""
        return f"{self._connection.ui or ''}/#/recurringrun/details/{recurring_run_id}"

    # Pipelines and their versions

    def pipeline(self, name: str) -> kfp.V2beta1Pipeline:
        found = self._call(
            f"pipeline {name}",
            self._pipelines.pipeline_service_get_pipeline_by_name,
            name,
            **self._scope(),
        )
        assert isinstance(found, kfp.V2beta1Pipeline)
        return found

    def create_pipeline(self, name: str, description: str) -> kfp.V2beta1Pipeline:
        body = kfp.V2beta1Pipeline(display_name=name, name=name, description=description, namespace=self.namespace)
        return self._call(f"pipeline {name}", self._pipelines.pipeline_service_create_pipeline, body, changes=True)

    def version(self, pipeline_id: str, name: str) -> kfp.V2beta1PipelineVersion:
        found = self._call(
            f"version {name}",
            self._pipelines.pipeline_service_list_pipeline_versions,
            pipeline_id,
            filter=_equals("display_name", name),
        ).pipeline_versions
        if not found:
            raise NotFound(f"there is no pipeline version {name}")
        return found[0]

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
        found = self._call(
            f"experiment {name}",
            self._experiments.experiment_service_list_experiments,
            filter=_equals("display_name", name),
            **self._scope(),
        ).experiments
        if not found:
            raise NotFound(f"there is no experiment {name}")
        return found[0]

    def create_experiment(self, name: str) -> kfp.V2beta1Experiment:
        body = kfp.V2beta1Experiment(display_name=name, namespace=self.namespace)
        return self._call(
            f"experiment {name}", self._experiments.experiment_service_create_experiment, body, changes=True
        )

    # Runs

    def create_run(self, run: kfp.V2beta1Run) -> kfp.V2beta1Run:
        return self._call(f"run {run.display_name}", self._runs.run_service_create_run, run, changes=True)

    def run(self, run_id: str) -> kfp.V2beta1Run:
        return self._call(f"run {run_id}", self._runs.run_service_get_run, run_id)

    def runs(self, name: str | None = None) -> Iterator[kfp.V2beta1Run]:
        """Newest first; all of them, or those of one name."""
        options = {"sort_by": _NEWEST, **({"filter": _equals("display_name", name)} if name else {})}
        return self._pages("runs", self._runs.run_service_list_runs, options)

    def terminate_run(self, run_id: str) -> None:
        self._call(f"run {run_id}", self._runs.run_service_terminate_run, run_id, changes=True)

    # Recurring runs

    def create_recurring_run(self, recurring: kfp.V2beta1RecurringRun) -> kfp.V2beta1RecurringRun:
        create = self._recurring.recurring_run_service_create_recurring_run
        return self._call(f"schedule {recurring.display_name}", create, recurring, changes=True)

    def recurring_runs(self, name: str | None = None) -> Iterator[kfp.V2beta1RecurringRun]:
        """Newest first; all of them, or those of one name."""
        options = {"sort_by": _NEWEST, **({"filter": _equals("display_name", name)} if name else {})}
        return self._pages("recurring_runs", self._recurring.recurring_run_service_list_recurring_runs, options)

    def set_recurring_run(self, recurring_run_id: str, *, enabled: bool) -> None:
        api = self._recurring
        switch = (
            api.recurring_run_service_enable_recurring_run
            if enabled
            else api.recurring_run_service_disable_recurring_run
        )
        self._call(f"schedule {recurring_run_id}", switch, recurring_run_id, changes=True)

    def delete_recurring_run(self, recurring_run_id: str) -> None:
        """Delete a schedule; runs that it has started go on."""
        delete = self._recurring.recurring_run_service_delete_recurring_run
        # Its runs belong to it in Kubernetes, which would otherwise remove the one that is going on.
        self._call(f"schedule {recurring_run_id}", delete, recurring_run_id, propagation_policy="ORPHAN", changes=True)

    def _scope(self) -> dict[str, Any]:
        return {"namespace": self.namespace} if self.namespace else {}

    def _pages(self, field: str, listing: Callable[..., Any], options: dict[str, Any]) -> Iterator[Any]:
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
        """One request.

        Args:
            what: it is about, for messages.
            changes: it changes something at the server, so that it is unknown what became of it without an answer.
        """
        patience = (CONNECT_SECONDS, READ_SECONDS)
        with explained(self.address, what, self._connection.namespace, changes):
            answer = function(*words, **options, _request_timeout=patience)
            kind = self._api.last_response.getheader("content-type") or "something without a content type"
            if not kind.startswith("application/json"):
                raise foreign(self.address, kind)
        return answer


def _equals(key: str, value: str) -> str:
    """A filter for things whose `key` is `value`.

    The server undoes URL encoding once more than HTTP does (parseAPIFilter in kubeflow/pipelines,
    backend/src/apiserver/server/list_request_util.go), so names with % and + need it twice.
    """
    return quote(json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]}))
