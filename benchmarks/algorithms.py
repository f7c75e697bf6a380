"""RAPID against the field: how long each algorithm takes to the same accuracy, through the same engine and trainer.

    .venv/bin/python -m benchmarks.algorithms --quick      # under ten minutes: the main comparison, one seed
    .venv/bin/python -m benchmarks.algorithms              # hours: every algorithm, learning rate, seed and ablation
    .venv/bin/python -m benchmarks.algorithms --report     # tables, plots and page from what has been run

Every run is kept below `--home` as soon as it is done; the same command goes on with those that are missing. Prints
tables, and writes `benchmarks/results/algorithms/` (not with --quick, whose results stay below `--home`).
"""

import argparse
import sys
from pathlib import Path

from benchmarks.learning.drive import Driver, RunFailed, full_plan, quick_plan
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.variants import LEARNING_RATES, STEPS

HOME = Path(".rapid/benchmarks/algorithms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few algorithms, one learning rate, one seed")
    parser.add_argument("--report", action="store_true", help="run nothing; report what is there")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--rates", nargs="+", type=float, default=list(LEARNING_RATES), metavar="RATE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps of a run")
    parser.add_argument("--cores", nargs="+", type=int, help="bind the measuring process to these, to have others free")
    parser.add_argument("--home", type=Path, default=HOME, help="where base policies and runs are kept")
    arguments = parser.parse_args()
    plan = (
        quick_plan(arguments.steps)
        if arguments.quick
        else full_plan(arguments.tasks, arguments.rates, arguments.seeds, arguments.steps)
    )
    driver = Driver(plan, arguments.home, arguments.cores)
    try:
        driver.base_policies()
        swept = driver.sweep()
        driver.seeds(swept)
        driver.studies(swept)
    except RunFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on after the last finished run")


if __name__ == "__main__":
    main()
