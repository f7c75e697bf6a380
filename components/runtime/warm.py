"""A worker's process that imports its libraries before its run is prepared: `python -m components.runtime.warm STAGE`.

It imports `components/<stage>/warm.py`, then waits for a line from its parent, JSON: the words of the stage's command
line and variables for its environment. From there on it is the stage's worker.
"""

import importlib
import json
import os
import runpy
import subprocess
import sys
from contextlib import suppress

from components.runtime.processes import Child, Started, start_child


def start_warm(stage: str) -> Started:
    """Start a process that imports a stage's libraries."""
    words = [sys.executable, "-m", "components.runtime.warm", stage]
    return start_child(Child(stage, words), stdin=subprocess.PIPE)


def hand_over(warm: Started, child: Child) -> None:
    """Make a process of `start_warm` execute what `child` would: a Python module in the same interpreter."""
    assert warm.process.stdin
    python, option, module, *words = child.words
    assert (python, option) == (sys.executable, "-m")
    line = json.dumps({"module": module, "words": words, "environment": dict(child.environment)})
    if child.log:
        warm.output.log.keep(child.log)
    with suppress(BrokenPipeError):  # who waits for the process sees its end
        warm.process.stdin.write(line.encode() + b"\n")
        warm.process.stdin.close()


def main(stage: str) -> None:
    importlib.import_module(f"components.{stage}.warm")
    line = sys.stdin.readline()
    if not line:
        return
    given = json.loads(line)
    os.environ.update(given["environment"])
    sys.argv[1:] = given["words"]
    runpy.run_module(given["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
