"""A child process that records how it was started: `python -m tests.support.recorded_child FILE STATUS WORDS`."""

import json
import os
import sys
from pathlib import Path

from components.runtime.processes import PARENT_VARIABLE
from components.runtime.worker import SILENCE_VARIABLE

if __name__ == "__main__":
    file, status, *words = sys.argv[1:]
    record = {
        "words": words,
        "reports": PARENT_VARIABLE in os.environ,
        "silence": os.environ[SILENCE_VARIABLE],
        "warm": "components.runtime.warm" in " ".join(sys.orig_argv),
    }
    print("served", *words)
    Path(file).write_text(json.dumps(record), encoding="utf-8")
    sys.exit(int(status))
