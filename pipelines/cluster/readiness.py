"""What of a configuration cannot work on a cluster, found before anything is sent there."""

import os
from pathlib import Path

from components.contract.config import RunConfig
from components.contract.errors import InputError
from components.contract.model_reference import ModelReference, is_model_reference
from components.prepare.policy import is_hub_name
from components.prepare.sources import is_generated
from components.store.files import is_directory
from components.store.schemes import bucket_and_prefix
from pipelines.cluster.config import ClusterConfig


def check_ready(config: RunConfig, cluster: ClusterConfig) -> None:
    """Refuse what only this machine has, and what the compiled pipeline cannot do.

    A path that this machine does not have may be one of the pods' (their image, a volume): it is let through.

    Raises:
        InputError: every reason, in one message.
    """
    reasons = [*_store(config), *_model(config.model.path), *_data(config), *_tracking(config.tracking.uri)]
    if config.loop.iterations > cluster.max_iterations:
        reasons.append(
            f"loop.iterations is {config.loop.iterations}, and the pipeline is compiled for at most "
            f"{cluster.max_iterations}: raise max_iterations in the file given with --cluster"
        )
    if config.loop.staleness != int(cluster.pipelined):
        reasons.append(
            f"loop.staleness is {config.loop.staleness}, and the pipeline is compiled with pipelined: "
            f"{str(cluster.pipelined).lower()}: staleness 1 and pipelined: true go together"
        )
    if reasons:
        raise InputError(f"this cannot run on a cluster: {'; '.join(reasons)}")


def _store(config: RunConfig) -> list[str]:
    uri = config.store.uri
    if not uri.startswith("s3://"):
        return [f"store is {uri}, on this machine: pods need s3://bucket/prefix"]
    try:
        bucket_and_prefix(uri)
    except InputError as error:
        return [str(error)]
    return []


def _model(path: str) -> list[str]:
    if is_model_reference(path):
        ModelReference.parse(path)
        return []
    if path.startswith("s3://") or (is_hub_name(path) and not is_directory(Path(path))):
        return []
    return _only_here("model.path", path, "a hub name, s3://bucket/model or models:/NAME@champion")


def _data(config: RunConfig) -> list[str]:
    reasons = []
    for key, source in (("data.train", config.data.train), ("data.eval", config.data.eval)):
        if source is not None and not is_generated(source) and not source.startswith("s3://"):
            reasons += _only_here(key, source, "s3://bucket/prompts.jsonl, or s3://bucket/prompts/ for all files there")
    return reasons


def _only_here(key: str, text: str, instead: str) -> list[str]:
    path = Path(text.removeprefix("file://")).expanduser()
    # Unlike Path.exists this takes what a closed directory hides for something that is not of this machine.
    if path.is_absolute() and not os.path.exists(path):  # noqa: PTH110
        return []
    return [f"{key} is {text}, on this machine: copy it where pods reach it and give {instead}"]


def _tracking(uri: str | None) -> list[str]:
    if uri is None or (not uri.startswith(("sqlite:", "file:")) and "://" in uri):
        return []
    return [
        f"tracking.uri is {uri}, which each pod would take for a file of its own: leave it out (the pods know "
        "MLFLOW_TRACKING_URI) or give the address of a server"
    ]
