"""A run whose prompts and trajectories are committed, for the reward stage to grade."""

import io
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.contract.layout import Round
from components.contract.schemas import PROMPTS, TRAJECTORIES, with_metadata
from components.runtime.clock import Clock
from components.store import Run
from components.store.parts import PartWriter
from tests.support.open_python import in_open_python, open_python

__all__ = ["in_open_python", "open_python"]

AT = Round.iteration(1)
GROUP = 4


def _commit_prompts(run: Run, prompts: Sequence[tuple[str, str | None]]) -> None:
    """Prompts p0, p1, ... as (prompt, answer) to train on, and e0 held out."""
    output = run.output("prepare", run.layout.prompts, {})
    tables = {"train": [(f"p{i}", *prompt) for i, prompt in enumerate(prompts)], "eval": [("e0", "held out", "1")]}
    for split, rows in tables.items():
        columns = {
            "prompt_id": [row[0] for row in rows],
            "split": [split] * len(rows),
            "prompt": [row[1] for row in rows],
            "prompt_token_ids": [[1, 2]] * len(rows),
            "answer": [row[2] for row in rows],
            "metadata": ['{"level": 3}'] * len(rows),
        }
        sink = io.BytesIO()
        pq.write_table(pa.table(columns, schema=with_metadata(PROMPTS, {})), sink)
        output.write(f"{split}.parquet", sink.getvalue(), rows=len(rows))
    output.commit(Clock().timings())


def _commit_trajectories(run: Run, parts: Sequence[Sequence[str]], prompt_id: str | None = None) -> None:
    """Parts of completions; every four in a row are one group, of prompt p0, p1, ...

    A completion that begins with `held out:` is one of e0, one that is `abort` was aborted before its first token.
    """
    output = run.output("rollout", run.layout.rollout(AT, 0), {}, AT, 0)
    writer = PartWriter(output, "trajectories", with_metadata(TRAJECTORIES, {"run": run.layout.run}))
    row = 0
    for texts in parts:
        rows = []
        for text in texts:
            group = row // GROUP
            held_out = text.startswith("held out:")
            tokens = 0 if text == "abort" else max(1, len(text))
            rows.append(
                {
                    "prompt_id": prompt_id or ("e0" if held_out else f"p{group}"),
                    "group_id": f"{group:05d}",
                    "sample_index": row % GROUP,
                    "split": "eval" if held_out else "train",
                    "prompt_token_ids": [1, 2],
                    "completion_token_ids": [3] * tokens,
                    "behaviour_logprobs": [-1.0] * tokens,
                    "finish_reason": "abort" if text == "abort" else "stop",
                    "text": text.removeprefix("held out:"),
                }
            )
            row += 1
        writer.append(pa.Table.from_pylist(rows, schema=TRAJECTORIES))
    output.commit(Clock().timings())


@pytest.fixture
def commit_prompts() -> Callable[[Run, Sequence[tuple[str, str | None]]], None]:
    return _commit_prompts


@pytest.fixture
def sampled_run(make_run: Callable[..., Run]) -> Callable[..., Run]:
    """`sampled_run(parts, "reward=numeric", ...)`: a run whose iteration 1 has sampled these completions.

    Every prompt's answer is 1.
    """

    def make(parts: Sequence[Sequence[str]], *overrides: str, prompt_id: str | None = None) -> Run:
        run = make_run("reward.workers=2", *overrides)
        _commit_prompts(run, [(f"prompt {i}", "1") for i in range(sum(map(len, parts)) // GROUP + 1)])
        _commit_trajectories(run, parts, prompt_id)
        return run

    return make


@pytest.fixture
def grader_module(tmp_path, monkeypatch) -> Callable[[str], None]:
    """`grader_module(body)` writes the function `trial:grade(prompt, completion, answer, metadata)`."""
    folder = tmp_path / "graders"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")

    def write(body: str) -> None:
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        header = "import os, signal, time\n\ndef grade(prompt, completion, answer, metadata):\n"
        (folder / "trial.py").write_text(header + lines + "\n")

    return write
