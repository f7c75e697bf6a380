"""The runs that are disturbed: an untrained policy of the demo's size in several settings; what of them is compared."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.contract.layout import Round, RunLayout, manifest_key
from components.contract.resolve import config_json, load_config
from components.pod.supervisor import STAGES
from components.store import Run, open_store
from components.store.parts import read_parts
from pipelines.demo.arithmetic import CONFIG, problems, tokenizer, untrained_policy

SIZES = (
    "train.updates=4",
    "train.mini_batch_prompts=4",
    "train.learning_rate=2e-4",
    "rollout.group_size=4",
    "rollout.max_tokens=6",
    "rollout.temperature=1.3",
    "data.eval_prompts=8",
    "evaluate.samples=4",
    "evaluate.pass_k=[1, 4]",
)
ITERATIONS = 3
SETTINGS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "staleness": ("loop.staleness=1",),
    "shards": ("rollout.shards=2",),
    "processes": ("train.processes=2",),
    "lora": ("train.lora=4",),
    "bf16": ("model.dtype=bfloat16", "train.compute_dtype=bfloat16"),
    "code": ('reward.graders=[{"name": "code"}]', "reward.sandbox=auto"),
    # Of a round that is resumed, the completions are the same, their log-probabilities within rounding only. So only
    # single stages run with these, whose policies are those of the run that was left alone.
    "parts": ("rollout.part_groups=4", "train.checkpoint_every=1"),
}
"""Options beside `SIZES`, by the name of the setting."""

_STOPS_EARLY = json.dumps([{"name": "length", "options": {"max_tokens": 6, "buffer": 4}}])
_PRINTS_NOTHING = json.dumps({"inputs": [""], "outputs": [""]})
_LIMITS = json.dumps({"retries": 100, "backoff_seconds": 0.1, "backoff_factor": 1.0})
_LABEL = "run"

Content = dict[tuple[Any, ...], Any]
"""The things that a run holds, by kind and place, which must not depend on what happened to it."""


def base_policy(scratch: Path) -> list[str]:
    """Write an untrained policy and prompts, unless they are there; return options that name them and a grader.

    It rewards short completions. The tests of the prompts, for the grader `code`, pass where a completion is a valid
    program.
    """
    if not (scratch / "prompts.jsonl").exists():
        _write_inputs(scratch)
    return [
        f"model.path={scratch}/policy",
        f"data.train={scratch}/prompts.jsonl",
        "data.eval=null",
        f"reward.graders={_STOPS_EARLY}",
    ]


def _write_inputs(scratch: Path) -> None:
    import torch

    torch.manual_seed(0)
    untrained_policy().save_pretrained(scratch / "policy")
    tokenizer().save_pretrained(scratch / "policy")
    rows = [
        json.dumps({"prompt": prompt, "answer": answer, "input_output": _PRINTS_NOTHING})
        for prompt, answer in problems(0)[:256]
    ]
    (scratch / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")


class RunFiles:
    """A run of one setting in a folder or store of its own, and the commands that execute it.

    Args:
        folder: for the configuration, the output of the commands, and the store where none is named.
    """

    def __init__(self, folder: Path, words: list[str], setting: str, store: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        store = store or str(folder / "store")
        fixed = [f"run.name={_LABEL}", f"store={store}", "tracking.enabled=false", f"loop.iterations={ITERATIONS}"]
        self.config = load_config(CONFIG, [*SIZES, *words, *fixed, *SETTINGS[setting]])
        self.file = folder / "config.yaml"
        self.file.write_text(config_json(self.config), encoding="utf-8")
        self.run = Run(open_store(store), RunLayout(_LABEL), self.config)

    @property
    def log(self) -> Path:
        return self.folder / "output.txt"

    def rapid(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "pipelines.cli.entry", *words]

    def whole(self, layout: str) -> list[list[list[str]]]:
        """Return the commands of the whole run: in turn, those that run side by side."""
        match layout:
            case "pod":
                loop = [self.stage("pod", "--limits", _LIMITS)]
            case "workers":
                loop = [self.stage(stage, "--follow") for stage in STAGES]
            case _:
                return [[self.rapid("run", str(self.file), "--layout", layout.removeprefix("rapid-"))]]
        return [[self.prepare()], loop, [self.stage("publish")]]

    def prepare(self) -> list[str]:
        return [sys.executable, "-m", "components.prepare", str(self.file)]

    def stage(self, name: str, *words: str) -> list[str]:
        return [sys.executable, "-m", f"components.{name}", self.run.uri, *words]


def content(run: Run) -> Content:
    """Return everything that a run holds and that must not depend on its name or on how often it was disturbed."""
    found: Content = {}
    prompts = run.directory(run.layout.prompts)
    if manifest := prompts.manifest():
        rows = [row for part in read_parts(prompts, "prompts", manifest) for row in part.to_pylist()]
        found |= {("prompts", row["prompt_id"]): row for row in rows}
    if manifest := run.directory(run.layout.policy(0)).manifest():
        found["policy",] = manifest.digest
    last = run.config.loop.iterations
    for round_ in (*map(Round.iteration, range(1, last + 1)), Round.evaluation(last)):
        for shard in range(run.config.rollout.shards):
            for column, kind, key in (
                ("completion_token_ids", "trajectories", run.layout.rollout(round_, shard)),
                ("reward", "rewards", run.layout.reward(round_, shard)),
            ):
                for place, value in _column(run, key, kind, column):
                    name = (column, str(round_), shard, *place)
                    assert name not in found, f"{key} holds a row twice"
                    found[name] = value
    for version in range(1, last + 1):
        if manifest := run.policy(version).manifest():
            found["policies", version] = manifest.facts["weights_digest"]
    for info in run.store.list(run.layout.rescored_root("").rstrip("/")):
        if info.key.endswith(manifest_key("")):
            key = info.key.removesuffix(manifest_key(""))
            where = key.removeprefix(f"{run.layout.root}/")
            found |= {("rescored", where, *place): value for place, value in _column(run, key, "rewards", "reward")}
    if manifest := run.directory(run.layout.report).manifest():
        found["report",] = manifest.facts["policy_version"]
    return found


def _column(run: Run, key: str, kind: str, column: str) -> Iterator[tuple[tuple[str, int], Any]]:
    directory = run.directory(key)
    if manifest := directory.manifest():
        for part in read_parts(directory, kind, manifest):
            for row in part.to_pylist():
                yield (row["group_id"], row["sample_index"]), row[column]


def compare(ours: Content, theirs: Content, given: Content) -> dict[str, int]:
    """Return how many completions, rewards and policies were made, and of everything what ours lacks or differs.

    Args:
        given: what was there before.
    """
    kinds = Counter(key[0] for key in theirs.keys() - given.keys())
    return {
        "completions": kinds["completion_token_ids"],
        "rewards": kinds["reward"],
        "policies": kinds["policies"],
        "lost": len(theirs.keys() - ours.keys()),
        "differing": len(ours.keys() - theirs.keys())
        + sum(ours[key] != theirs[key] for key in ours.keys() & theirs.keys()),
    }
