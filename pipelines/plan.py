"""The plan of a run: its preflight and estimates, made without starting or writing anything."""

from dataclasses import dataclass
from pathlib import Path

from components.contract.config import RunConfig
from components.prepare.stage import with_absolute_paths
from pipelines.estimates.memory_estimate import (
    EngineMemory,
    TrainingMemory,
    engine_memory,
    guide_memory,
    training_memory,
)
from pipelines.estimates.model_shape import ModelShape
from pipelines.estimates.storage_estimate import StorageEstimate, estimate_storage
from pipelines.estimates.work_estimate import WorkEstimate, estimate_work
from pipelines.preflight import preflight
from pipelines.preflight.findings import Finding, errors_of
from pipelines.preflight.machine_check import check_packages, has_gpu
from pipelines.text import size


@dataclass(frozen=True)
class Plan:
    """Findings and estimates.

    Attributes:
        shape, engine, training, storage: None if the model's sizes are unknown.
        guide: weights of `train.guide.model` while it scores, bytes; None if there is none or its sizes are unknown.
        on_gpu: whether memory was estimated for a GPU.
    """

    config: RunConfig
    findings: list[Finding]
    work: WorkEstimate
    on_gpu: bool
    shape: ModelShape | None = None
    engine: EngineMemory | None = None
    training: TrainingMemory | None = None
    guide: int | None = None
    storage: StorageEstimate | None = None

    @property
    def could_start(self) -> bool:
        return not errors_of(self.findings)


def make_plan(config: RunConfig, source: Path) -> Plan:
    """Check everything that `rapid run` needs and estimate the run's work, memory and storage.

    Args:
        source: file of the configuration, to be named in the findings.
    """
    config = with_absolute_paths(config)
    checked = preflight(config)
    findings = [
        Finding.ok("configuration", f"{source}: run {config.run.name}"),
        *checked.findings,
        *errors_of(check_packages()),
    ]
    data, store, shape = checked.data, checked.store, checked.model.shape
    work = estimate_work(config, data.train, data.held_out, store.iterations, store.tokens_per_completion)
    # A configuration in bf16 is meant for a GPU, whichever machine it is planned on.
    on_gpu = has_gpu() or config.train.compute_dtype == "bfloat16"
    if shape is None:
        return Plan(config, findings, work, on_gpu)
    guide = checked.guide
    guide_weights = guide_memory(config, guide.shape) if guide and guide.shape else None
    storage = estimate_storage(config, shape, work, checked.model.bytes, guide.size if guide else 0)
    if store.free is not None and storage.total > store.free:
        result = f"the run may add {size(storage.total)}, but only {size(store.free)} are free"
        findings.append(Finding.warning("disk", result, "free some space, or lower loop.iterations"))
    return Plan(
        config,
        findings,
        work,
        on_gpu,
        shape,
        engine_memory(config, shape),
        training_memory(config, shape, on_gpu),
        guide_weights,
        storage,
    )
