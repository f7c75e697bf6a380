"""Results of a run, read from its committed outputs.

Works on unfinished runs: only what a manifest commits is looked at.
"""

from components.results.breakdown import Breakdown, breakdown, subject_column
from components.results.comparison import Comparison, compare
from components.results.majority import majority_at_k
from components.results.pass_at_k import pass_at_k, passes
from components.results.prompt_scores import ScoreDifference, prompt_scores, score_difference
from components.results.round_results import (
    RoundResult,
    SplitResult,
    evaluating_rounds,
    evaluation_digest,
    evaluation_of,
    read_round,
)
from components.results.run_results import (
    IterationResult,
    RunResults,
    best_first,
    best_policy,
    read_iteration,
    read_run,
    read_train_metrics,
    run_started,
)
from components.results.tables import (
    graded_groups,
    read_completions,
    read_prompts,
    read_shard,
    require_rewards,
    round_manifests,
    scored_inputs,
    shown_rows,
    without_guided,
)
from components.results.values import evaluation_values, iteration_numbers, iteration_values, newest_iteration_numbers
from components.results.wallclock import IterationTime, StageTime, compute_after
from components.results.warnings import evaluation_warnings, run_warnings

__all__ = [
    "Breakdown",
    "Comparison",
    "IterationResult",
    "IterationTime",
    "RoundResult",
    "RunResults",
    "ScoreDifference",
    "SplitResult",
    "StageTime",
    "best_first",
    "best_policy",
    "breakdown",
    "compare",
    "compute_after",
    "evaluating_rounds",
    "evaluation_digest",
    "evaluation_of",
    "evaluation_values",
    "evaluation_warnings",
    "graded_groups",
    "iteration_numbers",
    "iteration_values",
    "majority_at_k",
    "newest_iteration_numbers",
    "pass_at_k",
    "passes",
    "prompt_scores",
    "read_completions",
    "read_iteration",
    "read_prompts",
    "read_round",
    "read_run",
    "read_shard",
    "read_train_metrics",
    "require_rewards",
    "round_manifests",
    "run_started",
    "run_warnings",
    "score_difference",
    "scored_inputs",
    "shown_rows",
    "subject_column",
    "without_guided",
]
