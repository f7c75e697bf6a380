import statistics
from pathlib import Path

import numpy as np
import pytest

from components.results import evaluation_of, prompt_scores, score_difference
from tests.support.fake_run import finished_run


def test_their_mean_is_pass_at_1(tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    for version in (0, 1, 2):
        evaluation, scores = evaluation_of(run, version), prompt_scores(run, version)
        assert evaluation is not None
        assert sorted(scores) == [f"eval{prompt:03d}" for prompt in range(5)]
        assert statistics.mean(scores.values()) == pytest.approx(evaluation.pass_at_k[1])
    assert prompt_scores(run, 3) == {}


def test_the_difference_over_common_prompts() -> None:
    scores = {"a": 1.0, "b": 0.5, "c": 0.25, "only here": 0.0}
    others = {"b": 0.25, "a": 0.5, "c": 0.5, "only there": 1.0}
    found = score_difference(scores, others)
    assert found is not None
    differences = [0.5, 0.25, -0.25]
    assert (found.prompts, found.mean) == (3, pytest.approx(statistics.mean(differences)))
    assert found.standard_error == pytest.approx(statistics.stdev(differences) / 3**0.5)
    assert str(found) == "+0.167 ± 0.220 paired over 3 prompts"
    assert score_difference({"a": 1.0}, others) is None


def test_an_equal_policy_passes_two_standard_errors_as_rarely_as_noise_does() -> None:
    rng = np.random.default_rng(0)
    passed = {2.0: 0, 0.0: 0}
    for _ in range(2000):
        difficulty = rng.beta(0.5, 0.5, 64)  # prompts that are mostly right or mostly wrong
        drawn = [rng.binomial(8, difficulty) / 8 for _ in range(2)]
        one, other = ({str(prompt): share for prompt, share in enumerate(shares)} for shares in drawn)
        found = score_difference(one, other)
        assert found is not None
        for margin in passed:
            passed[margin] += found.exceeds(margin)
    # The normal distribution has 2.3 % beyond two standard errors.
    assert 0.015 < passed[2.0] / 2000 < 0.035
    assert 0.4 < passed[0.0] / 2000 < 0.6
