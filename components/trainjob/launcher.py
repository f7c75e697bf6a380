"""One iteration's training as a TrainJob: launched or found again, followed, and its end reported."""

import sys
import time

from components.contract.errors import InputError
from components.runtime.progress import note
from components.train.task import TrainTask
from components.trainjob.job_names import job_name, task_digest
from components.trainjob.job_pods import Node, first_failure, nodes_of
from components.trainjob.job_progress import follow
from components.trainjob.job_settings import JobSettings
from components.trainjob.job_submission import submit
from components.trainjob.kubernetes_api import Cluster, Job
from components.trainjob.termination import Terminated, delete_unless_disrupted, sigterm_raises

_GONE_SECONDS = 300.0
_LOOK_SECONDS = 2.0
_TAIL_LINES = 30


def launch(task: TrainTask, settings: JobSettings) -> None:
    """Train on the cluster; return once the job has succeeded.

    A running job is followed, unless it has other inputs or settings: then a killed launcher has left it behind, and it
    is replaced, as is one that has ended without a policy. A job that succeeded is deleted, because its policy is in
    the store; one that failed stays for inspection.

    Raises:
        InputError: Kubernetes refuses or cannot be reached, or the stage has found bad input.
        SystemExit: 1 when the job failed or was deleted; 143 when this process received SIGTERM.
    """
    cluster = Cluster()
    name = job_name(task.run.uri, task.iteration)
    try:
        with sigterm_raises():
            _ensure(cluster, name, task, settings)
            ended = follow(cluster, name)
            _report(cluster, name, ended, task)
    except Terminated:
        delete_unless_disrupted(name)
        raise SystemExit(143) from None
    except KeyboardInterrupt:
        note(f"TrainJob {name} goes on; the same command follows it again, kubectl delete trainjob {name} ends it")
        raise


def _ensure(cluster: Cluster, name: str, task: TrainTask, settings: JobSettings) -> None:
    """Make sure that a job of that name, with this task and these settings, is running."""
    digest = task_digest(task, settings)
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        job = cluster.job(name)
        if job is None:
            if submit(cluster, name, task.run.uri, task.iteration, task.run.config.train, settings, digest):
                train = task.run.config.train
                note(f"TrainJob {name} is launched: {train.nodes} nodes of {train.processes} processes")
                return
        elif job.deleting:
            if time.monotonic() > deadline:
                raise InputError(f"TrainJob {name} is deleted but does not go: kubectl describe trainjob {name}")
            time.sleep(_LOOK_SECONDS)
        elif job.end:
            note(f"TrainJob {name} of an earlier start has ended ({job.end}) and is replaced")
            cluster.delete(job)
        elif job.task != digest:
            note(f"TrainJob {name} of an earlier start has other inputs or settings and is replaced")
            cluster.delete(job)
        else:
            note(f"TrainJob {name} runs already and is followed")
            return


def _report(cluster: Cluster, name: str, ended: Job | None, task: TrainTask) -> None:
    manifest = task.output.manifest()
    committed = manifest is not None and manifest.facts["outcome"] == "trained"
    if ended is None:
        if committed:
            return
        _fail(f"TrainJob {name} was deleted before its policy was committed")
    elif ended.end == "Complete":
        if manifest is not None:
            _clear(cluster, ended)
    elif committed:
        note(f"TrainJob {name} failed ({ended.reason}) after its policy was committed")
    else:
        nodes = nodes_of(cluster.pods(name))
        for node in nodes:
            if node.message:
                raise InputError(node.message)
        _fail(f"TrainJob {name} failed: {ended.reason}{_of_node(cluster, first_failure(nodes))}")


def _clear(cluster: Cluster, job: Job) -> None:
    try:
        cluster.delete(job)
    except InputError as error:
        # The policy is committed all the same.
        note(str(error))


def _of_node(cluster: Cluster, node: Node | None) -> str:
    """Describe how the node that failed first ended; print its last lines where its log was not followed."""
    if node is None:
        return ""
    if node.index > 0:
        for line in cluster.log_tail(node.pod, "node", _TAIL_LINES):
            print(f"node {node.index}: {line}", file=sys.stderr, flush=True)
    return f"; node {node.index} ended first, {node.failure}"


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
