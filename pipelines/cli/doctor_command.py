"""`rapid doctor`: check this machine and, given a configuration, what a run of it needs."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.contract.errors import InputError
from components.contract.resolve import load_config
from pipelines.cli.arguments import OverridesArgument
from pipelines.cli.plan_tables import print_findings
from pipelines.cli.submit_commands import ClusterOption
from pipelines.cluster.cluster_config import load_cluster
from pipelines.preflight import preflight
from pipelines.preflight.findings import Finding
from pipelines.preflight.machine_check import inspect_machine


def doctor_command(
    config: Annotated[
        Path | None,
        typer.Argument(
            help="Configuration of a run (YAML), to check its model, data, graders, store and tracking too.",
            metavar="CONFIG",
        ),
    ] = None,
    overrides: OverridesArgument = None,
    cluster: ClusterOption = None,
) -> None:
    """Check this machine and what a run needs: what is installed, what is missing, and how to fix it.

    With CONFIG it also tries to write to the run's store. With --cluster it checks what rapid submit would refuse
    instead, and sends nothing. The exit status is 2 if there are errors.

    Examples:

        rapid doctor my.yaml reward=code

        rapid doctor --cluster cluster.yaml my.yaml
    """
    findings = inspect_machine() if cluster is None else []
    if config is None and cluster:
        raise InputError("name the configuration too: rapid doctor --cluster FILE CONFIG")
    if config:
        try:
            resolved = load_config(config, overrides or ())
            settings = load_cluster(cluster).fitting(resolved) if cluster else None
        except InputError as error:
            findings.append(Finding.error("configuration", str(error)))
        else:
            findings.append(Finding.ok("configuration", f"{config}: run {resolved.run.name}"))
            findings += preflight(resolved, settings, try_writing=settings is None).findings
    print_findings(findings, Console())
