"""Everything the demo needs on disk: prompts and the warm-started policy. Made once, then kept."""

import json
import shutil
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from components.contract.digests import json_digest
from pipelines.demo import warm_start
from pipelines.demo.arithmetic import problems

HOME = Path(".rapid/demo")
"""Relative to the working directory, as `arithmetic.yaml` has it."""

CONFIG = Path(str(files("pipelines.demo").joinpath("arithmetic.yaml")))
_STAMP = "recipe"
_HELD_OUT = 256
_SEED = 0


def assets_ready(home: Path) -> bool:
    """Whether prompts and policy of the present recipe are there."""
    stamp = home / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _recipe()


def make_assets(home: Path, report: Callable[[int, float], None]) -> None:
    """Make prompts and policy anew.

    Args:
        home: directory of the demo, made if missing.
        report: called with (warm-start steps done, loss in nats per completion token).
    """
    home.mkdir(parents=True, exist_ok=True)
    pairs = problems(_SEED)
    held_out, train = pairs[:_HELD_OUT], pairs[_HELD_OUT:]
    _write_rows(home / "eval.jsonl", held_out)
    _write_rows(home / "train.jsonl", train)
    shutil.rmtree(home / "policy", ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".warm-start-", dir=home) as scratch:
        warm_start.warm_start(train, Path(scratch) / "policy", _SEED, report)
        (Path(scratch) / "policy").replace(home / "policy")
    # Written last: a warm start that was stopped is made again.
    (home / _STAMP).write_text(_recipe(), encoding="utf-8")


def _recipe() -> str:
    return json_digest([warm_start.STEPS, warm_start.BATCH, warm_start.WRONG_SHARE, warm_start.LEARNING_RATE, _SEED])


def _write_rows(path: Path, pairs: list[tuple[str, str]]) -> None:
    rows = (json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in pairs)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
