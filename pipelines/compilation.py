"""From the definition to IR YAML."""

from pathlib import Path

from kfp import compiler

from components.contract.errors import InputError
from pipelines.cluster.config import ClusterConfig
from pipelines.pipeline import rapid_pipeline


def compile_pipeline(path: Path, cluster: ClusterConfig) -> None:
    """Write the IR YAML.

    Args:
        path: ends in .yaml or .yml, in a folder that is there.
        cluster: what is fixed at compile time. The YAML grows by 13 to 19 KB with each of its iterations, and a
            workflow may hold 1 MiB.

    Raises:
        InputError: the path cannot be written or is no YAML file.
    """
    if path.suffix not in (".yaml", ".yml"):
        raise InputError(f"{path}: the compiled pipeline is YAML, give a name that ends in .yaml")
    try:
        compiler.Compiler().compile(rapid_pipeline(cluster), str(path))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another place") from None
