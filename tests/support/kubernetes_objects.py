"""The state of a Kubernetes API server for training jobs; tests play the controllers."""

import functools
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Object = dict[str, Any]

_CRD = Path(__file__).parents[1] / "fixtures" / "crds" / "trainjobs.yaml"
_RUNTIME = Path(__file__).parents[2] / "k8s" / "components" / "several-nodes" / "runtime.yaml"
_LABEL = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"


@functools.cache
def trainjob_schema() -> Object:
    """Return the published schema as JSON Schema that refuses unknown fields, as strict validation does."""
    crd = yaml.safe_load(_CRD.read_text(encoding="utf-8"))
    (version,) = crd["spec"]["versions"]
    return _strict(version["schema"]["openAPIV3Schema"])


def problems(job: Object) -> list[str]:
    """Return the reasons why the schema, its validation rules, JobSet or Trainer's webhook would refuse a TrainJob."""
    found = [
        f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"
        for error in jsonschema.Draft202012Validator(trainjob_schema()).iter_errors(job)
    ]
    metadata = job["metadata"]
    name = metadata.get("name", "")
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > 63:
        found.append(f"metadata.name: {name!r} is not a valid DNS label")
    nodes = job["spec"].get("trainer", {}).get("numNodes", 1)
    if len(f"{name}-node-0-{nodes - 1}-abcde") > 63:
        found.append(f"metadata.name: pods of {name!r} would have names longer than 63 characters")
    for key, value in metadata.get("labels", {}).items():
        if not re.fullmatch(_LABEL, value) or len(value) > 63:
            found.append(f"metadata.labels: {value!r} is not a valid value of {key}")
    for patch in job["spec"].get("runtimePatches", ()):
        for replicated in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
            for container in replicated["template"]["spec"]["template"].get("spec", {}).get("containers", ()):
                if container["name"] == "node" and container.get("env"):
                    found.append("runtimePatches: must not have envs for the node container")
    return found


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _strict(value) for key, value in schema.items() if key != "format"}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        changed["additionalProperties"] = False
    return changed


def now(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass
class Kubernetes:
    """The objects of one namespace; `changed` is notified of every change."""

    namespace: str = "rapid"
    jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    runtimes: dict[str, Object] = field(default_factory=dict)
    created: list[Object] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    exit_codes: list[int] = field(default_factory=list)
    lingers: float = 0.0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        runtime = yaml.safe_load(_RUNTIME.read_text(encoding="utf-8"))
        self.runtimes[runtime["metadata"]["name"]] = runtime

    def create(self, job: Object) -> Object:
        metadata = {"namespace": self.namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
        stored = {**job, "metadata": {**job["metadata"], **metadata}}
        with self.changed:
            self.jobs[job["metadata"]["name"]] = stored
            self.created.append(stored)
            self.changed.notify_all()
        return stored

    def delete(self, name: str) -> None:
        """Delete a job in the foreground: its pods first, and the job itself after `lingers` seconds."""

        def gone() -> None:
            with self.changed:
                self.jobs.pop(name, None)
                self.changed.notify_all()

        with self.changed:
            self.deleted.append(name)
            self.jobs[name]["metadata"]["deletionTimestamp"] = now()
            for pod in [pod for pod in self.pods if self.pods[pod]["metadata"]["labels"].get(_JOBSET) == name]:
                del self.pods[pod]
            self.changed.notify_all()
        if self.lingers:
            threading.Timer(self.lingers, gone).start()
        else:
            gone()

    def wait_for_job(self, number: int = 1, seconds: float = 30.0) -> str:
        """Wait until `number` jobs have been created and return the name of the last."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.created) >= number, seconds), "no job was created"
            return str(self.created[number - 1]["metadata"]["name"])

    def run_pod(self, job: str, index: int = 0, state: Object | None = None, again: int = 0) -> str:
        """Start a pod for a node of a job, its container in `state`, and return its name."""
        name = f"{job}-node-0-{index}-abcd{again}"
        labels = {
            _JOBSET: job,
            "jobset.sigs.k8s.io/replicatedjob-name": "node",
            "batch.kubernetes.io/job-completion-index": str(index),
        }
        state = state or {"running": {"startedAt": now()}}
        with self.changed:
            self.logs.setdefault(name, [])
            self.pods[name] = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": self.namespace,
                    "uid": str(uuid.uuid4()),
                    "labels": labels,
                    "creationTimestamp": now(again),
                },
                "spec": {"containers": [{"name": "node"}], "nodeName": f"worker-{index}"},
                "status": {
                    "phase": "Pending" if "waiting" in state else "Running",
                    "conditions": [],
                    "containerStatuses": [
                        {"name": "node", "state": state, "ready": True, "restartCount": 0, "image": "", "imageID": ""}
                    ],
                },
            }
            self.changed.notify_all()
        return name

    def say(self, pod: str, *lines: str) -> None:
        with self.changed:
            for line in lines:
                stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + f"{len(self.logs[pod]):03d}Z"
                self.logs[pod].append(f"{stamp} {line}")
            self.changed.notify_all()

    def end_pod(self, pod: str, status: int = 0, reason: str = "", message: str = "", later: float = 0.0) -> None:
        ended = {
            "exitCode": status,
            "reason": reason or ("Error" if status else "Completed"),
            "message": message,
            "finishedAt": now(later),
        }
        with self.changed:
            self.exit_codes.append(status)
            self.pods[pod]["status"]["phase"] = "Failed" if status else "Succeeded"
            self.pods[pod]["status"]["containerStatuses"][0]["state"] = {"terminated": ended}
            self.changed.notify_all()

    def condition(self, job: str, kind: str, reason: str, message: str = "", status: str = "True") -> None:
        """Set a condition of a job, as its controller does."""
        condition = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": now(),
        }
        with self.changed:
            conditions = self.jobs[job].setdefault("status", {}).setdefault("conditions", [])
            conditions[:] = [*(c for c in conditions if c["type"] != kind), condition]
            assert not problems(self.jobs[job]), problems(self.jobs[job])
            self.changed.notify_all()

    def complete(self, job: str) -> None:
        self.condition(job, "Complete", "AllJobsCompleted", "jobset completed successfully")

    def fail(self, job: str) -> None:
        """Fail a job as JobSet does with the runtime's `maxRestarts: 0`. It stays until somebody deletes it."""
        message = f"jobset failed due to reaching max number of restarts (first failed job: {job}-node-0)"
        self.condition(job, "Failed", "ReachedMaxRestarts", message)

    def delete_pod(self, name: str, lingers: float = 0.0) -> None:
        """Delete one pod: it ends for `lingers` seconds; Job controller and JobSet then end the others and the job."""
        job = self.pods[name]["metadata"]["labels"][_JOBSET]
        self._begin_to_end(name)
        time.sleep(lingers)
        others = [pod for pod, it in self.pods.items() if it["metadata"]["labels"].get(_JOBSET) == job]
        for pod in others:
            self._begin_to_end(pod)
        time.sleep(lingers)
        with self.changed:
            for pod in others:
                del self.pods[pod]
            self.changed.notify_all()
        self.fail(job)

    def mark_disrupted(self, pod: str) -> None:
        """Mark a pod as the eviction API does before it deletes it."""
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": ""}
        with self.changed:
            self.pods[pod]["status"]["conditions"] = [condition]
            self.changed.notify_all()

    def _begin_to_end(self, pod: str) -> None:
        with self.changed:
            metadata = self.pods[pod]["metadata"]
            if "deletionTimestamp" not in metadata:
                metadata |= {"deletionTimestamp": now(30), "deletionGracePeriodSeconds": 30}
            self.changed.notify_all()


_JOBSET = "jobset.sigs.k8s.io/jobset-name"
