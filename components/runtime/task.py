"""One task of the pipeline: a stage's command in a child process, which is started again when it crashes."""

import sys
from collections.abc import Sequence

from components.contract.section import StageName
from components.runtime.parent import Limits, run_stage_child
from components.runtime.processes import Child


def run_task(stage: StageName, run_uri: str, options: Sequence[str], limits: Limits) -> None:
    """Run `python -m components.<stage> RUN OPTIONS` to its end; why it fails for good is left in the run.

    Raises:
        SystemExit: as `run_children` does.
    """
    words = [sys.executable, "-m", f"components.{stage}", run_uri, *options]
    run_stage_child(run_uri, stage, Child(stage, words), limits)
