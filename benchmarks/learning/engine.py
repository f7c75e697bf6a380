"""The rollout stage's engine with a policy that can be replaced in place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.contract.config import ModelSection
from components.contract.rollout_config import EngineSection
from components.rollout.engine import Completion, Engine, GroupRequest


class ResidentEngine:
    """An engine that stays loaded during a run.

    On the CPU vLLM repacks linear layers for oneDNN after loading and drops their weights, so no second policy can be
    loaded. Without oneDNN it uses PyTorch's layers, which keep them, and is as fast for policies of this size
    (measured in `benchmarks/LOG.md`).
    """

    def __init__(self, policy: Path, model: ModelSection, settings: EngineSection, seed: int) -> None:
        from vllm import _custom_ops

        _custom_ops._supports_onednn = False
        self._engine = Engine(policy, model, settings, seed)

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = self._engine._tokenizer.encode(text)
        return tokens

    def take(self, policy: Any) -> None:
        """Copy the policy's weights into the engine and clear the prefix cache."""
        weights = ((name, value.detach()) for name, value in policy.named_parameters())
        self._vllm.model_executor.driver_worker.model_runner.model.load_weights(weights)
        assert self._vllm.reset_prefix_cache()

    def sample(self, requests: list[GroupRequest]) -> Iterator[tuple[str, list[Completion]]]:
        return self._engine.sample(requests)

    @property
    def _vllm(self) -> Any:
        return self._engine._engine
