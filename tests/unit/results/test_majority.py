from itertools import combinations

import pytest

from components.results import majority_at_k


def test_all_completions_vote_once() -> None:
    assert majority_at_k(["7", "7", "8"], [True, True, False], 3) == 1.0
    assert majority_at_k(["7", "8", "8"], [True, False, False], 3) == 0.0


def test_ties_are_broken_at_random() -> None:
    assert majority_at_k(["7", "8"], [True, False], 2) == 0.5
    assert majority_at_k(["7", "7", "8", "8", "9"], [True, True, False, False, False], 5) == 0.5


def test_no_answer_is_no_vote() -> None:
    assert majority_at_k([None, None, "7"], [False, False, True], 3) == 1.0
    assert majority_at_k([None, None], [False, False], 2) == 0.0


def test_one_vote_is_one_completion() -> None:
    assert majority_at_k(["7", "8", "9", "7"], [True, False, False, True], 1) == 0.5


def test_it_is_the_mean_over_all_subsets() -> None:
    answers, passed = ["7", "7", "8", "8", "9", "7"], [True, True, False, False, False, True]
    expected = []
    for subset in combinations(range(6), 3):
        votes = [answers[i] for i in subset]
        most = max(votes.count(vote) for vote in votes)
        winners = {vote for vote in votes if votes.count(vote) == most}
        expected.append(float("7" in winners) / len(winners))
    assert majority_at_k(answers, passed, 3) == pytest.approx(sum(expected) / len(expected))


def test_many_subsets_are_drawn_alike_every_time() -> None:
    answers, passed = ["7"] * 20 + ["8"] * 12, [True] * 20 + [False] * 12
    first = majority_at_k(answers, passed, 8)
    assert first == majority_at_k(answers, passed, 8)
    assert 0.6 < first < 1.0
