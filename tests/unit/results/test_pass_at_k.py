from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.results import pass_at_k


@pytest.mark.parametrize(("n", "c", "k", "expected"), [(4, 0, 2, 0.0), (4, 4, 2, 1.0), (4, 1, 4, 1.0), (8, 2, 1, 0.25)])
def test_known_values(n: int, c: int, k: int, expected: float) -> None:
    assert pass_at_k([n], [c], k)[0] == pytest.approx(expected)


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_equals_the_share_of_k_subsets_with_a_pass(case: tuple[int, int, int]) -> None:
    n, c, k = case
    completions = [True] * c + [False] * (n - c)
    subsets = [any(subset) for subset in combinations(completions, k)]
    assert pass_at_k([n], [c], k)[0] == pytest.approx(np.mean(subsets))


def test_large_counts_do_not_overflow() -> None:
    assert pass_at_k([100_000], [10], 1000)[0] == pytest.approx(1 - 0.99**10, rel=1e-3)
