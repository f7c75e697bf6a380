"""The checks before a run starts, for this machine and for a cluster.

A check takes the configuration and, where the run is to work on a cluster, the cluster's settings. Without them it
judges this machine; with them it judges what pods can reach and what the compiled pipeline can do.
"""

from pipelines.preflight.findings import Finding, Level, errors_of, refuse_errors
from pipelines.preflight.machine_check import check_packages, inspect_machine
from pipelines.preflight.run_check import Preflight, check_before_run, preflight

__all__ = [
    "Finding",
    "Level",
    "Preflight",
    "check_before_run",
    "check_packages",
    "errors_of",
    "inspect_machine",
    "preflight",
    "refuse_errors",
]
