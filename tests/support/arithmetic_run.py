"""A run small enough for tests with real vLLM: an untrained policy, the demo's tokenizer and prompts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from components.contract.digests import file_digest
from components.contract.layout import Round
from components.contract.manifest import Output, policy_digests
from components.runtime.clock import Clock
from components.store import Run
from components.store.parts import read_parts
from pipelines.demo.arithmetic import problems, tokenizer
from tests.support.tiny_policy import tiny_model

FIRST, SECOND = Round.iteration(1), Round.iteration(2)


def write_config(directory: Path, **sections: dict[str, Any]) -> Path:
    """Write policy, prompts and configuration below `directory`; `sections` override single options."""
    policy = directory / "policy"
    if not policy.exists():
        # vLLM's attention on the CPU does not support heads narrower than 32.
        tiny_model(0, hidden_size=64, num_attention_heads=2).save_pretrained(policy)
        tokenizer().save_pretrained(policy)
    prompts = directory / "prompts.jsonl"
    rows = [{"prompt": prompt, "answer": answer} for prompt, answer in problems(0)[:64]]
    prompts.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    tree: dict[str, dict[str, Any]] = {
        "run": {"name": "small", "seed": 3},
        "store": {"uri": str(directory / "store")},
        "model": {"path": str(policy), "dtype": "float32", "max_length": 32},
        "data": {"train": str(prompts), "eval_prompts": 8},
        "rollout": {"group_size": 4, "max_tokens": 6, "part_groups": 8, "temperature": 1.3},
        "reward": {"graders": [{"name": "length", "options": {"max_tokens": 6, "buffer": 4}}]},
        "train": {"updates": 4, "mini_batch_prompts": 4, "learning_rate": 1e-3},
        "evaluate": {"samples": 4, "pass_k": [1, 4]},
        "loop": {"iterations": 2},
    }
    for name, values in sections.items():
        tree[name] = tree[name] | values if name in tree else values
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


def trajectories(run: Run, round_: Round, shard: int = 0) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the committed completions by (group_id, sample_index), and check that no key appears twice."""
    parts = read_parts(run.directory(run.layout.rollout(round_, shard)), "trajectories")
    rows = pa.concat_tables(part.replace_schema_metadata() for part in parts).to_pylist()
    keyed = {(row["group_id"], row["sample_index"]): row for row in rows}
    assert len(keyed) == len(rows)
    return keyed


def assert_same_trajectories(left: dict[Any, dict[str, Any]], right: dict[Any, dict[str, Any]]) -> None:
    """Compare keys, tokens and texts exactly, and log-probabilities to the rounding of float32 in other batches."""
    assert left.keys() == right.keys()
    for key, row in left.items():
        other = right[key]
        assert row["completion_token_ids"] == other["completion_token_ids"], key
        assert row["text"] == other["text"]
        gaps = [abs(a - b) for a, b in zip(row["behaviour_logprobs"], other["behaviour_logprobs"], strict=True)]
        assert max(gaps) < 1e-5


def stage(name: str, *words: str, **popen: Any) -> "subprocess.Popen[str]":
    """Start a stage by its own command line, in a new process group."""
    return subprocess.Popen(
        [sys.executable, "-m", f"components.{name}", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=dict(os.environ),
        **popen,
    )


def commit_policy(run: Run, version: int, seed: int) -> None:
    """Commit a policy with weights of its own, in place of one that is there."""
    source, place = (run.store.local_path(run.layout.policy(v)) for v in (0, version))
    assert source is not None
    assert place is not None
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("manifest.json", "*.safetensors"), dirs_exist_ok=True)
    tiny_model(seed, hidden_size=64, num_attention_heads=2).save_pretrained(place)
    output = run.output("train", run.layout.policy(version), {}, Round.iteration(version))
    for path in sorted(p for p in place.iterdir() if p.name != "manifest.json"):
        output.files.append(Output(path=path.name, size=path.stat().st_size, sha256=file_digest(path)))
    output.retract()
    output.commit(Clock().timings(), policy_digests(output.files))
