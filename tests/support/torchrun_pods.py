"""The pods of a training job as local processes: the job's own command, one process for each node."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from components.runtime.guard import TERMINATION_VARIABLE
from tests.support.kubernetes_objects import Kubernetes


def run_pods(state: Kubernetes, scratch: Path) -> None:
    """Start the next job's pods, report their states and end the job, as Trainer, JobSet and the kubelets do."""
    name = state.wait_for_job()
    trainer = state.jobs[name]["spec"]["trainer"]
    assert trainer["command"] == ["torchrun"]
    command = [sys.executable, "-m", "torch.distributed.run", *trainer["args"]]
    given = {variable["name"]: variable["value"] for variable in trainer["env"]}
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    threads = []
    for node in range(trainer["numNodes"]):
        folder = scratch / f"node-{node}"
        folder.mkdir()
        environment = {
            **given,
            # Trainer sets these; the job's arguments take precedence over them.
            "PET_NNODES": str(trainer["numNodes"]),
            "PET_NODE_RANK": str(node),
            "PET_NPROC_PER_NODE": "auto",
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(port),
            "TMPDIR": str(folder),
            "RAPID_EVENTS": "",
            TERMINATION_VARIABLE: str(folder / "termination-log"),
        }
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threads.append(threading.Thread(target=_watch, args=(state, state.run_pod(name, node), process, folder)))
        threads[-1].start()
    for thread in threads:
        thread.join()
    failed = [pod for pod in state.pods.values() if pod["status"]["phase"] == "Failed"]
    if failed:
        state.fail(name)
    else:
        state.complete(name)


def _watch(state: Kubernetes, pod: str, process: "subprocess.Popen[str]", folder: Path) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        state.say(pod, line.rstrip("\n"))
    status = process.wait()
    log = folder / "termination-log"
    state.end_pod(pod, status, message=log.read_text(encoding="utf-8") if log.exists() else "")
