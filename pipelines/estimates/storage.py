"""What a run keeps in its store, in bytes. Nothing of a committed iteration is ever deleted."""

from dataclasses import dataclass

from components.contract.config import RunConfig
from pipelines.estimates.memory import BYTES
from pipelines.estimates.shape import ModelShape
from pipelines.estimates.work import Sampled, Work

TOKEN = 9.0
"""Of a completion token in zstd Parquet: id, log-probability and about four characters of text."""

ROW = 60.0
"""Of a completion's keys, its prompt's share and its rewards."""


@dataclass(frozen=True)
class Storage:
    """Attributes:
    base: the base policy.
    trajectories: with rewards, of one iteration at the longest completions.
    evaluation: of the last policy, at the longest completions.
    policy: of one iteration, in `model.dtype`.
    optimizer: of one iteration: moments, and master weights or adapters that the policy does not hold.
    checkpoint: while a pass runs, where `train.checkpoint_every` asks for it.
    iterations: that are still to run.
    """

    base: int
    trajectories: int
    evaluation: int
    policy: int
    optimizer: int
    checkpoint: int
    iterations: int

    @property
    def iteration(self) -> int:
        return self.trajectories + self.policy + self.optimizer

    @property
    def total(self) -> int:
        """Of all that is still to come, the base policy included."""
        return self.base + self.iterations * self.iteration + self.evaluation + self.checkpoint


def estimate_storage(config: RunConfig, shape: ModelShape, work: Work, base: int | None = None) -> Storage:
    """Bytes in the store.

    AdamW's moments are float32 (8 bytes a trained parameter); a policy kept in fewer bits has its float32 master
    weights beside it (4 more); adapters are kept in float32 next to the policy they are merged into.

    Args:
        base: bytes of the base policy, where they are known; else its parameters in `model.dtype`.
    """
    lora = config.train.lora
    policy = shape.parameters * BYTES[config.model.dtype]
    trained = shape.adapter_parameters(lora) if lora else shape.parameters
    own_weights = bool(lora) or config.model.dtype != "float32"
    return Storage(
        base=policy if base is None else base,
        trajectories=trajectory_bytes(work.iteration, work.iteration.most_tokens),
        evaluation=trajectory_bytes(work.held_out, work.held_out.most_tokens),
        policy=policy,
        optimizer=trained * (12 if own_weights else 8),
        checkpoint=trained * 12 if config.train.checkpoint_every else 0,
        iterations=work.iterations,
    )


def trajectory_bytes(sampled: Sampled, tokens: int) -> int:
    """Trajectories and rewards of so many completions with so many tokens in all."""
    return round(tokens * TOKEN + sampled.completions * ROW)
