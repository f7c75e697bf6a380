"""The state of a Kubeflow cluster, with the behaviour of its API server that matters to a client."""

import copy
import re
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from tests.support.kfp_server.cron import check_cron
from tests.support.kfp_server.driver import task_arguments
from tests.support.kfp_server.listing import Invalid, page
from tests.support.kfp_server.workflow import Workflow

Item = dict[str, Any]
NEVER = "1970-01-01T00:00:00Z"
"""The time of an event that has not happened yet (toApiRun in backend/src/apiserver/server/api_converter.go)."""

_KEYS = {"display_name", "name", "created_at", "description"}
_TERMINABLE = ("PENDING", "RUNNING", "PAUSED", "RUNTIME_STATE_UNSPECIFIED")
_UNFINISHED = (*_TERMINABLE, "CANCELING")
# KFP's names of its parameter types, and their JSON types.
_TYPES: dict[str, tuple[str, tuple[type, ...]]] = {
    "STRING": ("string", (str,)),
    "NUMBER_INTEGER": ("double or integer", (int, float)),
    "NUMBER_DOUBLE": ("double or integer", (int, float)),
    "BOOLEAN": ("bool", (bool,)),
    "LIST": ("list", (list,)),
    "STRUCT": ("struct", (dict,)),
}


class Missing(Exception):
    """404."""


class Exists(Exception):
    """409."""


class Forbidden(Exception):
    """403."""


@dataclass
class Cluster:
    multi_user: bool = False
    namespaces: tuple[str, ...] = ("team",)
    """The namespaces that the test's user has access to in multi-user mode."""
    pipelines: dict[str, Item] = field(default_factory=dict)
    versions: dict[str, Item] = field(default_factory=dict)
    experiments: dict[str, Item] = field(default_factory=dict)
    runs: dict[str, Item] = field(default_factory=dict)
    recurring: dict[str, Item] = field(default_factory=dict)
    scripts: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    """Events of a run, by its id; each request for the run makes the next one happen first."""
    _workflows: dict[str, Workflow] = field(default_factory=dict)
    _seconds: int = 0

    # Pipelines

    def create_pipeline(self, body: Item) -> Item:
        name = body.get("name") or body.get("display_name") or ""
        if not name:
            raise Invalid("The pipeline name is empty. Please specify a valid name")
        namespace = self._entered(body.get("namespace", ""))
        # backend/src/apiserver/storage/pipeline_store.go: names are unique in a namespace.
        if any((p["name"], p.get("namespace", "")) == (name, namespace) for p in self.pipelines.values()):
            raise Exists(f"Failed to create a new pipeline. The name {name} already exist. Please specify a new name")
        return self._keep(self.pipelines, "pipeline_id", {**body, "name": name, "display_name": name})

    def pipeline_named(self, name: str, namespace: str) -> Item:
        namespace = self._entered(namespace)
        for found in self.pipelines.values():
            if (found["name"], found.get("namespace", "")) == (name, namespace):
                return found
        raise Missing(f"Pipeline {name} not found")

    def upload_version(self, query: Mapping[str, str], filename: str, content: bytes) -> Item:
        pipeline = self._get(self.pipelines, query.get("pipelineid", ""), "Pipeline")
        name = query.get("name") or filename
        if not filename.endswith((".yaml", ".yml", ".zip", ".tar.gz")):
            raise Invalid("Unexpected pipeline file format. Support .zip, .tar.gz or YAML")
        spec, *platform = list(yaml.load_all(content, yaml.CSafeLoader))
        if spec["pipelineInfo"]["name"] != pipeline["name"]:
            raise Invalid("Invalid pipeline spec")
        # backend/src/apiserver/storage/pipeline_store.go: names are unique among a pipeline's versions.
        if any((v["name"], v["pipeline_id"]) == (name, pipeline["pipeline_id"]) for v in self.versions.values()):
            raise Exists("Failed to create a pipeline version")
        item = {
            "pipeline_id": pipeline["pipeline_id"],
            "name": name,
            "display_name": query.get("display_name") or name,
            "description": query.get("description", ""),
            "pipeline_spec": {"pipeline_spec": spec, **({"platform_spec": platform[0]} if platform else {})},
        }
        return self._keep(self.versions, "pipeline_version_id", item)

    def get_version(self, version_id: str) -> Item:
        return self._get(self.versions, version_id, "PipelineVersion")

    def list_versions(self, pipeline_id: str, query: Mapping[str, str]) -> Item:
        self._get(self.pipelines, pipeline_id, "Pipeline")
        items = [v for v in self.versions.values() if v["pipeline_id"] == pipeline_id]
        return self._listed("pipeline_versions", items, query)

    # Experiments

    def create_experiment(self, body: Item) -> Item:
        namespace = self._entered(body.get("namespace", ""))
        # backend/src/apiserver/resource/resource_manager.go, CreateExperiment
        if self.multi_user and not namespace:
            raise Invalid("Namespace cannot be empty")
        name = body.get("display_name", "")
        for e in self.experiments.values():
            if (e["display_name"], e.get("namespace", "")) == (name, namespace):
                raise Exists(f"Failed to create a new experiment. The name {name} already exists")
        return self._keep(self.experiments, "experiment_id", {**body, "storage_state": "AVAILABLE"})

    def list_experiments(self, query: Mapping[str, str]) -> Item:
        return self._listed("experiments", self._of_namespace(self.experiments, query), query)

    # Runs

    def create_run(self, body: Item) -> Item:
        if not body.get("display_name"):
            raise Invalid("The run name is empty. Please specify a valid name")
        self._check_pipeline(body)
        namespace = self._get(self.experiments, body.get("experiment_id", ""), "Experiment").get("namespace", "")
        history = [{"update_time": self._now(), "state": "PENDING"}]
        item = {
            **body,
            "state": "PENDING",
            "state_history": history,
            "finished_at": NEVER,
            "storage_state": "AVAILABLE",
        }
        run = self._keep(self.runs, "run_id", {**item, "run_details": {"task_details": []}}, namespace)
        run["scheduled_at"] = run["created_at"]
        return self._shown(run)

    def get_run(self, run_id: str) -> Item:
        run = self._get(self.runs, run_id, "Run")
        script = self.scripts.get(run_id)
        if script:
            script.pop(0)()
        return self._shown(run)

    def list_runs(self, query: Mapping[str, str]) -> Item:
        runs = [self._shown(run) for run in self._of_namespace(self.runs, query)]
        listed = self._listed("runs", runs, query)
        for run in listed["runs"]:
            run.pop("run_details", None)
        return listed

    def terminate_run(self, run_id: str) -> Item:
        run = self._get(self.runs, run_id, "Run")
        # backend/src/apiserver/storage/run_store.go, TerminateRun
        if run["state"] not in _TERMINABLE:
            raise Invalid(f"Failed to terminate a run {run_id}. Row not found")
        self._move(run_id, "CANCELING")
        # Never CANCELED: so it was on a cluster (tests/fixtures/kfp).
        self.scripts[run_id] = [lambda: None, lambda: self.end(run_id, "FAILED")]
        return {}

    # Recurring runs

    def create_recurring(self, body: Item) -> Item:
        if not body.get("display_name"):
            raise Invalid("Recurring run name is empty. Please specify a valid name")
        # backend/src/apiserver/server/recurring_run_server.go, validateCreateRecurringRunRequest
        self._check_pipeline(body)
        concurrency = int(body.get("max_concurrency", 0))
        if not 1 <= concurrency <= 10:
            raise Invalid(
                f"The max concurrency of the recurring run is out of range. Support 1-10. Received {concurrency}."
            )
        trigger = body.get("trigger", {})
        if cron := trigger.get("cron_schedule"):
            try:
                check_cron(cron["cron"])
            except ValueError as error:
                raise Invalid(f"Schedule cron is not a supported format. Error: {error}") from None
        if (every := trigger.get("periodic_schedule")) and int(every["interval_second"]) < 1:
            raise Invalid("Found invalid period schedule interval. Set at interval to least 1 second.")
        namespace = self._get(self.experiments, body.get("experiment_id", ""), "Experiment").get("namespace", "")
        if self.multi_user and body.get("namespace") != namespace:
            raise Invalid("Recurring run cannot have an empty namespace in multi-user mode")
        status = "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED"
        # Names need not be unique.
        return self._keep(self.recurring, "recurring_run_id", {**body, "status": status}, namespace)

    def list_recurring(self, query: Mapping[str, str]) -> Item:
        return self._listed("recurringRuns", self._of_namespace(self.recurring, query), query)

    def switch_recurring(self, recurring_run_id: str, status: str) -> Item:
        self._get(self.recurring, recurring_run_id, "Recurring run")["status"] = status
        return {}

    def delete_recurring(self, recurring_run_id: str, propagation: str) -> Item:
        self._get(self.recurring, recurring_run_id, "Recurring run")
        del self.recurring[recurring_run_id]
        # The workflows belong to the schedule (NewWorkflow in backend/src/crd/controller/scheduledworkflow/util/
        # scheduled_workflow.go), so Kubernetes deletes them with it unless the request says otherwise.
        if propagation != "ORPHAN":
            for run in self.runs.values():
                if run.get("recurring_run_id") == recurring_run_id and run["state"] in _UNFINISHED:
                    self.end(run["run_id"], "FAILED")
        return {}

    def fire(self, recurring_run_id: str, moment: datetime) -> Item | None:
        """Start a run as the controller does when a schedule is due; None if it is paused or has enough active runs."""
        schedule = self.recurring[recurring_run_id]
        ongoing = [
            run
            for run in self.runs.values()
            if run.get("recurring_run_id") == recurring_run_id and run["state"] in _UNFINISHED
        ]
        if schedule["status"] == "DISABLED" or len(ongoing) >= int(schedule["max_concurrency"]):
            return None
        # The controller makes the workflow itself, and the record of the run is made of it: with the parameters as they
        # were written, without a service account (../shared/kfp/schedule/firing.json).
        kept = ("experiment_id", "pipeline_version_reference", "runtime_config")
        count = sum(run.get("recurring_run_id") == recurring_run_id for run in self.runs.values()) + 1
        name = f"{re.sub('[^a-z0-9]', '', schedule['display_name'].lower())}{recurring_run_id[:5]}-{count}"
        body = {name: copy.deepcopy(schedule[name]) for name in kept if name in schedule}
        run_id = str(uuid.uuid4())
        self.runs[run_id] = body | {
            "run_id": run_id,
            "recurring_run_id": recurring_run_id,
            "display_name": f"{name}-{zlib.crc32(name.encode())}",
            "scheduled_at": _text(moment),
            "created_at": _text(moment + timedelta(seconds=1)),
            "finished_at": NEVER,
            "state": "RUNNING",
            "state_history": [{"update_time": _text(moment + timedelta(seconds=2)), "state": "RUNNING"}],
            "storage_state": "AVAILABLE",
            "run_details": {"task_details": []},
            **({"namespace": schedule["namespace"]} if "namespace" in schedule else {}),
        }
        return self.runs[run_id]

    def arguments(self, run_id: str, task: str) -> Item:
        """Return the arguments of a task of a run's root that waits for no other."""
        run = self.runs[run_id]
        version = self.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
        return task_arguments(version["pipeline_spec"]["pipeline_spec"], run, task)

    # What happens in the cluster

    def stage(self, run_id: str, name: str, state: str, iteration: int = 0, shard: int | None = None) -> None:
        """Add the nodes of a stage's task, or change their state.

        Args:
            state: of its pod; `DRIVER` where only its driver has been made and waits for its own, `VANISHED` where it
                was deleted or evicted. Kubeflow's launcher makes any other end FAILED, which is never tried again.
            iteration: in layout tasks, the iteration that it belongs to.
            shard: in ParallelFor, its item.
        """
        workflow, moment = self._workflow(run_id), self._now()
        inner = workflow.try_of(workflow.try_of("", "RUNNING", moment) + ".root", "RUNNING", moment)
        if iteration:
            inner = workflow.try_of(f"{inner}.loop", "RUNNING", moment)
            for number in range(1, iteration + 1):
                inner = workflow.try_of(f"{inner}.condition-{number}", "RUNNING", moment)
            inner = workflow.try_of(f"{inner}.iteration{'' if iteration == 1 else f'-{iteration}'}", "RUNNING", moment)
        if shard is not None:
            inner = workflow.try_of(f"{inner}.for-loop-1", "RUNNING", moment)
            workflow.put(f"{inner}.iteration-iterations", "RUNNING", moment)
            item = f"{inner}.iteration-iterations({shard}:{shard})"
            inner = workflow.try_of(item, "RUNNING", moment, f"{inner}.iteration-iterations")
            inner = workflow.try_of(f"{inner}.iteration-item", "RUNNING", moment)
        driver = workflow.try_of(f"{inner}.{name}-driver", "PENDING" if state == "DRIVER" else "SUCCEEDED", moment)
        if state == "DRIVER":
            return
        going_on = state in ("PENDING", "VANISHED")
        graph = workflow.try_of(f"{inner}.{name}", "RUNNING" if going_on else state, moment, driver)
        if state == "VANISHED":
            if workflow.vanish(f"{graph}.executor", moment) == "FAILED":
                workflow.try_of(graph.removesuffix("(0)"), "FAILED", moment)
        else:
            workflow.try_of(f"{graph}.executor", state, moment)

    def failed_driver(self, run_id: str) -> None:
        """Let the driver of the whole run fail, as without a service account."""
        workflow, moment = self._workflow(run_id), self._now()
        workflow.try_of(workflow.try_of("", "FAILED", moment) + ".root-driver", "FAILED", moment)

    def _workflow(self, run_id: str) -> Workflow:
        run = self.runs[run_id]
        workflow = self._workflows.setdefault(run_id, Workflow(run_id, run["created_at"]))
        run["run_details"] = {"task_details": workflow.tasks()}
        return workflow

    def begin(self, run_id: str) -> None:
        self._move(run_id, "RUNNING")

    def end(self, run_id: str, state: str) -> None:
        self._move(run_id, state)
        self.runs[run_id]["finished_at"] = self._now()
        if run_id in self._workflows:
            self._workflows[run_id].finish(state, self._now())

    def _move(self, run_id: str, state: str) -> None:
        run = self.runs[run_id]
        run["state"] = state
        run["state_history"] = [*run["state_history"], {"update_time": self._now(), "state": state}]

    def _check_pipeline(self, body: Item) -> None:
        reference = body.get("pipeline_version_reference")
        if not reference:
            raise Invalid("Failed to fetch a template: the pipeline source is empty")
        version = self._get(self.versions, reference.get("pipeline_version_id", ""), "PipelineVersion")
        spec = version["pipeline_spec"]["pipeline_spec"]
        declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        given = body.get("runtime_config", {}).get("parameters", {})
        # validatePipelineJobInputs in backend/src/apiserver/template/v2_template.go
        for name, parameter in declared.items():
            kind, types = _TYPES[parameter["parameterType"]]
            value = given.get(name)
            if name not in given and "defaultValue" not in parameter and not parameter.get("isOptional"):
                raise Invalid(
                    f"parameter {name} is not optional, yet has neither default value nor user provided value"
                )
            if name in given and (not isinstance(value, types) or (isinstance(value, bool) and bool not in types)):
                noun = "number" if "integer" in kind else kind
                raise Invalid(
                    f"input parameter {name} requires type {kind}, but the input parameter is not of {noun} value type"
                )
        if extra := [name for name in given if name not in declared]:
            raise Invalid(f"parameter(s) provided are not required by pipeline: {', '.join(extra)}")

    def _entered(self, namespace: str) -> str:
        if not self.multi_user:
            # ReplaceNamespace in backend/src/apiserver/resource/resource_manager.go
            return ""
        if namespace and namespace not in self.namespaces:
            raise Forbidden(f"User 'me' is not authorized with reason: no access to namespace {namespace}")
        return namespace

    def _of_namespace(self, items: dict[str, Item], query: Mapping[str, str]) -> list[Item]:
        namespace = self._entered(query.get("namespace", ""))
        if self.multi_user and not namespace:
            raise Invalid("Invalid input error: a namespace is required in multi-user mode")
        return [item for item in items.values() if item.get("namespace", "") == namespace]

    def _listed(self, name: str, items: list[Item], query: Mapping[str, str]) -> Item:
        found, token = page(items, query, _KEYS)
        return {name: found, "total_size": len(items), **({"next_page_token": token} if token else {})}

    def _keep(self, kept: dict[str, Item], key: str, body: Item, namespace: str | None = None) -> Item:
        item = {**body, key: str(uuid.uuid4()), "created_at": self._now()}
        if namespace is not None:
            item["namespace"] = namespace
        kept[item[key]] = {name: value for name, value in item.items() if value != ""}
        return kept[item[key]]

    def _get(self, kept: dict[str, Item], key: str, what: str) -> Item:
        if key not in kept:
            raise Missing(f"{what} {key} not found")
        return kept[key]

    def _shown(self, run: Item) -> Item:
        """Return a run as the API shows it: without its namespace."""
        return {name: value for name, value in run.items() if name != "namespace"}

    def _now(self) -> str:
        self._seconds += 1
        return _text(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self._seconds))


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
