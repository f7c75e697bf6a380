"""The progress of a training job: what it waits for, its log and its pods, followed to its end."""

import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import urllib3
from kubeflow.trainer.constants.constants import NODE
from kubernetes.client import ApiException

from components.contract.errors import InputError
from components.runtime.heartbeat import Heartbeat
from components.runtime.progress import note
from components.trainjob.job_nodes import Node, first_failure, nodes_of
from components.trainjob.kubernetes_api import Cluster, Job

_LOOK_SECONDS = 2.0
_LOG_SECONDS = 10.0
"""Patience with the rest of a log once its job has ended."""

_TAIL_LINES, _TAIL_NODES = 100, 16
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass
class JobProgress:
    """A job that is followed.

    Attributes:
        heartbeat: of the launcher; it says what the job waits for.
        lost: which pod was deleted before any failed, in words; empty where none was.
    """

    cluster: Cluster
    name: str
    heartbeat: Heartbeat
    lost: str = ""
    _nodes: list[Node] = field(default_factory=list)

    def follow(self) -> Job | None:
        """Print the first node's log until the job ends; return None where the job was deleted.

        Before the job starts, the reason why it waits is printed whenever it changes.
        """
        cluster, name, log = self.cluster, self.name, _NodeLog(self.cluster)
        printed: str | None = None
        while (job := cluster.job(name)) and not job.end:
            nodes = nodes_of(cluster.pods(name))
            waits = _job_waits(job, nodes)
            if waits != printed:
                printed = waits
                if waits:
                    note(f"TrainJob {name}: {waits}")
                    self.heartbeat.say("waiting", f"for nodes: {waits}"[:300])
                else:
                    self.heartbeat.say("working", f"TrainJob {name}")
            if not job.deleting:
                self._look_for_lost(nodes if not job.reason else [])
            if nodes and nodes[0].index == 0 and not nodes[0].waits:
                log.follow(nodes[0])
            time.sleep(_LOOK_SECONDS)
        for node in nodes_of(cluster.pods(name))[:1] if job else ():
            if node.index == 0:
                log.finish(node)
        return job

    def print_other_logs(self, nodes: list[Node]) -> None:
        """Print the ends of the logs that were not printed while they were followed: they go with the job."""
        for node in [node for node in nodes if node.index > 0][:_TAIL_NODES]:
            try:
                lines = self.cluster.log_tail(node.pod, NODE, _TAIL_LINES)
            except InputError:
                continue  # its pod is gone, or never ran
            for line in lines:
                print(f"node {node.index}: {line}", file=sys.stderr, flush=True)

    def _look_for_lost(self, nodes: list[Node]) -> None:
        """Note the first pod that was deleted, unless one that failed explains it: the others are then deleted too."""
        there, failed = {node.uid: node for node in nodes}, first_failure(nodes)
        gone = [(there[node.uid].deleted if node.uid in there else _LONG_AGO, node) for node in self._nodes]
        first = min(((moment, node) for moment, node in gone if moment), key=lambda item: item[0], default=None)
        self._nodes = nodes
        if first is None or self.lost or not nodes:
            return
        moment, node = first
        if failed and failed.ended:
            if moment == _LONG_AGO or failed.ended < moment:
                return
            if failed.ended == moment and failed.index != node.index:  # Kubernetes counts in seconds
                return
        where = f" on {node.host}" if node.host else ""
        self.lost = f"the pod of node {node.index}, {node.pod}{where}, was deleted"


def _job_waits(job: Job, nodes: list[Node]) -> str:
    """Return why the job does not train yet; empty once it does."""
    if job.deleting:
        return "is being deleted"
    if job.reason:
        return f"waits ({job.reason})"
    if not nodes:
        return "waits for its pods"
    waiting = [node for node in nodes if node.waits]
    if not waiting:
        return ""
    others = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return f"node {waiting[0].index}{others} of {len(nodes)}: {waiting[0].waits}"


@dataclass
class _NodeLog:
    """A node's log, read on from the last line printed, over several connections, beside the caller's work.

    Attributes:
        pod: uid of the pod whose log is read; the log of a pod that replaces it is read from its start.
        last: timestamp of the last line printed.
    """

    cluster: Cluster
    pod: str = ""
    last: str = ""
    thread: threading.Thread | None = None

    def follow(self, node: Node) -> None:
        """Go on printing the log of a node, unless that is under way."""
        if self.thread is None or not self.thread.is_alive():
            self.thread = threading.Thread(target=self._read, args=(node,), name="node-log", daemon=True)
            self.thread.start()

    def finish(self, node: Node) -> None:
        """Print what is left of the log of a node whose job has ended."""
        if self.thread:
            self.thread.join(_LOG_SECONDS)
        if self.thread is None or not self.thread.is_alive():
            self._read(node)

    def _read(self, node: Node) -> None:
        """Print new lines until the container ends or the connection breaks."""
        if node.uid != self.pod:
            self.pod, self.last = node.uid, ""
        try:
            for line in self.cluster.log(node.pod, NODE):
                stamp, _, text = line.partition(" ")
                # The whole log is read again: it is short, and clocks need not agree.
                if stamp > self.last:
                    self.last = stamp
                    print(text, file=sys.stderr, flush=True)
        except (ApiException, urllib3.exceptions.HTTPError):
            # The pod is gone or not running yet, or the connection broke; the job's state tells which.
            pass
