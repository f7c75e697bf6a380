"""The share of the demo's loop that computes, and what an iteration costs beside computing, by layout and store.

    .venv/bin/python -m benchmarks.loop [--iterations 20] [--s3 s3://bucket/prefix]

The demo runs once with its workers loaded once (layout `pod`) and once with a process per stage and iteration
(`tasks`). Then its policy takes one update an iteration, so that nearly all of an iteration is fixed cost, on disk and
on an S3 server: moto in a process of its own, or with `--s3` the server of the AWS_* variables. The first iteration
waits for engine and trainer to load, and is left out of the medians. Prints tables and writes
`benchmarks/results/loop.json`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3

from benchmarks.learning.summary import machine
from benchmarks.training.report import spread, table, write
from components.contract.manifest import Timings
from components.results import RunResults, compute_after, read_run
from components.runtime.heartbeat import read_beat
from components.store import Run, open_run, open_store, run_uri
from pipelines.demo.arithmetic import CONFIG, HOME, assets_ready, make_assets

LAYOUTS = ("pod", "tasks")
TASKS_ITERATIONS = 3
"""Iterations of the layout `tasks`, each of which takes as long as many of the other."""

_TINY = ("train.updates=1", "train.mini_batch_prompts=8", "rollout.group_size=4", "data.eval_prompts=0")

_MOTO = """
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
input()
"""


@dataclass(frozen=True)
class Share:
    """The loop, from some moment until the last policy is committed."""

    seconds: float
    sampling_or_updating: float

    @property
    def share(self) -> float:
        return self.sampling_or_updating / self.seconds


def share_since_start(run: Run, results: RunResults) -> dict[str, Share]:
    """Return the loop's share of computing, from the start of the first worker and from when all are loaded.

    In the layout `tasks` there are no workers; its loop begins when prepare is committed.
    """
    stages = [("rollout", shard) for shard in range(run.config.rollout.shards)]
    stages += [("reward", shard) for shard in range(run.config.rollout.shards)] + [("train", None)]
    beats = [read_beat(run.store, run.layout.worker(stage, shard)) for stage, shard in stages]
    started = [beat.started for beat in beats if beat]
    loaded = [beat.loaded for beat in beats if beat and beat.loaded]
    moments = {"first worker": min(started, default=results.prepared)}
    if loaded:
        moments["all loaded"] = max(loaded)
    end = max(iteration.finished for iteration in results.iterations if iteration.finished)
    timings = computing(run, results)
    return {
        name: Share((end - moment).total_seconds(), compute_after(moment, timings)) for name, moment in moments.items()
    }


def computing(run: Run, results: RunResults) -> list[Timings]:
    """Return the timings of sampling and updating in every iteration."""
    trained = [run.directory(run.layout.train(i.number)).require().timings for i in results.iterations if i.train]
    return [*(timings for i in results.iterations for timings in i.sampled.rollout), *trained]


def fixed_costs(results: RunResults) -> list[float]:
    """Return the seconds of each iteration but the first in which nothing was sampled or updated."""
    return [i.time.seconds - i.time.compute for i in results.iterations[1:] if i.time]


def rapid_run(
    name: str, store: str, layout: str, scratch: Path, *words: str, environment: Mapping[str, str] | None = None
) -> tuple[Run, float]:
    """Run the demo's configuration to its end; return the run and the seconds of the command."""
    command = [sys.executable, "-m", "pipelines.cli.entry", "run", str(CONFIG), "--layout", layout]
    overrides = [f"run.name={name}", f"store={store}", f"tracking.uri=sqlite:///{scratch}/{name}.db", *words]
    begin = time.perf_counter()
    with (scratch / f"{name}.log").open("w", encoding="utf-8") as log:
        settings = {**os.environ, **(environment or {})}
        status = subprocess.run([*command, *overrides], stdout=log, stderr=subprocess.STDOUT, env=settings).returncode
    seconds = time.perf_counter() - begin
    if status:
        sys.exit((scratch / f"{name}.log").read_text(encoding="utf-8"))
    return open_run(run_uri(open_store(store), name)), seconds


def demo(layout: str, scratch: Path) -> dict[str, Any]:
    """Run the demo; return the seconds of the command and the share of its loop that computed."""
    run, seconds = rapid_run(f"demo-{layout}", str(scratch / "store"), layout, scratch)
    shares = share_since_start(run, read_run(run))
    return {
        "layout": layout,
        "command_seconds": seconds,
        **{name: {**asdict(share), "share": share.share} for name, share in shares.items()},
    }


def fixed(layout: str, kind: str, store: str, iterations: int, scratch: Path) -> dict[str, Any]:
    """Run iterations of one update; return what each cost beside computing."""
    count = iterations if layout == "pod" else TASKS_ITERATIONS
    run, seconds = rapid_run(f"tiny-{layout}-{kind}", store, layout, scratch, *_TINY, f"loop.iterations={count}")
    results = read_run(run)
    costs = fixed_costs(results)
    times = [iteration.time for iteration in results.iterations[1:] if iteration.time]
    return {
        "layout": layout,
        "store": kind,
        "iterations": count,
        "command_seconds": seconds,
        "seconds": costs,
        **spread(costs),
        "computing": statistics.median(time.compute for time in times),
        "parts": {name: statistics.median(time.parts[name] for time in times) for name in times[0].parts},
    }


@contextmanager
def s3_server() -> Iterator[str]:
    """Start moto in its own process, with its place and credentials in the environment; yield a bucket's URI."""
    process = subprocess.Popen(
        [sys.executable, "-c", _MOTO],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    os.environ |= {
        "AWS_ENDPOINT_URL": process.stdout.readline().strip(),
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_REGION": "us-east-1",
    }
    try:
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="rapid-loop")
        yield "s3://rapid-loop"
    finally:
        process.kill()
        process.wait()


def show(demos: list[dict[str, Any]], costs: list[dict[str, Any]]) -> None:
    rows = []
    for run in demos:
        shares = [run.get(name) for name in ("first worker", "all loaded")]
        cells = [f"{share['share']:.0%} of {share['seconds']:.0f} s" if share else "" for share in shares]
        rows.append([run["layout"], f"{run['command_seconds']:.0f}", *cells])
    print("\nThe demo: share of the loop that samples or updates\n")
    print(table(["layout", "command s", "from the first worker", "from when all are loaded"], rows))
    head = ["layout", "store", "iterations", "median", "least", "largest", "computing"]
    keys = ("median", "least", "largest", "computing")
    rows = [[c["layout"], c["store"], str(c["iterations"]), *(f"{c[key]:.2f}" for key in keys)] for c in costs]
    print("\nSeconds of an iteration beside sampling and updating\n")
    print(table(head, rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=20, help="of the layout pod in the second table")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS), metavar="LAYOUT")
    parser.add_argument("--s3", metavar="URI", help="store on the server of the AWS_* variables, instead of moto")
    arguments = parser.parse_args()
    if not assets_ready(HOME):
        make_assets(HOME, lambda *_: None)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        demos = [demo(layout, scratch) for layout in arguments.layouts]
        disk = str(scratch / "store")
        costs = [fixed(layout, "disk", disk, arguments.iterations, scratch) for layout in arguments.layouts]
        if arguments.s3:
            costs += [fixed(x, "S3", arguments.s3, arguments.iterations, scratch) for x in arguments.layouts]
        else:
            with s3_server() as bucket:
                costs += [fixed(x, "moto", bucket, arguments.iterations, scratch) for x in arguments.layouts]
    show(demos, costs)
    print(write("loop", {"machine": machine(), "demo": demos, "fixed_cost": costs}))


if __name__ == "__main__":
    main()
