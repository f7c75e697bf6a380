"""The processes of stages: their command lines, and what is left in the run when one fails for good."""

import sys
from collections.abc import Sequence
from dataclasses import replace

from components.contract.errors import EXIT_BAD_INPUT
from components.contract.section import StageName
from components.runtime.failure import report_failure
from components.runtime.guard import TERMINATION_VARIABLE
from components.runtime.parent import Limits, run_children
from components.runtime.processes import Child
from components.runtime.scratch import scratch_directory
from components.runtime.worker import SILENCE_VARIABLE
from components.store import open_run
from components.store.attempt_logs import LogPlace


def follow_stage(run_uri: str, stage: StageName, shards: Sequence[int], limits: Limits) -> None:
    """Serve a stage for the whole run, in a child process that is started again when it crashes.

    Args:
        shards: the shards it serves; all of them if empty.

    Raises:
        SystemExit: as `run_children` does.
    """
    run_stage_child(run_uri, stage, stage_child(run_uri, stage, limits, shards), limits)


def run_stage_child(run_uri: str, stage: StageName, child: Child, limits: Limits) -> None:
    """Run the one child of a stage to its end; why it fails for good, or refuses its input, is left in the run.

    Raises:
        SystemExit: as `run_children` does.
    """

    def failed(name: str, reason: str) -> None:
        report_failure(open_run(run_uri), stage, f"{name} {reason}".removeprefix(f"{stage} "))

    with scratch_directory("rapid-stage-") as scratch:
        said = scratch / "message"
        child = replace(child, environment={**child.environment, TERMINATION_VARIABLE: str(said)})
        try:
            run_children([child], limits, failed=failed)
        except SystemExit as end:
            if end.code == EXIT_BAD_INPUT and said.exists():
                report_failure(open_run(run_uri), stage, said.read_text(encoding="utf-8"))
            raise


def stage_child(
    run_uri: str, stage: StageName, limits: Limits, shards: Sequence[int] = (), options: Sequence[str] = ()
) -> Child:
    """Return the worker of a stage."""
    name = f"{stage} shard {shards[0]}" if len(shards) == 1 else stage
    words = [*(word for shard in shards for word in ("--shard", str(shard))), *options]
    return Child(
        name,
        [sys.executable, "-m", f"components.{stage}", run_uri, "--follow", *words],
        {SILENCE_VARIABLE: str(limits.silence_minutes)},
        LogPlace(run_uri, stage, shards[0] if len(shards) == 1 else None),
    )
