"""Floating-point operations of an optimizer step, and the rate of the machine in plain matrix products."""

import statistics
import time

import numpy as np

from benchmarks.training.workload import Shape, Stored

FORMULA = (
    "6 x body matrix weights x positions + 6 x vocabulary x width x completion tokens "
    "+ 12 x layers x width x pairs of positions that attend to each other; positions leave out each sequence's last "
    "token; prompts count once a group, and nothing computed twice counts twice"
)


def body_weights(shape: Shape) -> int:
    """Return the number of weights that multiply every token: attention projections and MLP of all layers."""
    kv_width = shape.width // shape.heads * shape.kv_heads
    attention = 2 * shape.width * shape.width + 2 * shape.width * kv_width
    return shape.layers * (attention + 3 * shape.width * shape.intermediate)


def parameters(shape: Shape) -> int:
    """Return the number of all parameters: matrices, the tied embedding, biases of queries, keys and values, norms."""
    kv_width = shape.width // shape.heads * shape.kv_heads
    vectors = shape.layers * (shape.width + 2 * kv_width + 2 * shape.width) + shape.width
    return body_weights(shape) + shape.vocabulary * shape.width + vectors


def step_flops(shape: Shape, stored: Stored) -> float:
    """Return the FLOPs of forward and backward pass by `FORMULA`, with the output head on completion tokens only.

    A multiplication and an addition count as two; the backward pass is twice the forward pass.
    """
    positions = (stored.sequence_lengths - 1).astype(np.float64)
    prompt, repeats = float(stored.prompt_ids.shape[1]), len(stored.lengths) - len(stored.prompt_ids)
    body = 6.0 * body_weights(shape) * (positions.sum() - repeats * prompt)
    head = 6.0 * shape.vocabulary * shape.width * float(stored.lengths.sum())
    pairs = ((positions * (positions + 1)).sum() - repeats * prompt * (prompt + 1)) / 2
    attention = 12.0 * shape.layers * shape.width * float(pairs)
    return float(body + head + attention)


def matrix_rate(dtype: str, device: str, size: int, seconds: float = 2.0) -> float:
    """Measure the FLOP/s of the product of two square matrices, median over about `seconds`."""
    import torch

    a = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    b = torch.randn(size, size, device=device).to(getattr(torch, dtype))
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        begin = time.perf_counter()
        torch.mm(a, b)
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begin)
    return 2.0 * size**3 / statistics.median(times[1:])
