"""Logs as parent processes leave them."""

from collections.abc import Sequence

from components.contract.layout import Round
from components.contract.section import StageName
from components.runtime.log_lines import LogLines
from components.runtime.log_writer import LogWriter
from components.store.attempt_logs import LogPlace, Outcome


def leave_log(
    run_uri: str,
    stage: StageName,
    lines: Sequence[str],
    outcome: Outcome = "succeeded",
    reason: str = "",
    shard: int | None = None,
    round_: Round | None = None,
) -> None:
    """Leave the log of one attempt that has ended."""
    writer, kept = LogWriter(), LogLines([])
    for line in lines:
        writer.append(kept.line(line.encode()))
    writer.keep(LogPlace(run_uri, stage, shard, round_))
    writer.end({"succeeded": 0, "failed": 2}.get(outcome, 1), reason, outcome)
    writer.wait(20)
