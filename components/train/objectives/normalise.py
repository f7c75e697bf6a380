"""How the losses of tokens are averaged into the loss of a mini-batch."""

from collections.abc import Callable

import torch
from torch import Tensor

from components.contract.train_config import Normalisation

Normalise = Callable[[Tensor], Tensor]
"""lengths_N -> scale_N: what each token's loss of a sequence is multiplied by; the loss is the sum over tokens."""


def scale(lengths_N: Tensor, kind: Normalisation, constant: int) -> Tensor:
    """Factors for a mini-batch of N sequences with `lengths_N` trained tokens (0: masked), float32.

    sum        1 / N                     sum over a sequence's tokens: the gradient of its log-likelihood
    sequence   1 / (N |y_i|)             mean per sequence: GRPO (arXiv 2402.03300)
    token      1 / sum_j |y_j|           mean over all tokens: DAPO (arXiv 2503.14476)
    constant   1 / (N L)                 sum divided by a constant L: Dr.GRPO (arXiv 2503.20783)
    """
    lengths_N = lengths_N.to(torch.float32)
    ones_N = torch.ones_like(lengths_N)
    match kind:
        case "sum":
            return ones_N / len(lengths_N)
        case "sequence":
            return 1.0 / (len(lengths_N) * lengths_N.clamp(min=1.0))
        case "token":
            return ones_N / lengths_N.sum().clamp(min=1.0)
        case "constant":
            return ones_N / (len(lengths_N) * constant)
