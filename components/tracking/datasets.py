"""The prompts of a run as data sets in MLflow."""

from typing import Literal

import pyarrow.compute as pc

from components.contract.digests import json_digest
from components.results import read_prompts
from components.store import Run

HELD_OUT = "held-out prompts"
_DIGITS = 16
"""MLflow takes digests of at most 36 characters."""


def prompts_digest(run: Run, split: Literal["train", "eval"]) -> str:
    """Return the digest of the prompts of one split with their answers, in any order."""
    prompts = read_prompts(run)
    rows = prompts.filter(pc.equal(prompts["split"], split)).select(["prompt", "answer", "metadata"]).to_pylist()
    return json_digest(sorted(map(json_digest, rows)))[:_DIGITS]
