"""The launcher's requests to Kubernetes, each with a time limit."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
from kubeflow.common.utils import get_default_target_namespace
from kubeflow.trainer.constants.constants import GROUP, JOBSET_NAME_LABEL, TRAINJOB_PLURAL, VERSION
from kubernetes import client, config, watch

from components.contract.errors import InputError
from components.trainjob.kubernetes_errors import CONFLICT, MISSING, is_missing, kubernetes_errors

TASK_LABEL = "rapid-rl/task"

_TIMEOUT = (10, 60)
"""Seconds to connect, and between two parts of a response."""

_SHORT_TIMEOUT = (2, 3)
"""The same without retries, where the process is about to end."""

# Long enough for an API server to restart: 0, 2, 4, 8, 16 and 32 seconds between tries. Creations are retried too,
# because a name can be created only once.
_RETRIES = urllib3.Retry(
    total=6, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None, raise_on_status=False
)


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
            raise InputError(f"no Kubernetes to launch a training job on: neither in a pod, nor {reason}") from None
        self.configuration.retries = _RETRIES if retry else urllib3.Retry(0)
        api = _BoundedClient(self.configuration, _TIMEOUT if retry else _SHORT_TIMEOUT)
        self.custom, self.core = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self.namespace = get_default_target_namespace()

    def job(self, name: str) -> Job | None:
        """Return the job of that name, or None."""
        with kubernetes_errors(f"cannot look at TrainJob {self.namespace}/{name}"):
            try:
                found = self.custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, TRAINJOB_PLURAL, name)
            except client.ApiException as error:
                if is_missing(error):
                    return None
                raise
        return _job(found)

    def delete(self, job: Job) -> None:
        """Delete exactly this job, its pods first; do nothing where it is gone or replaced."""
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=job.uid))
        with kubernetes_errors(f"cannot delete TrainJob {self.namespace}/{job.name}"):
            try:
                self.custom.delete_namespaced_custom_object(
                    GROUP,
                    VERSION,
                    self.namespace,
                    TRAINJOB_PLURAL,
                    job.name,
                    propagation_policy="Foreground",
                    body=options,
                )
            except client.ApiException as error:
                if error.status not in (MISSING, CONFLICT):
                    raise

    def pods(self, job: str) -> list[client.V1Pod]:
        """Return the job's pods, newest first."""
        with kubernetes_errors(f"cannot look at the pods of TrainJob {self.namespace}/{job}"):
            found = self.core.list_namespaced_pod(self.namespace, label_selector=f"{JOBSET_NAME_LABEL}={job}")
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def own_pod(self, name: str) -> client.V1Pod:
        with kubernetes_errors(f"cannot look at pod {self.namespace}/{name}"):
            return self.core.read_namespaced_pod(name, self.namespace)

    def log(self, pod: str, container: str) -> Iterator[str]:
        """Yield the log lines of a container, each after its timestamp, until it ends or the connection breaks."""
        yield from watch.Watch().stream(
            self.core.read_namespaced_pod_log,
            name=pod,
            namespace=self.namespace,
            container=container,
            timestamps=True,
        )

    def log_tail(self, pod: str, container: str, lines: int) -> list[str]:
        with kubernetes_errors(f"cannot read the log of pod {self.namespace}/{pod}"):
            text = self.core.read_namespaced_pod_log(pod, self.namespace, container=container, tail_lines=lines)
        return list(text.splitlines())


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
