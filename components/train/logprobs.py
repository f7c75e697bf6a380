"""Log-probabilities of completion tokens, without the logits of a whole batch ever existing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from components.train.batching import MicroBatch

_NO_TOKENS = torch.zeros(1, 1, dtype=torch.int64)


def completion_logprobs(model: nn.Module, batch: MicroBatch, temperature: float, chunk: int) -> tuple[Tensor, Tensor]:
    """log pi of every completion token, and the entropy of pi there.

    The decoder runs once; its output head runs over `chunk` tokens at a time and is computed again in the
    backward pass, so memory for logits is chunk x vocabulary whatever the batch.

    Args:
        model: any Hugging Face causal language model.
        temperature: the sampling temperature, by which logits are divided.

    Returns:
        logprobs_T: float32 nats, with gradient where gradients are enabled.
        entropy_T: float32 nats, without gradient.
    """
    decoder = model.get_decoder()  # type: ignore[operator]
    outputs = decoder(input_ids=batch.input_ids_BT, attention_mask=batch.attention_mask_BT, use_cache=False)
    hidden_TD = outputs.last_hidden_state.flatten(0, 1).index_select(0, batch.predictors_T)

    def head(hidden_TD: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
        logits_TV = _head_logits(model, decoder, outputs, hidden_TD).float()
        if temperature != 1.0:
            logits_TV = logits_TV / temperature
        log_softmax_TV = torch.log_softmax(logits_TV, dim=-1)
        logprobs_T = log_softmax_TV.gather(1, targets_T[:, None]).squeeze(1)
        # Last, because recomputation stops once the tensors that backward needs are there.
        with torch.no_grad():
            entropy_T = -(log_softmax_TV.exp() * log_softmax_TV).sum(-1)
        return logprobs_T, entropy_T

    pieces = list(zip(torch.split(hidden_TD, chunk), torch.split(batch.targets_T, chunk), strict=True))
    if len(pieces) == 1 or not torch.is_grad_enabled():
        results = [head(*piece) for piece in pieces]
    else:
        results = [checkpoint(head, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    logprobs, entropies = zip(*results, strict=True)
    return torch.cat(logprobs), torch.cat(entropies)


def _head_logits(model: nn.Module, decoder: nn.Module, outputs: Any, hidden_TD: Tensor) -> Tensor:
    """Logits as the model's own forward makes them from given hidden states.

    Architectures differ in what follows the output projection (a bias, Gemma's soft cap, Cohere's and Granite's
    scale), so the model's own code runs, with a decoder that answers what it has answered already.
    """
    outputs = type(outputs)(last_hidden_state=hidden_TD[None])
    with _answering(decoder, outputs):
        logits: Tensor = model(input_ids=_NO_TOKENS.to(hidden_TD.device), use_cache=False).logits[0]
    return logits


@contextmanager
def _answering(module: nn.Module, answer: Any) -> Iterator[None]:
    module.forward = lambda *_, **__: answer
    try:
        yield
    finally:
        del module.forward
