"""What a run would do and take, found out without starting or writing anything."""

from dataclasses import dataclass
from pathlib import Path

from components.contract.config import RunConfig
from components.prepare.stage import with_absolute_paths
from pipelines.checks.committed import inspect_store
from pipelines.checks.configuration import check_graders, check_nodes, check_objective, check_tracking
from pipelines.checks.data import inspect_data
from pipelines.checks.findings import Finding, Level
from pipelines.checks.machine import check_packages, has_gpu
from pipelines.checks.model import inspect_model
from pipelines.estimates.memory import EngineMemory, TrainingMemory, engine_memory, training_memory
from pipelines.estimates.shape import ModelShape
from pipelines.estimates.storage import Storage, estimate_storage
from pipelines.estimates.work import Work, estimate_work


@dataclass(frozen=True)
class Plan:
    """Attributes:
    findings: on everything a run needs.
    shape, engine, training, storage: None where the model's sizes are not known.
    on_gpu: what memory was estimated for.
    """

    config: RunConfig
    findings: list[Finding]
    work: Work
    on_gpu: bool
    shape: ModelShape | None = None
    engine: EngineMemory | None = None
    training: TrainingMemory | None = None
    storage: Storage | None = None

    @property
    def could_start(self) -> bool:
        return all(finding.level is not Level.wrong for finding in self.findings)


def make_plan(config: RunConfig, source: Path) -> Plan:
    """Check everything that `rapid run` needs and estimate what it takes.

    Args:
        source: file of the configuration, to be named.
    """
    config = with_absolute_paths(config)
    model = inspect_model(config)
    data = inspect_data(config, model)
    store = inspect_store(config)
    findings = [
        Finding(Level.ok, "configuration", f"{source}: run {config.run.name}"),
        *model.findings,
        *data.findings,
        check_graders(config),
        *check_objective(config),
        *check_nodes(config),
        *store.findings,
        *([] if any(finding.level is Level.wrong for finding in store.findings) else [check_tracking(config)]),
        *(finding for finding in check_packages() if finding.level is Level.wrong),
    ]
    work = estimate_work(config, data.train, data.held_out, store.iterations, store.tokens_per_completion)
    # A configuration in bf16 is meant for a GPU, wherever it is looked at.
    on_gpu = has_gpu() or config.train.compute_dtype == "bfloat16"
    if model.shape is None:
        return Plan(config, findings, work, on_gpu)
    storage = estimate_storage(config, model.shape, work, model.bytes)
    if store.free is not None and storage.total > store.free:
        found = f"{storage.total / 2**30:,.1f} GiB at most are to come, and {store.free / 2**30:,.1f} GiB are free"
        findings.append(Finding(Level.warning, "disk", found, "make room, or lower loop.iterations"))
    return Plan(
        config,
        findings,
        work,
        on_gpu,
        model.shape,
        engine_memory(config, model.shape),
        training_memory(config, model.shape, on_gpu),
        storage,
    )
