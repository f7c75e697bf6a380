"""The completions that come out of vLLM's, whatever ended them."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from components.rollout.engine import Completion, Engine, GroupRequest, SamplingSpec


class FlatLogprobs:
    def __init__(self, logprobs: list[float]) -> None:
        self.logprobs = logprobs


class Words:
    def batch_decode(self, completions: list[list[int]], **_: Any) -> list[str]:
        return [" ".join(map(str, ids)) for ids in completions]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine without vLLM."""
    module = ModuleType("vllm.logprobs")
    module.FlatLogprobs = FlatLogprobs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.logprobs", module)
    engine = Engine.__new__(Engine)
    engine._tokenizer = Words()
    return engine


@pytest.mark.parametrize(
    ("reason", "ids", "finish_reason", "text"),
    [
        ("stop", [4, 5], "stop", "4"),
        ("length", [4, 5], "length", "4 5"),
        ("abort", [], "abort", ""),
        (None, [4, 5], "abort", "4 5"),
        ("error", [], "abort", ""),
        ("repetition", [4, 4], "abort", "4 4"),
    ],
)
def test_all_that_the_policy_did_not_end_is_aborted(
    engine: Engine, reason: str | None, ids: list[int], finish_reason: str, text: str
) -> None:
    logprobs = [-1.0] * len(ids)
    found = SimpleNamespace(
        index=0, token_ids=ids, finish_reason=reason, stop_reason=None, logprobs=FlatLogprobs(logprobs)
    )
    request = GroupRequest("g", [1], SamplingSpec(1, 1.0, 1.0, 2, ()), 0)
    assert engine._completions([found], request) == [Completion(ids, logprobs, finish_reason, text)]
