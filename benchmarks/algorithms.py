"""The time that RAPID and other algorithms take to the same accuracy, with the same engine and trainer.

    .venv/bin/python -m benchmarks.algorithms --quick      # under ten minutes: the main comparison, one seed
    .venv/bin/python -m benchmarks.algorithms              # hours: every algorithm, learning rate, seed and ablation
    .venv/bin/python -m benchmarks.algorithms --report     # tables, plots and page from the saved runs

Every run is saved below `--home` when it ends, and the same command continues with the missing ones. It prints tables
and writes `benchmarks/results/algorithms/` (with --quick, `HOME/quick`).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.learning import page, plots, tables
from benchmarks.learning.drive import Driver, Plan, RunFailed, full_plan, quick_plan
from benchmarks.learning.summary import REFERENCE, by_variant, machine, task_summary
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.variants import STEPS
from benchmarks.training.report import RESULTS, table

HOME = Path(".rapid/benchmarks/algorithms")
FINDINGS = Path(__file__).parent / "learning" / "findings.md"
_COMMAND = ".venv/bin/python -m benchmarks.algorithms --cores 0"


def summarise(driver: Driver, plan: Plan) -> dict[str, Any]:
    """Return all figures of the saved runs."""
    swept = driver.sweep_kept()
    field, studies = driver.seeds_kept(swept), driver.studies_kept(swept)
    tasks = {}
    for name in plan.tasks:
        of_task = [[r for r in records if r.job.task == name] for records in (swept, field, studies)]
        summary = task_summary(
            of_task[0], by_variant(of_task[1]), by_variant(of_task[2]), driver.pipeline_kept(name, swept)
        )
        tasks[name] = {"description": TASKS[name]().description, **summary}
    settings = {"seeds": plan.seeds, "steps": plan.steps}
    return {"machine": machine(), "settings": settings, "tasks": tasks}


def show(summary: dict[str, Any]) -> None:
    for name, task in summary["tasks"].items():
        clocks = [clock for clock in ("pipeline", "compute") if clock in task["field"][REFERENCE]["to_target"]]
        for target in tables.targets(task, 2):
            print(f"\n{name}: time to pass@1 {target}, medians over seeds\n")
            print(table(*tables.main_rows(task, clocks, target)))
        if task["studies"]:
            print(f"\n{name}: one part of the method changed at a time, and its limits\n")
            print(table(*tables.study_rows(task)))


def write(summary: dict[str, Any], into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    (into / "results.json").write_text(json.dumps(summary, separators=(",", ":")) + "\n", encoding="utf-8")
    pictures = plots.draw(summary, into)
    page.write(summary, _COMMAND, pictures, into / "README.md", FINDINGS.read_text(encoding="utf-8"))
    print(f"\n{into}/README.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few algorithms, one learning rate, one seed")
    parser.add_argument("--report", action="store_true", help="report the saved runs without running any")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of each run")
    parser.add_argument("--cores", nargs="+", type=int, help="CPU cores to run on")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of base policies and runs")
    arguments = parser.parse_args()
    plan = (
        quick_plan(arguments.steps) if arguments.quick else full_plan(arguments.tasks, arguments.seeds, arguments.steps)
    )
    driver = Driver(plan, arguments.home, arguments.cores)
    try:
        if not arguments.report:
            driver.run_all()
        summary = summarise(driver, plan)
    except RunFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command continues after the last finished run")
    show(summary)
    write(summary, arguments.home / "quick" if arguments.quick else RESULTS / "algorithms")


if __name__ == "__main__":
    main()
