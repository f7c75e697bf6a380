"""Faults of every kind in whole runs and single stages, and what they cost: nothing but time.

    .venv/bin/python -m benchmarks.faults [--only 'kill/*' ...] [--trials 3] [--seed 0]

A trial disturbs a run, or one stage of it, of an untrained policy of the demo's size, at moments and places that are
drawn from the seed, and starts again what has ended, as a user would. Its completions, rewards and policies are then
compared with those of the same run left alone. Every trial is a line of `benchmarks/results/faults.jsonl`; trials that
are there already are not repeated, so that the matrix can be filled in several sittings. The directory of a trial in
which something was lost, differs or was left behind is kept.

    kill/<pod, workers or tasks>/<setting>    SIGKILL to any process, again and again; second copies of workers
    kill/<stage>/<setting>                    the same in one stage, in a copy of the run elsewhere
    s3/<fault>                                requests that fail; `benchmarks/faults/s3_proxy.py` says how
    disk/<store or tmp>-<bytes or inodes>     a file system that is nearly full below the store or TMPDIR (as root)
    memory/limit                              a control group's limit (as root)
"""

import argparse
import fnmatch
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.faults.limit_trials import limit_cases
from benchmarks.faults.storage_trials import storage_cases
from benchmarks.faults.trials import Case, Trial, Workplace, kill_cases
from benchmarks.loop import s3_server
from benchmarks.training.report import RESULTS, table
from components.runtime.processes import adopt_orphans

_FILE = RESULTS / "faults.jsonl"
_COLUMNS = ("trials", "faults", "survived", "completions", "rewards", "policies", "lost", "differing", "left")


def is_good(row: dict[str, Any]) -> bool:
    """Return whether a trial reached its end with everything as if it had been left alone."""
    return not (row["problem"] or row["left"] or row["lost"] or row["differing"])


def summary(rows: list[dict[str, Any]]) -> dict[str, Counter[str]]:
    """Return the sums of trials by case, and of all of them."""
    sums: dict[str, Counter[str]] = {}
    for row in rows:
        figures = Counter({name: row[name] for name in ("completions", "rewards", "policies", "lost", "differing")})
        figures["trials"] = 1
        figures["faults"] = sum(row["faults"].values())
        figures["survived"] = int(not row["problem"])
        figures["left"] = len(row["left"])
        for name in (row["case"], "all"):
            sums.setdefault(name, Counter()).update(figures)
    return dict(sorted(sums.items(), key=lambda item: (item[0] == "all", item[0])))


def make_trial(workplace: Workplace, name: str, case: Case, number: int, seed: int) -> dict[str, Any]:
    """Make one trial; its directory is kept where it went badly."""
    folder = workplace.scratch / f"{name.replace('/', '-')}-{number}"
    shutil.rmtree(folder, ignore_errors=True)  # of a sitting that was stopped
    begin = time.monotonic()
    found = case(Trial(workplace, random.Random(f"{seed}/{name}/{number}"), folder))
    row = {
        "case": name,
        "seed": seed,
        "trial": number,
        "commit": _commit(),
        **found,
        "seconds": round(time.monotonic() - begin),
    }
    if is_good(row):
        shutil.rmtree(folder)
    else:
        row["kept"] = str(shutil.move(folder, tempfile.mkdtemp(prefix="rapid-trial-")))
    return row


def _commit() -> str:
    """Return the short name of the commit that is tried, empty outside of a clone."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parent).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="cases, such as kill/pod/*")
    parser.add_argument("--trials", type=int, default=3, help="of each case")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--file", type=Path, default=_FILE, help="of the results of all sittings")
    parser.add_argument("--place", type=Path, help="keeps the runs left alone for the next sitting of the same code")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that file systems are unmounted
    adopt_orphans()
    text = arguments.file.read_text(encoding="utf-8") if arguments.file.exists() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    made = {(row["case"], row["seed"], row["trial"]) for row in rows}
    with tempfile.TemporaryDirectory(prefix="rapid-faults-") as scratch, s3_server() as bucket:
        workplace = Workplace(arguments.place or Path(scratch))
        cases = {
            name: case
            for name, case in (kill_cases() | storage_cases(bucket) | limit_cases()).items()
            if any(fnmatch.fnmatch(name, pattern) for pattern in arguments.only)
        }
        if os.geteuid() and (limited := sorted(cases.keys() & limit_cases())):
            parser.error(f"{', '.join(limited)} need root; leave them out with --only")
        for number in range(1, arguments.trials + 1):
            for name, case in cases.items():
                if (name, arguments.seed, number) in made:
                    continue
                rows.append(make_trial(workplace, name, case, number, arguments.seed))
                with arguments.file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                print(json.dumps(rows[-1]), flush=True)
    sums = summary(rows)
    print(table(["", *_COLUMNS], [[name, *(str(figures[c]) for c in _COLUMNS)] for name, figures in sums.items()]))
    if not all(map(is_good, rows)):
        sys.exit(1)


if __name__ == "__main__":
    main()
