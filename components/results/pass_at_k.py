"""The probability that at least one of k completions passes."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.contract.rollout_config import EvaluateSection


def passes(rewards: pa.ChunkedArray, threshold: float) -> NDArray[np.bool_]:
    """Return (N,) whether each completion passes: its reward is at least `evaluate.pass_threshold`."""
    # Rewards are stored in float32, where 0.7 is less than 0.7 in float64.
    return np.asarray(rewards.to_numpy() >= np.float32(threshold))


def round_pass_at_k(rows: pa.Table, evaluate: EvaluateSection) -> dict[int, float]:
    """Return k -> mean pass@k over groups, for 1 and every `evaluate.pass_k` that no group is too small for.

    Args:
        rows: completions, with at least the columns `group_id` and `reward`.
    """
    if not rows.num_rows:
        return {}
    _, group = np.unique(rows["group_id"].to_numpy(), return_inverse=True)
    passed = passes(rows["reward"], evaluate.pass_threshold)
    samples, counts = np.bincount(group), np.bincount(group, weights=passed).astype(np.int64)
    ks = (k for k in sorted({1, *evaluate.pass_k}) if k <= samples.min())
    return {k: float(pass_at_k(samples, counts, k).mean()) for k in ks}


def pass_at_k(
    samples: NDArray[np.int64] | list[int], passes: NDArray[np.int64] | list[int], k: int
) -> NDArray[np.float64]:
    """Return the unbiased estimate 1 - C(n - c, k) / C(n, k) of every prompt.

    Source: Chen et al. 2021, arXiv 2107.03374, equation 1.

    Args:
        samples: (P,) completions drawn of each prompt, n >= k.
        passes: (P,) how many of them passed, 0 <= c <= n.

    Returns:
        (P,) float64 in [0, 1].
    """
    n, c = np.asarray(samples, np.int64), np.asarray(passes, np.int64)
    assert k >= 1
    assert ((n >= k) & (c >= 0) & (c <= n)).all()
    # C(n - c, k) / C(n, k) = prod_{i<k} (n - c - i) / (n - i), which no binomial overflows; a zero factor
    # comes up exactly when fewer than k completions failed.
    i = np.arange(k)
    factors = np.maximum(n[:, None] - c[:, None] - i, 0) / (n[:, None] - i)
    return np.asarray(1.0 - factors.prod(axis=1))
