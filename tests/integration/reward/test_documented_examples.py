"""The examples of docs/rewards.md."""

import re
from pathlib import Path

import pytest
import yaml

from components.contract.config import RunConfig
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask
from components.reward.score import Outcome
from tests.support.json_replies import reply_with

TEXT = (Path(__file__).parents[3] / "docs" / "rewards.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
CONFIGURATIONS = [block for language, block in BLOCKS if language == "yaml"]


def configuration(mentioning: str) -> RunConfig:
    (block,) = [block for block in CONFIGURATIONS if mentioning in block]
    return RunConfig.parse({"run": "r", "model": "m", "data": "d", **yaml.safe_load(block)}, "configuration")


def outcomes(config: RunConfig, completions: list[str], answer: str | None = "42") -> list[Outcome]:
    reward = config.reward
    with GraderPool(resolve_graders(reward.graders), 1, reward.time_limit, reward.batch_size) as pool:
        tasks = [GradingTask("What is 6 x 7?", text, answer, '{"completion_tokens": 900}') for text in completions]
        found = dict(pool.grade(tasks))
    return [found[i] for i in range(len(completions))]


@pytest.mark.parametrize("block", CONFIGURATIONS)
def test_every_configuration_is_valid_and_names_existing_graders(block):
    config = RunConfig.parse({"run": "r", "model": "m", "data": "d", **yaml.safe_load(block)}, "configuration")
    assert resolve_graders(config.reward.graders)


def test_a_weighted_sum_of_built_in_graders():
    (result,) = outcomes(configuration("buffer: 256"), ["so \\boxed{42}"])
    assert result.components == {"math": 1.0, "length": pytest.approx(-132 / 256)}
    assert result.reward == pytest.approx(1.0 - 0.5 * 132 / 256)


def test_one_grader_under_two_names():
    results = outcomes(configuration("label: brief"), ["<answer>42</answer>", "x" * 500 + "<answer>42</answer>"])
    assert [result.components for result in results] == [{"regex": 1.0, "brief": 1.0}, {"regex": 1.0, "brief": 0.0}]
    assert [result.reward for result in results] == [pytest.approx(1.1), 1.0]


def test_user_graders(tmp_path, monkeypatch):
    (code,) = [block for language, block in BLOCKS if language == "python"]
    (tmp_path / "my_graders.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    results = outcomes(configuration("my_graders:short_and_right"), ["42", "42", "it is 42", "no", ""])
    names = [f"my_graders:{name}" for name in ("short_and_right", "rarest_first_word", "looked_up")]
    assert results[0].components == dict(zip(names, [1.0, 0.5, 1.0], strict=True))
    assert results[2].components == dict(zip(names, [1.0, 1.0, 0.0], strict=True))
    assert results[3].reward == pytest.approx(0.1)
    assert (results[4].status, results[4].detail) == ("error", "ValueError: empty completion")


def served(config: RunConfig, url: str) -> RunConfig:
    """The configuration with the server's real address."""
    (grader,) = config.reward.graders
    options = {**grader.options, "url": url, **({"cache": None} if "cache" in grader.options else {})}
    reward = config.reward.model_copy(update={"graders": (grader.model_copy(update={"options": options}),)})
    return config.model_copy(update={"reward": reward})


def test_a_judge(httpserver, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "planted")

    def answer(body):
        right = "graded:\n42" in body["messages"][0]["content"]
        return 200, {"choices": [{"message": {"content": f"Well.\nScore: {10 if right else 3}"}}]}

    url = reply_with(httpserver, answer, "/v1/chat/completions")
    results = outcomes(served(configuration("name: judge"), f"{url}/v1"), ["42", "43"])
    assert [result.reward for result in results] == [1.0, 0.3]
    assert httpserver.log[0][0].headers["Authorization"] == "Bearer planted"


def test_a_classifier(httpserver):
    def answer(body):
        return 200, [[{"label": "good", "score": 0.75}, {"label": "bad", "score": 0.25}] for _ in body["inputs"]]

    url = reply_with(httpserver, answer, "/predict")
    (result,) = outcomes(served(configuration("name: classifier"), f"{url}/predict"), ["42"])
    assert result.reward == 0.75


def test_generated_tasks():
    from components.prepare.generated_rows import generate_rows

    config = configuration("reasoning_gym:chain_sum")
    rows, bad = generate_rows(config.data.train, {**config.data.options, "size": 20}, 0, "data.train")
    assert (len(rows), bad) == (20, [])
