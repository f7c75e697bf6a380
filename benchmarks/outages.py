"""Object storage that is away at the start, in the middle and at the end of every stage: the run waits and goes on.

    .venv/bin/python -m benchmarks.outages [--seconds 60] [--only train:middle ...]

Runs of an untrained policy keep everything in moto, behind a proxy that is shut for so many seconds as soon as a stage
sends a certain request: no connection is accepted, and open ones break. One run is left alone. Completions, rewards
and policies of the others, each with one outage, are compared with it. Prints a table and writes
`benchmarks/results/outages-60.json`.
"""

import argparse
import os
import re
import selectors
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.faults.runs import SIZES, base_policy, compare, content
from benchmarks.learning.summary import machine
from benchmarks.loop import rapid_run, s3_server
from benchmarks.training.report import table, write
from components.store import Run
from components.store.patient import PATIENCE_VARIABLE

_AT_ONCE = 4
"""Runs: most of their time they wait, and each has an engine of two gigabytes."""

_ROUND = r"iterations/0001/"
# The request with which the storage goes away, by stage and moment.
MOMENTS = {
    "prepare:start": r"(PUT|GET|HEAD) ",
    "prepare:middle": r"PUT \S*/policy/\S*safetensors",
    "prepare:end": r"PUT \S*/prompts/manifest\.json",
    "rollout:start": r"PUT \S*/workers/rollout-000/attempt-0001",
    "rollout:middle": rf"PUT \S*/{_ROUND}rollout/shard-000/\S*part-00001\.parquet",
    "rollout:end": rf"PUT \S*/{_ROUND}rollout/shard-000/manifest\.json",
    "reward:start": r"PUT \S*/workers/reward-000/attempt-0001",
    "reward:middle": rf"PUT \S*/{_ROUND}reward/shard-000/\S*part-00001\.parquet",
    "reward:end": rf"PUT \S*/{_ROUND}reward/shard-000/manifest\.json",
    "train:start": r"PUT \S*/workers/train/attempt-0001",
    "train:middle": rf"PUT \S*/{_ROUND}train/policy/\S*safetensors",
    "train:end": rf"PUT \S*/{_ROUND}train/manifest\.json",
    "publish:start": r"PUT \S*/published/",
    "publish:middle": r"PUT \S*/report/\S*index\.html",
    "publish:end": r"PUT \S*/report/manifest\.json",
}


class Proxy:
    """Passes bytes on to a server, and is shut for some seconds once a request matches a pattern."""

    def __init__(self, server: tuple[str, int], pattern: str, seconds: float) -> None:
        self._server, self._pattern, self._seconds = server, re.compile(pattern.encode()), seconds
        self.was_away = False
        self._back_at = 0.0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listening = self._listen(0)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @staticmethod
    def _listen(port: int) -> socket.socket:
        listening = socket.create_server(("127.0.0.1", port), backlog=64)
        listening.settimeout(0.05)
        return listening

    def _accept(self) -> None:
        while True:
            if time.monotonic() < self._back_at:
                self._listening.close()
                time.sleep(max(0.0, self._back_at - time.monotonic()))
                self._listening = self._listen(self.port)
            with suppress(TimeoutError):
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server, selectors.DefaultSelector() as selector:
            self._open += [client, server]
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            with suppress(OSError):
                while True:
                    for key, _ in selector.select():
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                        if key.fileobj is client and self._goes_away(data):
                            for other in self._open:
                                with suppress(OSError):
                                    other.shutdown(socket.SHUT_RDWR)
                        if not data:
                            return
                        key.data.sendall(data)

    def _goes_away(self, data: bytes) -> bool:
        with self._lock:
            if self.was_away or not self._pattern.search(data):
                return False
            self.was_away = True
            self._back_at = time.monotonic() + self._seconds
            return True


def interrupted(
    moment: str, seconds: float, bucket: str, scratch: Path, words: Sequence[str]
) -> tuple[Run, bool, float]:
    """Run with an outage at a moment; return the run, whether there was one, and the seconds of the command."""
    host, _, port = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://").partition(":")
    proxy = Proxy((host, int(port)), MOMENTS[moment], seconds)
    environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}"}
    run, took = rapid_run(moment.replace(":", "-"), bucket, "pod", scratch, *words, environment=environment)
    return run, proxy.was_away, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for which the storage is away")
    parser.add_argument("--only", nargs="*", choices=MOMENTS, default=list(MOMENTS), metavar="STAGE:MOMENT")
    arguments = parser.parse_args()
    os.environ[PATIENCE_VARIABLE] = "10"
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rapid-outages-") as folder, s3_server() as bucket:
        scratch = Path(folder)
        words = ["loop.iterations=2", "rollout.part_groups=4", "tracking.enabled=false", *SIZES, *base_policy(scratch)]
        reference, alone = rapid_run("alone", bucket, "pod", scratch, *words)
        theirs = content(reference)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            runs = [
                (moment, pool.submit(interrupted, moment, arguments.seconds, bucket, scratch, words))
                for moment in arguments.only
            ]
            for moment, ended in runs:
                run, was_away, seconds = ended.result()
                row = {"moment": moment, "was_away": was_away, "seconds": seconds}
                rows.append({**row, **compare(content(run), theirs)})
                print(rows[-1], flush=True)
    name = f"outages-{arguments.seconds:g}"
    write(name, {"machine": machine(), "away_seconds": arguments.seconds, "alone_seconds": alone, "runs": rows})
    columns = ["moment", "was_away", "seconds", "completions", "policies", "lost", "differing"]
    print(table(columns, [[str(row[c]) if c != "seconds" else f"{row[c]:.0f}" for c in columns] for row in rows]))
    if not all(row["was_away"] and row["lost"] == row["differing"] == 0 for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
