"""The checks before a run starts, for this machine and for a cluster.

A check takes the configuration and, where the run is to work on a cluster, the cluster's settings. Without them it
checks this machine; with them it checks what pods can reach and what the compiled pipeline can do.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.contract.config import RunConfig
from components.prepare.stage import with_absolute_paths
from pipelines.preflight.data_check import DataCheck, check_data
from pipelines.preflight.findings import Finding, errors_of
from pipelines.preflight.machine_check import require_packages
from pipelines.preflight.model_check import ModelCheck, check_guide, check_model
from pipelines.preflight.service_checks import check_graders, check_layout, check_objective, check_tracking
from pipelines.preflight.store_check import StoreCheck, check_store

if TYPE_CHECKING:
    from pipelines.cluster.cluster_config import ClusterConfig


@dataclass(frozen=True)
class Preflight:
    """The results of the checks of a run."""

    model: ModelCheck
    guide: ModelCheck | None
    data: DataCheck
    store: StoreCheck
    findings: list[Finding]
    """All findings, those of the models, the data and the store included."""


def preflight(config: RunConfig, cluster: "ClusterConfig | None" = None, *, try_writing: bool = False) -> Preflight:
    """Check everything that a run needs. Nothing is started or downloaded, and nothing written unless asked for.

    Args:
        cluster: settings of the cluster that the run is for; None: it is for this machine.
        try_writing: write a probe to the store and remove it. Not done for a cluster, whose pods have other
            credentials.
    """
    if cluster is None:
        config = with_absolute_paths(config)
    model = check_model(config, cluster)
    guide = check_guide(config, cluster)
    data = check_data(config, cluster, model)
    store = check_store(config, cluster, try_writing=try_writing)
    findings = [
        *model.findings,
        *(guide.findings if guide else []),
        *data.findings,
        *check_graders(config, cluster),
        *check_objective(config, cluster),
        *check_layout(config, cluster),
        *store.findings,
        # Without `tracking.uri` MLflow's database is in the store.
        *([] if cluster is None and errors_of(store.findings) else [check_tracking(config, cluster)]),
    ]
    return Preflight(model, guide, data, store, findings)


def check_before_run(config: RunConfig) -> list[Finding]:
    """Check what the stages on this machine would find out only after the first rollout."""
    if missing := require_packages():
        return missing
    return [*check_graders(config, None), *check_objective(config, None), *check_layout(config, None)]
