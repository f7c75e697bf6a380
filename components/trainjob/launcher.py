"""Launches one iteration's training as a TrainJob, finds it again, follows it and reports how it ended."""

import sys
import time

from components.contract.errors import InputError
from components.runtime.progress import note
from components.train.task import TrainTask
from components.trainjob.cancelling import Terminated, take_leave, told_to_end
from components.trainjob.cluster import Cluster, Job
from components.trainjob.following import follow
from components.trainjob.naming import job_name, order_of
from components.trainjob.pods import Node, first_failure, nodes_of
from components.trainjob.settings import JobSettings
from components.trainjob.submission import submit

_GONE_SECONDS = 300.0
_LOOK_SECONDS = 2.0
_TAIL_LINES = 30


def launch(task: TrainTask, settings: JobSettings) -> None:
    """Train on the cluster; returns once the job has ended well.

    A job that runs already is followed, unless it was made from other inputs or with other settings: then a launcher
    that was killed has left it, and it is replaced, as is one that has ended without a policy. A job that has ended
    well is deleted: what it made is in the store. One that failed stays, to be looked at.

    Raises:
        InputError: Kubernetes refuses or cannot be reached, or the stage has found bad input.
        SystemExit: 1 when the job failed or was deleted; 143 when this process was told to end.
    """
    cluster = Cluster()
    name = job_name(task.run.uri, task.iteration)
    try:
        with told_to_end():
            _ensure(cluster, name, task, settings)
            ended = follow(cluster, name)
            _report(cluster, name, ended, task)
    except Terminated:
        take_leave(name)
        raise SystemExit(143) from None
    except KeyboardInterrupt:
        note(f"TrainJob {name} goes on; the same command follows it again, kubectl delete trainjob {name} ends it")
        raise


def _ensure(cluster: Cluster, name: str, task: TrainTask, settings: JobSettings) -> None:
    """There is a job of that name and of this order that has not ended."""
    order = order_of(task, settings)
    deadline = time.monotonic() + _GONE_SECONDS
    while True:
        job = cluster.job(name)
        if job is None:
            if submit(cluster, name, task.run.uri, task.iteration, task.run.config.train, settings, order):
                train = task.run.config.train
                note(f"TrainJob {name} is launched: {train.nodes} nodes of {train.processes} processes")
                return
        elif job.leaving:
            if time.monotonic() > deadline:
                raise InputError(f"TrainJob {name} is deleted but does not go: kubectl describe trainjob {name}")
            time.sleep(_LOOK_SECONDS)
        elif job.end:
            note(f"TrainJob {name} of an earlier start has ended ({job.end}) and is replaced")
            cluster.delete(job)
        elif job.order != order:
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
            if node.said:
                raise InputError(node.said)
        _fail(f"TrainJob {name} failed: {ended.reason}{_of_node(cluster, first_failure(nodes))}")


def _clear(cluster: Cluster, job: Job) -> None:
    try:
        cluster.delete(job)
    except InputError as error:
        # What it was for is done.
        note(str(error))


def _of_node(cluster: Cluster, node: Node | None) -> str:
    """How the node that failed first ended; prints its last lines where they were not followed."""
    if node is None:
        return ""
    if node.index > 0:
        for line in cluster.log_tail(node.pod, "node", _TAIL_LINES):
            print(f"node {node.index}: {line}", file=sys.stderr, flush=True)
    return f"; node {node.index} ended first, {node.failure}"


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    raise SystemExit(1)
