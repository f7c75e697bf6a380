"""One task of the pipeline: a stage's command in a child process, which is started again when it crashes."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from components.contract.errors import EXIT_BAD_INPUT
from components.contract.section import StageName
from components.runtime.failure import report_failure
from components.runtime.guard import TERMINATION_VARIABLE
from components.runtime.parent import Limits, run_children
from components.runtime.processes import Child
from components.store import open_run


def run_task(stage: StageName, run_uri: str, options: Sequence[str], limits: Limits) -> None:
    """Run `python -m components.<stage> RUN OPTIONS` to its end; why it fails for good is left in the run.

    Raises:
        SystemExit: as `run_children` does.
    """

    def crashed(_name: str, how: str) -> None:
        report_failure(open_run(run_uri), stage, how)

    with tempfile.TemporaryDirectory(prefix="rapid-task-") as scratch:
        said = Path(scratch) / "message"
        words = [sys.executable, "-m", f"components.{stage}", run_uri, *options]
        try:
            run_children([Child(stage, words, {TERMINATION_VARIABLE: str(said)})], limits, failed=crashed)
        except SystemExit as end:
            if end.code == EXIT_BAD_INPUT and said.exists():
                report_failure(open_run(run_uri), stage, said.read_text(encoding="utf-8"))
            raise
