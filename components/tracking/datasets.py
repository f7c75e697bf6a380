"""The prompts of a run as data sets in MLflow."""

import json
from typing import TYPE_CHECKING, Literal

import pyarrow.compute as pc

from components.contract.digests import json_digest
from components.contract.reasoning_gym_task import KIND
from components.results import read_prompts
from components.store import Run

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

TRAINING, HELD_OUT = "training prompts", "held-out prompts"
_DIGITS = 16
"""MLflow takes digests of at most 36 characters."""

_SCHEMA = json.dumps({"mlflow_colspec": [{"name": name, "type": "string"} for name in ("prompt", "answer")]})


def prompts_digest(run: Run, split: Literal["train", "eval"]) -> str:
    """Return the digest of the prompts of one split with their answers, in any order."""
    prompts = read_prompts(run)
    rows = prompts.filter(pc.equal(prompts["split"], split)).select(["prompt", "answer", "metadata"]).to_pylist()
    return json_digest(sorted(map(json_digest, rows)))[:_DIGITS]


def dataset_inputs(run: Run) -> "list[DatasetInput]":
    """Return the training and held-out prompts with digest, source and number of rows; only those that there are."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data, manifest = run.config.data, run.directory(run.layout.prompts).require()
    rows = {output.name: output.rows for output in manifest.outputs}
    known: list[tuple[Literal["train", "eval"], str, str, str]] = [
        ("train", TRAINING, data.train, "training"),
        ("eval", HELD_OUT, data.eval or data.train, "eval"),
    ]
    return [
        DatasetInput(
            Dataset(
                name=name,
                digest=prompts_digest(run, split),
                source_type=_source_type(source),
                source=json.dumps({"uri": source}),
                schema=_SCHEMA,
                profile=json.dumps({"num_rows": rows[f"{split}.parquet"]}),
            ),
            [InputTag("mlflow.data.context", context)],
        )
        for split, name, source, context in known
        if rows.get(f"{split}.parquet")
    ]


def _source_type(source: str) -> str:
    scheme = source.partition(":")[0]
    return scheme if scheme in ("s3", KIND) else "local"
