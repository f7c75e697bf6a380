"""From the definition to IR YAML."""

from pathlib import Path

from google.protobuf import json_format
from kfp.compiler.pipeline_spec_builder import write_pipeline_spec_to_file
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

from components.contract.errors import InputError
from pipelines.cluster.config import ClusterConfig
from pipelines.pipeline import rapid_pipeline
from pipelines.sharing import share_equal_parts


def compile_pipeline(path: Path, cluster: ClusterConfig) -> None:
    """Write the IR YAML: the pipeline, and after it what its stages ask of Kubernetes.

    Args:
        path: ends in .yaml or .yml, in a folder that is there.
        cluster: what is fixed at compile time, and defaults of what is not. A workflow may hold about 1 MiB; the
            YAML grows by 11 to 16 KB with each of its iterations.

    Raises:
        InputError: the path cannot be written or is no YAML file.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: the compiled pipeline is YAML, give a name that ends in .yaml")
    pipeline = rapid_pipeline(cluster)
    spec = json_format.MessageToDict(pipeline.pipeline_spec)
    platform = json_format.MessageToDict(pipeline.platform_spec)
    share_equal_parts(spec, platform)
    try:
        write_pipeline_spec_to_file(
            json_format.ParseDict(spec, PipelineSpec()),
            pipeline.description,
            json_format.ParseDict(platform, PlatformSpec()),
            str(path),
        )
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
