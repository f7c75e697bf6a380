"""The time that RAPID and other algorithms take to the same accuracy, in runs of `rapid run`.

    .venv/bin/python -m benchmarks.algorithms              # minutes: GRPO against RAPID, one seed
    .venv/bin/python -m benchmarks.algorithms --full       # hours: every algorithm on three seeds
    .venv/bin/python -m benchmarks.algorithms --ablations  # hours: RAPID with one part of the method changed at a time
    .venv/bin/python -m benchmarks.algorithms --rates      # hours: which learning rate is best for which algorithm
    .venv/bin/python -m benchmarks.algorithms --report     # figures from finished runs, starting none

Runs are kept below `--home`; the same command continues one that was stopped and starts those that are missing, so
that a comparison can be filled in several sittings, by task, algorithm and seed. What finished runs have measured is
kept in `benchmarks/results/algorithms/records.jsonl`. It prints tables and writes
`benchmarks/results/time_to_accuracy.json` or, with the other options, pages in `benchmarks/results/algorithms/`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.learning import page, plots, tables
from benchmarks.learning.drive import Runs, Size, Sweep, ablate, compared, search_rates, summarise
from benchmarks.learning.jobs import RunFailed
from benchmarks.learning.records import Record
from benchmarks.learning.summary import machine
from benchmarks.learning.tasks import TASKS
from benchmarks.learning.variants import FIELD, MAIN, STEPS
from benchmarks.training.report import RESULTS, table, write

HOME = Path(".rapid/benchmarks/algorithms")
FULL = RESULTS / "algorithms"
_COMMAND = ".venv/bin/python -m benchmarks.algorithms"


def _summary(records: list[Record], size: Size) -> dict[str, Any]:
    """Print the tables of records and return all figures."""
    summary = summarise(records)
    for name, task in summary.items():
        for target in tables.targets(task, 3):
            print(f"\n{name}: seconds to pass@1 {target}, medians over seeds\n")
            print(table(*tables.main_rows(task, target)))
        print(f"\n{name}: milliseconds of an optimizer step\n")
        print(table(*tables.cost_rows(task)))
    return {"machine": machine(), "settings": {"seeds": size.seeds, "steps": size.steps}, "tasks": summary}


def _save(name: str, value: Any) -> None:
    (FULL / name).write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every algorithm")
    parser.add_argument("--ablations", action="store_true", help="parts of RAPID and the limits of reuse")
    parser.add_argument("--rates", action="store_true", help="search the learning rates")
    parser.add_argument("--report", action="store_true", help="report what is finished, start nothing")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    names = [variant.name for variant in FIELD]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help="these algorithms of --full or --rates"
    )
    parser.add_argument("--seeds", type=int, help="1, with --full and --ablations 3")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimizer steps of each run")
    parser.add_argument("--cores", nargs="+", type=int, help="CPU cores to run on")
    parser.add_argument("--home", type=Path, default=HOME, help="folder of base policies and runs")
    arguments = parser.parse_args()
    size = Size(arguments.seeds or (3 if arguments.full or arguments.ablations else 1), arguments.steps)
    runs = Runs(arguments.home, arguments.cores, FULL / "records.jsonl")
    read = runs.finished if arguments.report else runs.finish
    variants = [variant for variant in FIELD if variant.name in arguments.only]
    rates: Sweep = json.loads((FULL / "rates.json").read_text(encoding="utf-8"))
    try:
        if arguments.rates:
            for task, swept in search_rates(read, arguments.tasks, variants, size).items():
                rates[task] = rates.get(task, {}) | swept
                print(f"\n{task}: mean pass@1 over the run\n\n{table(*tables.sweep_rows(swept))}")
            _save("rates.json", rates)
        elif arguments.ablations:
            made = {"seeds": size.seeds, "steps": size.steps, "tasks": ablate(read, rates, arguments.tasks, size)}
            for name, studies in made["tasks"].items():
                print(f"\n{name}\n\n{table(*tables.study_rows(studies))}")
            picture = plots.draw_ablations(made["tasks"], FULL / "ablations.png")
            page.write_ablations(made, f"{_COMMAND} --ablations", picture, FULL / "ablations.md")
        elif arguments.full:
            read(compared(rates, arguments.tasks, variants, size))
            # The page shows all that is finished, of other sittings too.
            summary = _summary(runs.finished(compared(rates, TASKS, FIELD, size)), size)
            _save("results.json", summary)
            page.write(summary, rates, f"{_COMMAND} --full", plots.draw(summary, FULL), FULL / "figures.md")
        else:
            write("time_to_accuracy", _summary(read(compared(rates, arguments.tasks, MAIN, size)), size))
    except RunFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nstopped; the same command continues")


if __name__ == "__main__":
    main()
