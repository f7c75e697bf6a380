"""The bytes that a run keeps in its store.

Trajectories and rewards are never deleted, optimizer states are, and policies where `train.keep_policies` is set.
"""

from dataclasses import dataclass

from components.contract.config import RunConfig
from pipelines.estimates.memory_estimate import BYTES
from pipelines.estimates.model_shape import ModelShape
from pipelines.estimates.work_estimate import Sampled, WorkEstimate

BYTES_PER_TOKEN = 9.0
"""A completion token in zstd Parquet: ID, log-probability and about four characters of text."""

GUIDE_BYTES_PER_TOKEN = 4.0
"""Another log-probability, where there is a guide."""

BYTES_PER_ROW = 60.0
"""A completion's keys, its share of the prompt and its rewards."""


_OPTIMIZERS = 3
"""States at a time: those of the two newest iterations, and one that is just written."""


@dataclass(frozen=True)
class StorageEstimate:
    """Bytes in the store.

    Attributes:
        base: the base policy.
        guide: the model of `train.guide.model`.
        training: trajectories and rewards of an iteration's training prompts, at the maximum length.
        held_out: those of the held-out prompts, of an iteration that evaluates and after the last one.
        policy: policy of one iteration, in `model.dtype`.
        policies: the most that are kept at a time beside the base policy, one that is just written included.
        optimizer: optimizer state of one iteration: moments, and master weights that are not in the policy.
        optimizers: the most that are kept at a time.
        adapters: adapters of one iteration, which are kept beside the policy that they are merged into.
        checkpoint: checkpoint of an unfinished iteration, if `train.checkpoint_every` is set.
        iterations: iterations still to run.
        evaluations: how often held-out prompts are still sampled.
    """

    base: int
    guide: int
    training: int
    held_out: int
    policy: int
    policies: int
    optimizer: int
    optimizers: int
    adapters: int
    checkpoint: int
    iterations: int
    evaluations: int

    @property
    def trajectories(self) -> int:
        """Trajectories and rewards still to be written."""
        return self.iterations * self.training + self.evaluations * self.held_out

    @property
    def iteration(self) -> int:
        """The most that an iteration writes: one that evaluates."""
        return self.training + self.held_out + self.policy + self.optimizer + self.adapters

    @property
    def total(self) -> int:
        """The most that is stored at a time of what is still to be written, the base policy included."""
        kept = self.policies * self.policy + self.optimizers * self.optimizer + self.iterations * self.adapters
        return self.base + self.guide + self.trajectories + kept + self.checkpoint


def estimate_storage(
    config: RunConfig, shape: ModelShape, work: WorkEstimate, base: int | None = None, guide: int = 0
) -> StorageEstimate:
    """Estimate the bytes in the store.

    AdamW's moments are float32 (8 bytes per trained parameter). A policy in fewer bits is stored with its float32
    master weights (4 more bytes), and a policy with merged adapters with the float32 adapters.

    Args:
        base: bytes of the base policy; None: its parameters in `model.dtype`.
        guide: bytes of the model of `train.guide.model`.
    """
    lora = config.train.lora
    policy = shape.parameters * BYTES[config.model.dtype]
    trained = shape.adapter_parameters(lora) if lora else shape.parameters
    master = 0 if lora or config.model.dtype == "float32" else 4
    keep = config.train.keep_policies
    # Beside the newest ones the best, and the one that is committed before another is deleted.
    most = keep + (2 if config.data.eval_prompts else 1) if keep else work.iterations
    return StorageEstimate(
        base=policy if base is None else base,
        guide=guide,
        training=trajectory_bytes(work.training, work.training.most_tokens)
        + (round(GUIDE_BYTES_PER_TOKEN * work.training.most_tokens) if config.train.guide else 0),
        held_out=trajectory_bytes(work.held_out, work.held_out.most_tokens),
        policy=policy,
        policies=min(work.iterations, most),
        optimizer=trained * (8 + master),
        optimizers=min(work.iterations, _OPTIMIZERS),
        adapters=4 * trained if lora else 0,
        checkpoint=trained * 12 if config.train.checkpoint_every else 0,
        iterations=work.iterations,
        evaluations=work.evaluations,
    )


def trajectory_bytes(sampled: Sampled, tokens: int) -> int:
    """Return the bytes of the trajectories and rewards of one sampling with `tokens` completion tokens."""
    return round(tokens * BYTES_PER_TOKEN + sampled.completions * BYTES_PER_ROW)
