"""`rapid status`: how far a run is."""

from rich.console import Console

from components.results import read_run
from pipelines.cli.arguments import DEFAULT_STORE, RunArgument, StoreOption, find_run
from pipelines.cli.tables import results_table, run_warnings, totals_line


def status_command(run: RunArgument, store: StoreOption = DEFAULT_STORE) -> None:
    """Show what a run has committed so far: a row per policy, evaluations, seconds per stage.

    Example:

        rapid status small
    """
    found = find_run(run, store)
    results = read_run(found)
    console = Console()
    console.print(results_table(found.config, results))
    console.print(totals_line(results), highlight=False, soft_wrap=True)
    for warning in run_warnings(results):
        console.print(warning, style="yellow", highlight=False, markup=False, soft_wrap=True)
    iterations = found.config.loop.iterations
    state = "finished" if found.published() else f"{results.policy_version} of {iterations} iterations trained"
    console.print(f"{state}; {found.uri}", highlight=False, markup=False, soft_wrap=True)
