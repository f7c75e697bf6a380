"""Executes the compiled pipeline on this machine with kfp.local; started by `rapid run` as a process of its own.

    python -m pipelines.local PIPELINE.yaml PARAMETERS.json WORKDIR

What the stages print goes to standard output; the exit status is 0 when every task succeeded, else 1. Started as
leader of a process group, it ends the group when standard input ends: nothing goes on that nobody watches.
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
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(workdir / "outputs"),
        raise_on_error=True,
    )
    run = components.load_component_from_file(str(pipeline))
    try:
        run(**json.loads(parameters.read_text(encoding="utf-8")))
    except RuntimeError as error:
        # The stage has already said what is wrong; KFP adds which task it was.
        print(error, file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _end_with_standard_input() -> None:
    # Not sys.stdin: its lock would hang the interpreter's own exit.
    while os.read(0, 4096):
        continue
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
