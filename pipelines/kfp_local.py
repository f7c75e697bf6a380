"""Compile the pipeline and execute it on this machine with kfp.local; `rapid run` starts this module as a process.

    python -m pipelines.kfp_local WORKDIR

WORKDIR/run.json holds the configurations of run and pipeline, and whether workers of layout pod start at once, beside
the pipeline. The output of the stages goes to standard output. The exit status is 0 if
every task succeeded, else 1. If it leads a process group, it kills the group when standard input closes, so that no
stage outlives `rapid run`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

from components.pod.supervisor import SOCKET_VARIABLE, socket_address
from components.runtime.processes import dies_with
from pipelines.cluster.cluster_config import OneMachine


def main(workdir: Path) -> None:
    given = json.loads((workdir / "run.json").read_text(encoding="utf-8"))
    if os.getpgrp() == os.getpid():
        threading.Thread(target=_kill_group_at_end_of_input, daemon=True).start()
    if given["starts_workers"]:
        _start_supervisor(workdir / "pod.socket")
    from kfp import components, local

    from pipelines.compilation import compile_pipeline

    pipeline = workdir / "pipeline.yaml"
    compile_pipeline(OneMachine.model_validate(given["cluster"])).write(pipeline)
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workdir / "outputs"),
        raise_on_error=True,
    )
    run = components.load_component_from_file(str(pipeline))
    try:
        run(config=given["config"])
    except RuntimeError as error:
        # The stage has reported its error; KFP adds the name of the task.
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _start_supervisor(path: Path) -> None:
    """Start the process that serves the pipeline's task of layout pod; it dies with this one."""
    with socket.socket(socket.AF_UNIX) as listening:
        with socket_address(path) as address:
            listening.bind(address)
        listening.listen()
        subprocess.Popen(
            [sys.executable, "-m", "components.pod", "--listening", str(listening.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=(listening.fileno(),),
            preexec_fn=dies_with(os.getpid()),
        )
    os.environ[SOCKET_VARIABLE] = str(path)


def _kill_group_at_end_of_input() -> None:
    # sys.stdin has a lock that would block the exit of the interpreter.
    while os.read(0, 4096):
        continue
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
