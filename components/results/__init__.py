"""What a run has achieved so far, read from its committed outputs.

Works on unfinished runs: only what a manifest commits is looked at.
"""

from components.results.breakdown import Breakdown, breakdown, subject_column
from components.results.comparison import Comparison, compare
from components.results.majority import majority_at_k
from components.results.pass_at_k import pass_at_k
from components.results.rounds import (
    RoundResult,
    SplitResult,
    evaluation_digest,
    evaluation_of,
    read_completions,
    read_round,
    round_manifests,
)
from components.results.run import IterationResult, RunResults, read_iteration, read_run, run_started
from components.results.values import evaluation_values, iteration_values
from components.results.wallclock import IterationTime, StageTime
from components.results.warnings import reward_warnings

__all__ = [
    "Breakdown",
    "Comparison",
    "IterationResult",
    "IterationTime",
    "RoundResult",
    "RunResults",
    "SplitResult",
    "StageTime",
    "breakdown",
    "compare",
    "evaluation_digest",
    "evaluation_of",
    "evaluation_values",
    "iteration_values",
    "majority_at_k",
    "pass_at_k",
    "read_completions",
    "read_iteration",
    "read_round",
    "read_run",
    "reward_warnings",
    "round_manifests",
    "run_started",
    "subject_column",
]
