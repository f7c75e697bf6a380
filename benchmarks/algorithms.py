"""The time that RAPID and other algorithms take to the same accuracy, in runs of `rapid run`.

    .venv/bin/python -m benchmarks.algorithms              # minutes: GRPO against RAPID, one seed
    .venv/bin/python -m benchmarks.algorithms --full       # days: every algorithm, learning rate, seed and ablation
    .venv/bin/python -m benchmarks.algorithms --report     # figures from finished runs, starting none

Runs are kept below `--home`; the same command continues one that was stopped and starts those that are missing. It
prints tables and writes `benchmarks/results/time_to_accuracy.json` (with --full, `benchmarks/results/algorithms/`).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.learning import page, plots, tables
from benchmarks.learning.drive import Runs, full_comparison, main_comparison
from benchmarks.learning.jobs import RunFailed
from benchmarks.learning.summary import machine
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.variants import STEPS
from benchmarks.training.report import RESULTS, table, write

HOME = Path(".rapid/benchmarks/algorithms")
FULL = RESULTS / "algorithms"
_COMMAND = ".venv/bin/python -m benchmarks.algorithms --full --cores 0"


def show(tasks: dict[str, Any]) -> None:
    for name, task in tasks.items():
        for target in tables.targets(task, 3):
            print(f"\n{name}: seconds to pass@1 {target}, medians over seeds\n")
            print(table(*tables.main_rows(task, target)))
        print(f"\n{name}: milliseconds of an optimizer step\n")
        print(table(*tables.cost_rows(task)))
        if task["studies"]:
            print(f"\n{name}: one part of the method changed at a time, and its limits\n")
            print(table(*tables.study_rows(task)))


def write_page(summary: dict[str, Any], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    (into / "results.json").write_text(json.dumps(summary, separators=(",", ":")) + "\n", encoding="utf-8")
    page.write(summary, _COMMAND, plots.draw(summary, into), into / "figures.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every algorithm, learning rate, seed and ablation")
    parser.add_argument("--report", action="store_true", help="report finished runs, start none")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, help="1, with --full 3")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of each run")
    parser.add_argument("--cores", nargs="+", type=int, help="CPU cores to run on")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of base policies and runs")
    arguments = parser.parse_args()
    seeds, steps = arguments.seeds or (3 if arguments.full else 1), arguments.steps
    runs = Runs(arguments.home, arguments.cores, start=not arguments.report)
    try:
        if arguments.full:
            tasks = full_comparison(runs, arguments.tasks, seeds, steps)
        else:
            tasks = main_comparison(runs, FULL / "results.json", arguments.tasks, seeds, steps)
    except RunFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command continues")
    show(tasks)
    summary = {"machine": machine(), "settings": {"seeds": seeds, "steps": steps}, "tasks": tasks}
    if arguments.full:
        write_page(summary, FULL)
    else:
        write("time_to_accuracy", summary)


if __name__ == "__main__":
    main()
