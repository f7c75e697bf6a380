"""Random kills of the processes of a run in layout `pod`, and what they cost: nothing but time.

    .venv/bin/python -m benchmarks.kills [--kills 100] [--seed 0]

One run of an untrained policy of the demo's size is left alone. Others of its configuration lose a process every few
seconds, the supervisor or anything below it, by SIGKILL at a random moment; now and then a second copy of a worker
starts beside the first. A supervisor that has ended is started again. When the kills are used up the last run ends
undisturbed. Every completion, reward and policy is then compared with the run that was left alone. Prints a table and
writes `benchmarks/results/kills.json`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.learning.summary import machine
from benchmarks.training.report import table, write
from components.contract.errors import EXIT_BAD_INPUT
from components.contract.layout import Round, RunLayout
from components.contract.resolve import config_json, load_config
from components.pod.supervisor import STAGES, is_finished
from components.store import Run, open_store
from components.store.parts import read_parts
from pipelines.demo.arithmetic import CONFIG, problems, tokenizer, untrained_policy

LIMITS = {"retries": 100, "backoff_seconds": 0.1, "backoff_factor": 1.0}
SECOND_COPY = 0.1
"""Share of the disturbances that start a second copy of a worker instead of a kill."""

SIZES = (
    "train.updates=4",
    "train.mini_batch_prompts=4",
    "train.learning_rate=1e-3",
    "rollout.group_size=4",
    "rollout.max_tokens=6",
    "rollout.temperature=1.3",
    "data.eval_prompts=8",
    "evaluate.samples=4",
    "evaluate.pass_k=[1, 4]",
)


@dataclass
class Comparison:
    """The results of a run beside those of the run that was left alone."""

    completions: int = 0
    rewards: int = 0
    policies: int = 0
    lost: int = 0
    differing: int = 0

    def compare(self, kind: str, ours: dict[Any, Any], theirs: dict[Any, Any]) -> None:
        setattr(self, kind, getattr(self, kind) + len(theirs))
        self.lost += len(theirs.keys() - ours.keys())
        self.differing += len(ours.keys() - theirs.keys())
        self.differing += sum(ours[key] != theirs[key] for key in ours.keys() & theirs.keys())


def base_policy(scratch: Path) -> list[str]:
    """Write an untrained policy and prompts; return the options that name them, and reward it for stopping early."""
    import torch

    torch.manual_seed(0)
    untrained_policy().save_pretrained(scratch / "policy")
    tokenizer().save_pretrained(scratch / "policy")
    rows = [json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in problems(0)[:256]]
    (scratch / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    grader = json.dumps([{"name": "length", "options": {"max_tokens": 6, "buffer": 4}}])
    return [
        f"model.path={scratch}/policy",
        f"data.train={scratch}/prompts.jsonl",
        "data.eval=null",
        f"reward.graders={grader}",
    ]


def new_run(name: str, scratch: Path, words: list[str]) -> Run:
    """Return a run that is not prepared."""
    store = str(scratch / "store")
    config = load_config(CONFIG, [f"run.name={name}", f"store={store}", "tracking.enabled=false", *words])
    return Run(open_store(store), RunLayout(name), config)


def prepare(run: Run) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(config_json(run.config))
        file.flush()
        command = [sys.executable, "-m", "components.prepare", file.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Disturbed:
    """The processes of a run: its supervisor, and second copies of its workers."""

    def __init__(self, run: Run, log: Path) -> None:
        self.run = run
        self._log = log.open("a", encoding="utf-8")
        self._copies: list[subprocess.Popen[str]] = []
        self.refused = 0
        self._supervisor = self._start("pod", "--limits", json.dumps(LIMITS))

    def _start(self, stage: str, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", f"components.{stage}", self.run.uri, *words]
        return subprocess.Popen(command, stdout=self._log, stderr=subprocess.STDOUT, text=True)

    def is_running(self) -> bool:
        """Return whether the supervisor still runs, after starting it again where it has failed."""
        status = self._supervisor.poll()
        if status is None:
            return True
        if status == 0:
            return False
        if status == EXIT_BAD_INPUT:
            # A worker was superseded by its second copy, or has left a failure in the run, which prepare removes.
            self.refused += 1
            prepare(self.run)
        self._supervisor = self._start("pod", "--limits", json.dumps(LIMITS))
        return True

    def start_copy(self, stage: str) -> None:
        self._copies.append(self._start(stage, "--follow"))

    def kill_one(self, chance: random.Random) -> str | None:
        """Kill the supervisor, a copy or a process below them; return its command, None if it has just ended."""
        processes: list[psutil.Process] = []
        try:
            for started in (self._supervisor, *self._copies):
                if started.poll() is None:
                    top = psutil.Process(started.pid)
                    processes += [top, *top.children(recursive=True)]
            victim = chance.choice(processes)
            words = victim.cmdline()
            victim.kill()
        except (psutil.NoSuchProcess, IndexError):
            return None
        module = words[words.index("-m") + 1] if "-m" in words else "another process"
        return module.removeprefix("components.")

    def close(self) -> None:
        for process in (self._supervisor, *self._copies):
            process.kill()
            process.wait()
        self._log.close()


def disturb(run: Run, kills: int, interval: float, chance: random.Random, log: Path) -> dict[str, Any]:
    """Execute a run to its end, with at most so many kills."""
    killed: Counter[str] = Counter()
    copies = 0
    prepare(run)
    begin = time.monotonic()
    processes = Disturbed(run, log)
    try:
        moment = begin + chance.uniform(0, 2 * interval)
        while processes.is_running():
            time.sleep(0.05)
            if killed.total() == kills or time.monotonic() < moment:
                continue
            moment = time.monotonic() + chance.uniform(0, 2 * interval)
            if chance.random() < SECOND_COPY:
                processes.start_copy(chance.choice(STAGES))
                copies += 1
            elif victim := processes.kill_one(chance):
                killed[victim] += 1
                print(f"{run.layout.run}: kill {killed.total()}: {victim}", flush=True)
    finally:
        processes.close()
    assert is_finished(run)
    return {
        "kills": dict(killed),
        "second_copies": copies,
        "refused": processes.refused,
        "seconds": time.monotonic() - begin,
    }


def compare(run: Run, reference: Run) -> Comparison:
    result = Comparison()
    rounds = [*map(Round.iteration, range(1, reference.config.loop.iterations + 1)), reference.final_round()]
    for round_ in rounds:
        for shard in range(reference.config.rollout.shards):
            tokens = [_column(r, r.layout.rollout(round_, shard), "completion_token_ids") for r in (run, reference)]
            rewards = [_column(r, r.layout.reward(round_, shard), "reward") for r in (run, reference)]
            result.compare("completions", *tokens)
            result.compare("rewards", *rewards)
    result.compare("policies", *(dict(_policies(r)) for r in (run, reference)))
    return result


def _column(run: Run, key: str, column: str) -> dict[tuple[str, int], Any]:
    directory = run.directory(key)
    manifest = directory.manifest()
    if manifest is None:
        return {}
    kind = "rewards" if column == "reward" else "trajectories"
    rows = [row for part in read_parts(directory, kind, manifest) for row in part.to_pylist()]
    keyed = {(row["group_id"], row["sample_index"]): row[column] for row in rows}
    assert len(keyed) == len(rows), f"{directory.uri} holds a row twice"
    return keyed


def _policies(run: Run) -> list[tuple[int, str]]:
    manifests = ((version, run.policy(version).manifest()) for version in range(1, run.config.loop.iterations + 1))
    return [(version, str(manifest.facts["weights_digest"])) for version, manifest in manifests if manifest]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=12, help="of each run")
    parser.add_argument("--interval", type=float, default=4.0, help="mean seconds between two kills")
    parser.add_argument("words", nargs="*", help="options of the runs, such as loop.staleness=1")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory(prefix="rapid-kills-") as folder:
        scratch = Path(folder)
        words = [f"loop.iterations={arguments.iterations}", *base_policy(scratch), *SIZES, *arguments.words]
        reference = new_run("alone", scratch, words)
        alone = disturb(reference, 0, 1.0, chance, scratch / "alone.log")
        runs: list[dict[str, Any]] = []
        while (left := arguments.kills - sum(sum(run["kills"].values()) for run in runs)) > 0:
            run = new_run(f"disturbed-{len(runs) + 1}", scratch, words)
            disturbed = disturb(run, left, arguments.interval, chance, scratch / "disturbed.log")
            runs.append({**disturbed, **asdict(compare(run, reference))})
            print(json.dumps(runs[-1]), flush=True)
    write("kills", {"machine": machine(), "alone_seconds": alone["seconds"], "runs": runs})
    total = Counter[str]()
    for figures in runs:
        total.update({name: figures[name] for name in ("completions", "rewards", "policies", "lost", "differing")})
        total.update(figures["kills"])
        total["second copies"] += figures["second_copies"]
    print(table(["", "count"], [[name, str(count)] for name, count in total.items()]))
    if total["lost"] or total["differing"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
