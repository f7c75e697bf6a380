"""Held-out scores prompt by prompt, and the difference of two policies with its standard error."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from components.results.pass_at_k import passes
from components.results.round_results import evaluating_rounds
from components.results.tables import graded_groups, read_round_rows, round_manifests
from components.store import Run


@dataclass(frozen=True)
class ScoreDifference:
    """The pass@1 of one policy less that of another, over the held-out prompts that both have answered."""

    prompts: int
    mean: float
    standard_error: float
    """Noise of the mean: of sampling completions, and of choosing prompts."""

    def exceeds(self, standard_errors: float) -> bool:
        """Return whether the difference is positive and larger than so many standard errors."""
        return self.mean > standard_errors * self.standard_error

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ± {self.standard_error:.3f} paired over {self.prompts} prompts"


def prompt_scores(run: Run, version: int) -> dict[str, float]:
    """Return prompt id -> share of its held-out completions that pass; empty where the policy was not evaluated.

    Prompts with a completion that could not be graded are left out, unless all are, as in `RoundResult.pass_at_k`.

    Raises:
        InputError: a committed file is missing or corrupted.
    """
    for round_ in evaluating_rounds(run, version):
        if round_manifests(run, round_) is None:
            continue
        rows = read_round_rows(run, round_)
        held_out = rows.filter(pc.equal(rows["split"], "eval"))
        if held_out.num_rows:
            held_out = graded if (graded := graded_groups(held_out)).num_rows else held_out
            prompts, place = np.unique(held_out["prompt_id"].to_pylist(), return_inverse=True)
            passed = passes(held_out["reward"], run.config.evaluate.pass_threshold)
            shares = np.bincount(place, weights=passed) / np.bincount(place)
            return dict(zip(prompts.tolist(), shares.tolist(), strict=True))
    return {}


def score_difference(scores: Mapping[str, float], others: Mapping[str, float]) -> ScoreDifference | None:
    """Return the mean over the common prompts of `scores` less `others`; None for fewer than two prompts.

    What is paired makes only the standard error smaller: prompts that are hard for one policy are hard for the other.
    Were other prompts behind the same ids, the mean would stay right and the standard error be that of two samples.
    """
    common = sorted(scores.keys() & others.keys())
    if len(common) < 2:
        return None
    differences = np.array([scores[prompt] - others[prompt] for prompt in common])
    error = float(differences.std(ddof=1)) / len(common) ** 0.5
    return ScoreDifference(len(common), float(differences.mean()), error)
