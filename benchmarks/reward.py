"""Graded completions per second in grading processes, against math-verify in one process; memory.

    .venv/bin/python benchmarks/reward.py [--repeats 5] [--rows 100000]

Worked solutions of MATH problems and real completions to GSM8K questions (from RAPID_SHARED, else ../shared).
Every repeat grades them in these ways, each in its own process:

    ours          the `math` grader in one grading process per core, as in the reward stage
    one process   the same function called in a loop
    math-verify   math-verify alone called in a loop (parse and verify, its own limits off: they need a main thread)

`hard` repeats this with rewritten answers only, whose equality needs sympy. Then the reward stage grades many rows of a
synthetic run, and the resident memory of it and its processes is read after every part. Prints a table and writes
`benchmarks/results/reward.json`.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("RAPID_SHARED", REPOSITORY.parent / "shared"))
KINDS = ("ours", "one process", "math-verify")
PART_ROWS = 2048
READINGS = 20
Pairs = list[tuple[str, str]]


def pairs_of(kind: str) -> Pairs:
    """Return (completion, answer) pairs, `real` or `hard` ones."""
    problems = _rows("math500_half")
    if kind == "real":
        questions = _rows("gsm8k_labelled_completions")
        return [(r["solution"], r["answer"]) for r in problems] * 2 + [
            (r["completion"], r["answer"]) for r in questions
        ]
    # No two are alike, so that no parsed answer is reused.
    return [
        (f"It is $\\boxed{{\\frac{{{i + 2}({row['answer']})}}{{{i + 2}}} + {i} - {i}}}$.", row["answer"])
        for i, row in enumerate([r for r in problems if r["answer"].isdecimal()] * 3)
    ]


def ours(pairs: Pairs) -> float:
    from components.contract.reward_config import GraderSpec
    from components.reward.grader_lookup import resolve_graders
    from components.reward.grading_pool import GraderPool, GradingTask

    tasks = [GradingTask("", completion, answer, "{}") for completion, answer in pairs]
    with GraderPool(resolve_graders([GraderSpec(name="math")]), workers=0, time_limit=30.0) as pool:
        list(pool.grade(tasks[:64]))
        begin = time.perf_counter()
        outcomes = list(pool.grade(tasks))
        seconds = time.perf_counter() - begin
    assert all(outcome.status == "ok" for _, outcome in outcomes)
    return len(pairs) / seconds


def one_process(pairs: Pairs) -> float:
    from components.reward.graders.math import math

    return _rate(math, pairs)


def math_verify(pairs: Pairs) -> float:
    import logging

    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)

    def grade(completion: str, answer: str) -> float:
        gold = parse(answer if "A:" in answer else f"\\boxed{{{answer}}}", parsing_timeout=None)
        return float(verify(gold, parse(completion, parsing_timeout=None), timeout_seconds=None))

    return _rate(grade, pairs)


def _rate(grade: Callable[[str, str], float], pairs: Pairs) -> float:
    for pair in pairs[:64]:
        grade(*pair)
    begin = time.perf_counter()
    for pair in pairs:
        grade(*pair)
    return len(pairs) / (time.perf_counter() - begin)


def memory(rows: int) -> list[int]:
    """Return the resident MiB of the reward stage and its grading processes, read `READINGS` times over `rows` rows."""
    import psutil

    from components.contract.layout import Round
    from components.reward import shard_grading
    from components.reward.stage import run_stage

    readings: list[int] = []
    process, written = psutil.Process(), shard_grading.PartWriter.append

    def append(writer: object, table: object) -> None:
        written(writer, table)  # type: ignore[arg-type]
        whole = [process, *process.children(recursive=True)]
        readings.append(round(sum(p.memory_info().rss for p in whole) / 2**20))

    with tempfile.TemporaryDirectory() as scratch:
        uri = make_run(Path(scratch), rows)
        shard_grading.PartWriter.append = append  # type: ignore[method-assign,assignment]
        facts = run_stage(uri, Round.iteration(1), 0).facts
    assert facts["ok"] == facts["rows"] == rows, facts
    return readings[:: max(1, len(readings) // READINGS)]


def make_run(directory: Path, rows: int) -> str:
    """Create a run whose first iteration has `rows` completions, no two alike, and return its URI."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from components.contract.config import RunConfig
    from components.contract.layout import Round, RunLayout
    from components.contract.resolve import config_json
    from components.contract.schemas import PROMPTS, TRAJECTORIES, with_metadata
    from components.runtime.clock import Clock
    from components.store import Run, open_store
    from components.store.parts import PartWriter

    config = RunConfig.parse(
        {
            "run": "bench",
            "store": str(directory),
            "model": "m",
            "data": "d",
            "reward": "math",
            "tracking": {"enabled": False},
        },
        "configuration",
    )
    run = Run(open_store(str(directory)), RunLayout("bench"), config)
    run.store.write(run.layout.config, config_json(config).encode())
    pairs = pairs_of("real")
    prompts = pa.table(
        {
            "prompt_id": [f"p{i}" for i in range(len(pairs))],
            "split": ["train"] * len(pairs),
            "prompt": ["?"] * len(pairs),
            "prompt_token_ids": [[1]] * len(pairs),
            "answer": [answer for _, answer in pairs],
            "metadata": ["{}"] * len(pairs),
        },
        schema=with_metadata(PROMPTS, {}),
    )
    sink = pa.BufferOutputStream()
    pq.write_table(prompts, sink)
    target = run.output("prepare", run.layout.prompts, {})
    target.write("train.parquet", sink.getvalue().to_pybytes(), rows=len(pairs))
    target.commit(Clock().timings())
    round_ = Round.iteration(1)
    rollout = run.output("rollout", run.layout.rollout(round_, 0), {}, round_, 0)
    writer = PartWriter(rollout, "trajectories", with_metadata(TRAJECTORIES, {}))
    for begin in range(0, rows, PART_ROWS):
        numbers = range(begin, min(begin + PART_ROWS, rows))
        columns = {
            "prompt_id": [f"p{n % len(pairs)}" for n in numbers],
            "group_id": [f"{n:07d}" for n in numbers],
            "sample_index": [0] * len(numbers),
            "split": ["train"] * len(numbers),
            "prompt_token_ids": [[1]] * len(numbers),
            "completion_token_ids": [[1] * 200] * len(numbers),
            "behaviour_logprobs": [[-1.0] * 200] * len(numbers),
            "finish_reason": ["stop"] * len(numbers),
            "text": [f"{n}: {pairs[n % len(pairs)][0]}" for n in numbers],
        }
        writer.append(pa.table(columns, schema=TRAJECTORIES))
    rollout.commit(Clock().timings())
    return run.uri


def measure(what: str, *words: str) -> object:
    command = [sys.executable, __file__, "--one", what, *words]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (SHARED / "data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="repeats of all ways")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the memory measurement")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--pairs", default="real", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one == "memory":
        print(json.dumps(memory(arguments.rows)))
        return
    if arguments.one:
        function = {"ours": ours, "one process": one_process, "math-verify": math_verify}[arguments.one]
        print(json.dumps(function(pairs_of(arguments.pairs))))
        return
    summary: dict[str, object] = {"cores": len(os.sched_getaffinity(0))}
    for pairs in ("real", "hard"):
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for number in range(1, arguments.repeats + 1):
            for kind in KINDS:
                rate = measure(kind, "--pairs", pairs)
                assert isinstance(rate, float)
                rates[kind].append(rate)
            now = ", ".join(f"{kind} {rates[kind][-1]:,.0f}" for kind in KINDS)
            print(f"{pairs} {number}: {now} completions/s", flush=True)
        summary[pairs] = {
            kind: {"median": statistics.median(found), "least": min(found), "largest": max(found)}
            for kind, found in rates.items()
        }
        medians = ", ".join(f"{kind} {statistics.median(rates[kind]):,.0f}" for kind in KINDS)
        print(f"{pairs}, median: {medians} completions/s")
    readings = measure("memory", "--rows", str(arguments.rows))
    assert isinstance(readings, list)
    summary["memory"] = {"rows": arguments.rows, "mib": readings}
    print(f"memory over {arguments.rows:,} rows: {readings[0]} MiB after the first part, at the end {readings[-1]}")
    results = REPOSITORY / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "reward.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
