"""The launcher's requests to Kubernetes, each with a time limit, and their errors in one line."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3
from kubeflow.common.utils import get_default_target_namespace
from kubeflow.trainer.constants.constants import GROUP, JOBSET_NAME_LABEL, TRAINJOB_PLURAL, VERSION
from kubernetes import client, config, watch

from components.contract.errors import InputError

TASK_LABEL = "rapid-rl/task"
MISSING, CONFLICT = 404, 409

_TIMEOUT = (10, 60)
"""Seconds to connect, and between two parts of a response."""

_WATCH_SECONDS = 300

_SHORT_TIMEOUT = (2, 3)
"""The same without retries, where the process is about to end."""

# Long enough for an API server to restart: 0, 2, 4, 8, 16 and 32 seconds between tries. Creations are retried too,
# because a name can be created only once.
_RETRIES = urllib3.Retry(
    total=6, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None, raise_on_status=False
)

_FIXES = {
    401: "the token of this pod's service account, or the kubeconfig, is not accepted",
    403: "give this service account the role in k8s/ that launches training jobs",
    MISSING: "install Kubeflow Trainer 2.3 or newer, whose resources these are",
    413: "the settings of the job are too large",
    422: "the cluster's settings ask for what the cluster does not take",
}


@dataclass(frozen=True)
class Job:
    """The state of a TrainJob.

    Attributes:
        end: `Complete` or `Failed`; None while it runs.
        reason: reason and message of that condition, or of its suspension; empty without one.
        deleting: it is being removed with all that belongs to it.
        task: digest of the training and its settings, from the job's label; empty without one.
    """

    name: str
    uid: str
    end: str | None
    reason: str
    deleting: bool
    task: str


class _BoundedClient(client.ApiClient):  # type: ignore[misc]  # it has no types
    """Client whose requests all have a time limit, those of the SDK too, which sets none."""

    def __init__(self, configuration: client.Configuration, timeout: tuple[float, float]) -> None:
        super().__init__(configuration)
        self._timeout = timeout

    def request(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["_request_timeout"] = kwargs.get("_request_timeout") or self._timeout
        return super().request(*args, **kwargs)


class Cluster:
    """One namespace of the cluster that this pod runs in, or that the kubeconfig names.

    Args:
        retry: False for short requests without retries, where this process is about to end.
    """

    def __init__(self, retry: bool = True) -> None:
        # Otherwise every failed try prints a line.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self.configuration = client.Configuration()
        try:
            try:
                config.load_incluster_config(client_configuration=self.configuration)
            except config.ConfigException:
                config.load_kube_config(client_configuration=self.configuration)
        except (config.ConfigException, OSError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"cannot reach Kubernetes: not running in a pod, and {reason}") from None
        self.configuration.retries = _RETRIES if retry else urllib3.Retry(0)
        api = _BoundedClient(self.configuration, _TIMEOUT if retry else _SHORT_TIMEOUT)
        self.custom, self.core = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self.namespace = get_default_target_namespace()

    def job(self, name: str) -> Job | None:
        """Return the job of that name, or None."""
        with kubernetes_errors(f"cannot look at TrainJob {self.namespace}/{name}"):
            try:
                found = self.custom.get_namespaced_custom_object(*self._path(name))
            except client.ApiException as error:
                # Without a name in its details, the answer says that the cluster has no TrainJobs at all.
                if error.status == MISSING and "name" in _answer(error).get("details", {}):
                    return None
                raise
        return _job(found)

    def delete(self, job: Job) -> None:
        """Delete exactly this job, its pods first; do nothing where it is gone or replaced.

        In the foreground, so that its name is free once all of it has gone: Trainer takes the JobSet that a job of the
        same name has left for the new job's own, and its failure too.
        """
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=job.uid))
        with kubernetes_errors(f"cannot delete TrainJob {self.namespace}/{job.name}"):
            try:
                self.custom.delete_namespaced_custom_object(
                    *self._path(job.name), propagation_policy="Foreground", body=options
                )
            except client.ApiException as error:
                if error.status not in (MISSING, CONFLICT):
                    raise

    def pods(self, job: str) -> list[client.V1Pod]:
        """Return the job's pods, newest first."""
        with kubernetes_errors(f"cannot look at the pods of TrainJob {self.namespace}/{job}"):
            found = self.core.list_namespaced_pod(self.namespace, label_selector=f"{JOBSET_NAME_LABEL}={job}")
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def own_pod(self) -> client.V1Pod | None:
        """Return the pod that this process runs in; None outside of one, and where it may not be read."""
        name = own_pod_name()
        try:
            return self.core.read_namespaced_pod(name, self.namespace) if name else None
        except (client.ApiException, urllib3.exceptions.HTTPError):
            return None

    def own_pod_states(self) -> Iterator[client.V1Pod]:
        """Yield the pod that this process runs in at every change, for some minutes.

        Raises:
            ApiException, HTTPError: it may not be watched, or the connection broke.
        """
        if name := own_pod_name():
            events = watch.Watch().stream(
                self.core.list_namespaced_pod,
                self.namespace,
                field_selector=f"metadata.name={name}",
                timeout_seconds=_WATCH_SECONDS,
                _request_timeout=(_TIMEOUT[0], 2 * _WATCH_SECONDS),
            )
            yield from (event["object"] for event in events)

    def log(self, pod: str, container: str) -> Iterator[str]:
        """Yield the log lines of a container, each after its timestamp, until it ends or the connection breaks."""
        read = self.core.read_namespaced_pod_log
        yield from watch.Watch().stream(read, name=pod, namespace=self.namespace, container=container, timestamps=True)

    def log_tail(self, pod: str, container: str, lines: int) -> list[str]:
        with kubernetes_errors(f"cannot read the log of pod {self.namespace}/{pod}"):
            text = self.core.read_namespaced_pod_log(pod, self.namespace, container=container, tail_lines=lines)
        return list(text.splitlines())

    def _path(self, job: str) -> tuple[str, str, str, str, str]:
        return GROUP, VERSION, self.namespace, TRAINJOB_PLURAL, job


def own_pod_name() -> str:
    """Return the name of the pod that this process seems to run in; empty where there is none."""
    return os.environ.get("KFP_POD_NAME") or os.environ.get("HOSTNAME", "")


def _job(found: dict[str, Any]) -> Job:
    metadata = found["metadata"]
    true = {c["type"]: c for c in found.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    end = next((kind for kind in ("Complete", "Failed") if kind in true), None)
    condition = true.get(end or "Suspended", {})
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        end=end,
        reason=": ".join(filter(None, [condition.get("reason"), condition.get("message")])),
        deleting="deletionTimestamp" in metadata,
        task=metadata.get("labels", {}).get(TASK_LABEL, ""),
    )


@contextmanager
def kubernetes_errors(what: str, fix: dict[int, str] | None = None) -> Iterator[None]:
    """Turn errors of Kubernetes and of the connection into an InputError: `<what>: <why>; <fix>`.

    Args:
        fix: advice by status, in place of the usual one.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, client.ApiException) and cause.status:
            advice = {**_FIXES, **(fix or {})}.get(cause.status, "start the stage again once the cluster is well")
            message = _one_line(_answer(cause).get("message") or cause.reason)
            reason = f"Kubernetes answered {cause.status} ({message}); {advice}"
        elif isinstance(cause, client.ApiException | urllib3.exceptions.HTTPError | OSError):
            reason = f"Kubernetes cannot be reached ({_one_line(_reason(cause))}); start the stage again once it can"
        elif isinstance(error, RuntimeError | ValueError):
            # The SDK itself refuses its arguments: a runtime, or a setting.
            reason = _one_line(cause)
        else:
            raise
        raise InputError(f"{what}: {reason}") from None


def root_cause(error: BaseException) -> BaseException:
    """Return the cause of an error that the SDK has wrapped."""
    while not isinstance(error, client.ApiException | urllib3.exceptions.HTTPError | TimeoutError) and error.__cause__:
        error = error.__cause__
    return error


def _answer(error: client.ApiException) -> dict[str, Any]:
    """Return the Status object of the response; empty where the response is not Kubernetes' own."""
    try:
        answer = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _reason(error: BaseException) -> str:
    """Return the reason of the last of several tries."""
    inner = getattr(error, "reason", None) or error
    return str((getattr(inner, "args", None) and inner.args[-1]) or inner)


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:500]
