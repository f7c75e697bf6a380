"""Log-probabilities of completion tokens, with the logits of one chunk in memory at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions

from components.contract.errors import InputError
from components.contract.train_config import CPU_LOGITS, GPU_LOGITS
from components.train.batching import MicroBatch
from components.train.fused_head import KnownGradient, linear_logprobs

_NO_TOKENS = torch.zeros(1, 1, dtype=torch.int64)
_PROBES = 4


class LogprobModel(nn.Module):
    """A policy that maps a micro-batch to log-probabilities and entropies of its completion tokens.

    It is the root module of FSDP, so that embeddings and output head are gathered once per forward pass.

    Args:
        model: any Hugging Face causal language model.
        temperature: the sampling temperature, by which logits are divided.
        chunk: completion tokens whose logits exist at a time; None for as many as a fixed amount of memory holds, so
            that memory does not grow with the vocabulary.
        compute_dtype: of matrix products; weights stay float32.
        head: `fused` needs an output head that is one projection, `chunked` runs the model's own code, `auto` chooses.

    Raises:
        InputError: `fused` with a model whose head is more than a projection.
    """

    def __init__(
        self,
        model: nn.Module,
        temperature: float,
        chunk: int | None,
        compute_dtype: torch.dtype,
        head: Literal["auto", "fused", "chunked"] = "auto",
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.chunk = chunk or _chunk_that_fits(model)
        self.compute_dtype = compute_dtype
        self.fused = head != "chunked" and _head_is_projection(model)
        if head == "fused" and not self.fused:
            raise InputError(
                f"train.logprobs=fused: the output head of {type(model).__name__} is more than one projection "
                "(a soft cap or a scale); use train.logprobs=auto"
            )

    def forward(
        self, batch: MicroBatch, entropy_gradient: bool = False, known_gradient: KnownGradient | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return log pi of every completion token, and the entropy of pi there.

        Args:
            known_gradient: see `fused_head`; only saves work.

        Returns:
            logprobs_T: float32 nats, with gradient where gradients are enabled.
            entropy_T: float32 nats, with gradient only where `entropy_gradient` asks for it.
        """
        decoder = self.model.get_decoder()  # type: ignore[operator]
        with torch.autocast(
            batch.targets_T.device.type, self.compute_dtype, enabled=self.compute_dtype != torch.float32
        ):
            outputs = decoder(**batch.inputs, use_cache=False)
            hidden_TD = outputs.last_hidden_state.flatten(0, 1).index_select(0, batch.predictors_T)
            if self.fused:
                head = cast(nn.Linear, self.model.get_output_embeddings())  # type: ignore[operator]
                return linear_logprobs(
                    hidden_TD.to(self.compute_dtype),
                    head.weight,
                    head.bias,
                    batch.targets_T,
                    self.temperature,
                    self.chunk,
                    entropy_gradient,
                    known_gradient,
                )
            return self._chunked(decoder, outputs, hidden_TD, batch.targets_T, entropy_gradient)

    def _chunked(
        self, decoder: nn.Module, outputs: Any, hidden_TD: Tensor, targets_T: Tensor, entropy_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Run the model's own head over `chunk` tokens at a time, and again in the backward pass."""

        def head(hidden_TD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
            logits_TV = _head_logits(self.model, decoder, outputs, hidden_TD).float()
            if self.temperature != 1.0:
                logits_TV = logits_TV / self.temperature
            log_softmax_TV = torch.log_softmax(logits_TV, dim=-1)
            logprobs_T = log_softmax_TV.gather(1, targets_T[:, None]).squeeze(1)
            # Last, because recomputation stops once it has the tensors that backward needs.
            with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
                entropy_T = -(log_softmax_TV.exp() * log_softmax_TV).sum(-1)
            return logprobs_T, entropy_T

        pieces = list(zip(torch.split(hidden_TD, self.chunk), torch.split(targets_T, self.chunk), strict=True))
        if len(pieces) == 1 or not torch.is_grad_enabled():
            results = [head(*piece) for piece in pieces]
        else:
            results = [checkpoint(head, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
        logprobs, entropies = zip(*results, strict=True)
        return torch.cat(logprobs), torch.cat(entropies)


def _chunk_that_fits(model: nn.Module) -> int:
    embedding = model.get_input_embeddings().weight  # type: ignore[operator]
    logits = GPU_LOGITS if embedding.is_cuda else CPU_LOGITS
    return max(1, logits // int(embedding.shape[0]))


@torch.no_grad()
def _head_is_projection(model: nn.Module) -> bool:
    """Return whether logits are the output embedding's projection and nothing else, by running the model's own head."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(head, nn.Linear):
        return False
    draw = torch.Generator().manual_seed(0)
    # Large enough for a soft cap to change them.
    hidden_TD = 30.0 * torch.randn(_PROBES, head.in_features, generator=draw)
    hidden_TD = hidden_TD.to(head.weight.device, head.weight.dtype)
    try:
        logits_TV = _head_logits(
            model,
            model.get_decoder(),  # type: ignore[operator]
            BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_TD[None]),  # type: ignore[arg-type]
            hidden_TD,
        )
    except AttributeError:  # the model's decoder returns outputs of its own kind
        return False
    return torch.allclose(logits_TV, head(hidden_TD), rtol=1e-3, atol=1e-3)


def _head_logits(model: nn.Module, decoder: nn.Module, outputs: Any, hidden_TD: Tensor) -> Tensor:
    """Return the logits that the model's own forward computes from given hidden states.

    Architectures differ in what follows the output projection (a bias, Gemma's soft cap, Cohere's and Granite's
    scale), so the model's own code runs, with a decoder that returns the outputs it has computed already.
    """
    outputs = type(outputs)(last_hidden_state=hidden_TD[None])
    with _returning(decoder, outputs):
        logits: Tensor = model(input_ids=_NO_TOKENS.to(hidden_TD.device), use_cache=False).logits[0]
    return logits


@contextmanager
def _returning(module: nn.Module, outputs: Any) -> Iterator[None]:
    """Make a module's forward return the given outputs within the block."""
    module.forward = lambda *_, **__: outputs
    try:
        yield
    finally:
        del module.forward
