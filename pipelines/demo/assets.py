"""The demo's files: prompts and the warm-started base policy, made once and then kept."""

import json
from importlib.resources import files
from pathlib import Path

from components.contract.digests import json_digest
from pipelines.demo.arithmetic import problems
from pipelines.demo.arithmetic_policy import RECIPE, WRONG_SHARE, make_base_policy
from pipelines.demo.warm_start import Report

HOME = Path(".rapid/demo")
"""Relative to the working directory, as in `arithmetic.yaml`."""

CONFIG = Path(str(files("pipelines.demo").joinpath("arithmetic.yaml")))
_STAMP = "recipe"
_HELD_OUT = 256
_SEED = 0


def assets_ready(home: Path) -> bool:
    """Return whether the prompts and the policy of the current recipe exist."""
    stamp = home / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _recipe_digest()


def make_assets(home: Path, report: Report) -> None:
    """Make the prompts and the policy in the directory `home`."""
    home.mkdir(parents=True, exist_ok=True)
    pairs = problems(_SEED)
    held_out, train = pairs[:_HELD_OUT], pairs[_HELD_OUT:]
    _write_rows(home / "eval.jsonl", held_out)
    _write_rows(home / "train.jsonl", train)
    make_base_policy(train, home / "policy", report)
    # Written last, so that an interrupted warm start is repeated.
    (home / _STAMP).write_text(_recipe_digest(), encoding="utf-8")


def _recipe_digest() -> str:
    return json_digest([RECIPE.steps, RECIPE.batch, WRONG_SHARE, RECIPE.learning_rate, RECIPE.seed])


def _write_rows(path: Path, pairs: list[tuple[str, str]]) -> None:
    rows = (json.dumps({"prompt": prompt, "answer": answer}) for prompt, answer in pairs)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
