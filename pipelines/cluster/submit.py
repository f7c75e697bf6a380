"""Submit a run to Kubeflow Pipelines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import kfp_server_api as kfp

from components import CODE_VERSION
from components.contract.config import RunConfig
from components.contract.resolve import config_json
from components.runtime.scratch import scratch_directory
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.connection import AlreadyExists, NotFound
from pipelines.cluster.runs import refuse_ongoing

_DIGITS = 16
Found = TypeVar("Found")


@dataclass(frozen=True)
class Version:
    """A version of the pipeline on the server, and whether it had been uploaded before."""

    reference: kfp.V2beta1PipelineVersionReference
    name: str
    reused: bool


def submit(client: ClusterClient, config: RunConfig, cluster: ClusterConfig) -> tuple[kfp.V2beta1Run, Version]:
    """Start a run. If a run of that name has ended, the new one continues after its last committed stage.

    Args:
        config: checked against the cluster.

    Raises:
        InputError: a run of this name has not ended.
        ClusterUnavailable: the server does not respond.
    """
    refuse_ongoing(client, config.run.name)
    version = ensure_version(client, config, cluster)
    run = kfp.V2beta1Run(
        display_name=config.run.name,
        experiment_id=ensure_experiment(client, config.tracking.experiment),
        pipeline_version_reference=version.reference,
        runtime_config=kfp.V2beta1RuntimeConfig(parameters=run_parameters(config, cluster)),
        service_account=cluster.service_account,
    )
    return client.create_run(run), version


def run_parameters(config: RunConfig, cluster: ClusterConfig) -> dict[str, Any]:
    """Return the arguments of the pipeline. Settings that people look for on Kubeflow's pages are parameters."""
    return {
        "config": config_json(config),
        "run": config.run.name,
        "model": config.model.path,
        "data": config.data.train,
        "iterations": config.loop.iterations,
        **cluster.parameters,
    }


def ensure_version(client: ClusterClient, config: RunConfig, cluster: ClusterConfig) -> Version:
    """Return the pipeline version with these settings and this configuration, by its digest; upload it if missing.

    The configuration is the default of its parameter, so that a run can be started from Kubeflow's page alone.
    """
    from pipelines import compilation
    from pipelines.pipeline import NAME, SUMMARY

    compiled = compilation.compile_pipeline(cluster).with_config(config)
    name = f"sha256-{compiled.digest[:_DIGITS]}"
    pipeline, _ = _ensure(lambda: client.pipeline(NAME), lambda: client.create_pipeline(NAME, SUMMARY))
    pipeline_id = str(pipeline.pipeline_id)
    about = (
        f"run {config.run.name}: {config.model.path} on {config.data.train}, {config.loop.iterations} iterations; "
        f"{cluster.describe()}, rapid-rl {CODE_VERSION}"
    )
    with scratch_directory("rapid-submit-") as scratch:
        file = scratch / f"{NAME}.yaml"
        compiled.write(file)
        found, reused = _ensure(
            lambda: client.version(pipeline_id, name),
            lambda: client.upload_version(pipeline_id, name, file, about),
        )
    reference = kfp.V2beta1PipelineVersionReference(
        pipeline_id=pipeline_id, pipeline_version_id=found.pipeline_version_id
    )
    return Version(reference, name, reused)


def ensure_experiment(client: ClusterClient, name: str) -> str:
    """Return the ID of the experiment of this name, which is created if it does not exist."""
    experiment, _ = _ensure(lambda: client.experiment(name), lambda: client.create_experiment(name))
    return str(experiment.experiment_id)


def _ensure(find: Callable[[], Found], create: Callable[[], Found]) -> tuple[Found, bool]:
    """Return an object on the server and whether it had existed before. Another process may create it meanwhile."""
    try:
        return find(), True
    except NotFound:
        pass
    try:
        return create(), False
    except AlreadyExists:
        return find(), True
