"""One task of the pipeline: a stage's command in a child process, which is started again when it crashes."""

import sys
from collections.abc import Sequence

from components.contract.section import StageName
from components.runtime.parent import Limits, run_children
from components.runtime.processes import Child


def run_task(stage: StageName, words: Sequence[str], limits: Limits) -> None:
    """Run `python -m components.<stage> WORDS` to its end.

    Raises:
        SystemExit: as `run_children`.
    """
    run_children([Child(stage, [sys.executable, "-m", f"components.{stage}", *words])], limits)
