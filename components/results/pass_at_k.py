"""The probability that at least one of k completions passes."""

import numpy as np
from numpy.typing import NDArray


def pass_at_k(
    samples: NDArray[np.int64] | list[int], passes: NDArray[np.int64] | list[int], k: int
) -> NDArray[np.float64]:
    """Unbiased estimate per prompt: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, arXiv 2107.03374, equation 1).

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
