"""Submit a run to Kubeflow Pipelines."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as kfp

from components import CODE_VERSION
from components.contract.config import RunConfig
from components.contract.digests import file_digest
from components.contract.resolve import config_json
from pipelines.cluster.client import ClusterClient
from pipelines.cluster.cluster_config import ClusterConfig
from pipelines.cluster.connection import AlreadyExists, NotFound
from pipelines.cluster.runs import refuse_ongoing

PIPELINE = "rapid"
_DIGITS = 16


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
    version = ensure_version(client, cluster)
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


def ensure_version(client: ClusterClient, cluster: ClusterConfig) -> Version:
    """Return the pipeline version for these settings, found by the digest of the compiled pipeline or uploaded."""
    from pipelines.compilation import compile_pipeline

    with tempfile.TemporaryDirectory(prefix="rapid-submit-") as scratch:
        file = Path(scratch) / f"{PIPELINE}.yaml"
        compile_pipeline(file, cluster)
        name = f"sha256-{file_digest(file)[:_DIGITS]}"
        pipeline_id = _ensure_pipeline(client)
        reused = True
        try:
            found = client.version(pipeline_id, name)
        except NotFound:
            about = f"rapid-rl {CODE_VERSION}, up to {cluster.max_iterations} iterations"
            try:
                found, reused = client.upload_version(pipeline_id, name, file, about), False
            except AlreadyExists:  # another process has uploaded it
                found = client.version(pipeline_id, name)
    reference = kfp.V2beta1PipelineVersionReference(
        pipeline_id=pipeline_id, pipeline_version_id=found.pipeline_version_id
    )
    return Version(reference, name, reused)


def _ensure_pipeline(client: ClusterClient) -> str:
    try:
        return str(client.pipeline(PIPELINE).pipeline_id)
    except NotFound:
        pass
    try:
        about = "RAPID: large batches of rollouts, many importance-weighted updates"
        return str(client.create_pipeline(PIPELINE, about).pipeline_id)
    except AlreadyExists:
        return str(client.pipeline(PIPELINE).pipeline_id)


def ensure_experiment(client: ClusterClient, name: str) -> str:
    try:
        return str(client.experiment(name).experiment_id)
    except NotFound:
        pass
    try:
        return str(client.create_experiment(name).experiment_id)
    except AlreadyExists:
        return str(client.experiment(name).experiment_id)
