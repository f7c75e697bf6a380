"""Execute a compiled pipeline on this machine with kfp.local; `rapid run` starts this module as a process.

    python -m pipelines.kfp_local PIPELINE.yaml PARAMETERS.json WORKDIR

The output of the stages goes to standard output. The exit status is 0 if every task succeeded, else 1. If it leads a
process group, it kills the group when standard input closes, so that no stage outlives `rapid run`.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path


def main(pipeline: Path, parameters: Path, workdir: Path) -> None:
    from kfp import components, local

    if os.getpgrp() == os.getpid():
        threading.Thread(target=_kill_group_at_end_of_input, daemon=True).start()
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workdir / "outputs"),
        raise_on_error=True,
    )
    run = components.load_component_from_file(str(pipeline))
    try:
        run(**json.loads(parameters.read_text(encoding="utf-8")))
    except RuntimeError as error:
        # The stage has reported its error; KFP adds the name of the task.
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _kill_group_at_end_of_input() -> None:
    # sys.stdin has a lock that would block the exit of the interpreter.
    while os.read(0, 4096):
        continue
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
