"""MBPP programs per second in every sandbox, against bare interpreters and evalplus-style execution.

    .venv/bin/python benchmarks/reward_code.py [--repeats 7] [--programs 150]

The ways take turns on each reference solution, so that other load on the machine affects all alike:

    namespaces, landlock   the grader's own path: a confined fork per program, its tests as calls, values compared
    bare start             `python -I -S -c pass`: an interpreter per program that runs nothing
    bare run               `python -I -S` with the program and its asserts: no confinement, and a verdict by exit status
    evalplus style         a fork of this process with resource limits that runs program and asserts itself: fast, no
                           sandbox, and a program that ends with status 0 counts as right

Programs of more than a second (one of the 600) are left out. Prints a table, writes results/reward_code.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from components.sandbox.inside.confine import landlock_abi
from components.sandbox.modes import namespaces
from components.sandbox.runner import run_suite
from components.sandbox.sandbox import Limits, Sandbox
from components.sandbox.suite import read_suite

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("RAPID_SHARED", REPOSITORY.parent / "shared"))
LIMITS = Limits(seconds=20.0, cpu_seconds=20, memory_mib=512, processes=1, file_mib=16, output_kib=1024)
SLOW = {123}
BARE = [os.path.realpath(sys.executable), "-I", "-S"]

Row = dict[str, Any]


def sandboxed(sandbox: Sandbox, row: Row) -> bool:
    results = run_suite(sandbox, [(row["code"], False)], read_suite(row, None, True, False), 20.0)
    return all(result.verdict == "passed" for result in results)


def bare_start(_: Row) -> bool:
    return subprocess.run([*BARE, "-c", "pass"]).returncode == 0


def bare_run(row: Row) -> bool:
    return subprocess.run([*BARE, "-c", script(row)], stderr=subprocess.DEVNULL).returncode == 0


def evalplus_style(row: Row) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
                resource.setrlimit(limit, (4 << 30, 4 << 30))
            exec(script(row), {})
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def script(row: Row) -> str:
    return "\n".join([row["code"], row["test_setup_code"], *row["test_list"], *row["challenge_test_list"]])


def seconds(way: Callable[[Row], bool], row: Row) -> float:
    begin = time.perf_counter()
    passed = way(row)
    took = time.perf_counter() - begin
    assert passed, f"the reference solution of {row['task_id']} did not pass"
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--programs", type=int, default=150, help="programs per way and repeat")
    arguments = parser.parse_args()
    path = SHARED / "data" / "mbpp_part.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["task_id"] not in SLOW][: arguments.programs]

    modes = [mode for mode, holds in (("namespaces", namespaces().holds), ("landlock", landlock_abi())) if holds]
    ways: dict[str, Callable[[Row], bool]] = {
        **{mode: partial(sandboxed, Sandbox(mode, LIMITS)) for mode in modes},
        "bare start": bare_start,
        "bare run": bare_run,
        "evalplus style": evalplus_style,
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, arguments.repeats + 1):
        taken = dict.fromkeys(ways, 0.0)
        for row in rows:
            for name, way in ways.items():
                taken[name] += seconds(way, row)
        for name, total in taken.items():
            rates[name].append(len(rows) / total)
        print(f"{number}: " + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in rates.items()), flush=True)

    print(f"\n{'':16}{'programs/s':>12}{'least':>8}{'most':>8}{'ms each':>10}{'x bare start':>14}")
    summary = {}
    for name, values in rates.items():
        against = statistics.median(own / bare for own, bare in zip(values, rates["bare start"], strict=True))
        median = statistics.median(values)
        summary[name] = {"median": median, "least": min(values), "most": max(values), "against_bare_start": against}
        print(f"{name:16}{median:12,.0f}{min(values):8,.0f}{max(values):8,.0f}{1000 / median:10.1f}{against:14.2f}")
    results = REPOSITORY / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    facts = {"programs": len(rows), "repeats": arguments.repeats, "programs_per_second": summary, "rates": rates}
    (results / "reward_code.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
