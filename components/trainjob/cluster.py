"""The few things the launcher asks of Kubernetes, each bounded in time."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import urllib3
from kubeflow.common.utils import get_default_target_namespace
from kubeflow.trainer.constants.constants import GROUP, JOBSET_NAME_LABEL, TRAINJOB_PLURAL, VERSION
from kubernetes import client, config, watch

from components.contract.errors import InputError
from components.trainjob.failures import CONFLICT, MISSING, explained, is_missing

ORDER_LABEL = "rapid-rl/order"

_TIMEOUT = (10, 60)
"""Seconds to connect, and between two pieces of an answer."""

_HASTY = (2, 3)
"""The same where the process has little time left, and tries nothing twice."""

# Long enough for an API server that restarts: 0, 2, 4, 8, 16 and 32 seconds between tries, of creations too, because
# a name is created only once.
_RETRIES = urllib3.Retry(
    total=6, backoff_factor=1, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None, raise_on_status=False
)


@dataclass(frozen=True)
class Job:
    """A TrainJob as it stands.

    Attributes:
        end: `Complete` or `Failed`, None while it goes on.
        reason: the condition that says so, or that it is suspended, in words; empty where there is none.
        leaving: somebody has deleted it, and what belongs to it is being removed.
        order: digest of what it was made to train and with what; empty where nothing says so.
    """

    name: str
    uid: str
    end: str | None
    reason: str
    leaving: bool
    order: str


class _BoundedClient(client.ApiClient):
    """Every request ends, those of the SDK too, which sets no limits."""

    def __init__(self, configuration: client.Configuration, timeout: tuple[float, float]) -> None:
        super().__init__(configuration)
        self._timeout = timeout

    def request(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["_request_timeout"] = kwargs.get("_request_timeout") or self._timeout
        return super().request(*args, **kwargs)


class Cluster:
    """One namespace of the cluster that this pod runs in, or that the kubeconfig names.

    Args:
        hasty: this process is about to be ended.
    """

    def __init__(self, hasty: bool = False) -> None:
        # Every try that fails is otherwise a line of its own.
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
        self.configuration.retries = urllib3.Retry(0) if hasty else _RETRIES
        api = _BoundedClient(self.configuration, _HASTY if hasty else _TIMEOUT)
        self.custom, self.core = client.CustomObjectsApi(api), client.CoreV1Api(api)
        self.namespace = get_default_target_namespace()

    def job(self, name: str) -> Job | None:
        """None where there is none of that name."""
        with explained(f"cannot look at TrainJob {self.namespace}/{name}"):
            try:
                found = self.custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, TRAINJOB_PLURAL, name)
            except client.ApiException as error:
                if is_missing(error):
                    return None
                raise
        return _job(found)

    def delete(self, job: Job) -> None:
        """Ask for the removal of this very job, its pods first; one that is gone or replaced is left alone."""
        options = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=job.uid))
        with explained(f"cannot delete TrainJob {self.namespace}/{job.name}"):
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
        """The job's pods, newest first."""
        with explained(f"cannot look at the pods of TrainJob {self.namespace}/{job}"):
            found = self.core.list_namespaced_pod(self.namespace, label_selector=f"{JOBSET_NAME_LABEL}={job}")
        return sorted(found.items, key=lambda pod: pod.metadata.creation_timestamp, reverse=True)

    def own_pod(self, name: str) -> client.V1Pod:
        with explained(f"cannot look at pod {self.namespace}/{name}"):
            return self.core.read_namespaced_pod(name, self.namespace)

    def log(self, pod: str, container: str) -> Iterator[str]:
        """The lines of a container from its start until it ends or the connection does, each behind its time."""
        yield from watch.Watch().stream(
            self.core.read_namespaced_pod_log,
            name=pod,
            namespace=self.namespace,
            container=container,
            timestamps=True,
        )

    def log_tail(self, pod: str, container: str, lines: int) -> list[str]:
        with explained(f"cannot read the log of pod {self.namespace}/{pod}"):
            text = self.core.read_namespaced_pod_log(pod, self.namespace, container=container, tail_lines=lines)
        return list(text.splitlines())


def _job(found: dict[str, Any]) -> Job:
    metadata = found["metadata"]
    true = {c["type"]: c for c in found.get("status", {}).get("conditions", ()) if c["status"] == "True"}
    end = next((kind for kind in ("Complete", "Failed") if kind in true), None)
    told = true.get(end or "Suspended", {})
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        end=end,
        reason=": ".join(filter(None, [told.get("reason"), told.get("message")])),
        leaving="deletionTimestamp" in metadata,
        order=metadata.get("labels", {}).get(ORDER_LABEL, ""),
    )
