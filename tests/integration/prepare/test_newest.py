"""Inputs that change under a run, new data and another champion, are looked up once and then kept."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.contract.errors import InputError
from components.prepare.stage import DATA_FILES
from components.prepare.stage import run_stage as prepare
from components.store import Run, open_run, open_store
from components.store.parquet import decode
from components.tracking.server import connect


def write(path: Path, begin: int, count: int = 20) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "".join(json.dumps({"prompt": f"{i}+1=", "answer": i + 1}) + "\n" for i in range(begin, begin + count))
    )


def train_prompts(run: Run) -> list[dict[str, Any]]:
    directory = run.directory(run.layout.prompts)
    rows: list[dict[str, Any]] = decode(directory.read("train.parquet"), "train").to_pylist()
    return rows


def test_a_run_reads_what_is_there_and_keeps_it(config, tmp_path):
    write(tmp_path / "daily/1.jsonl", 0)
    write(tmp_path / "daily/2.jsonl", 100)
    words = (f"data.train={tmp_path / 'daily'}/",)
    run = open_run(prepare(config(*words)).run_uri)
    assert {row["prompt_id"][:5] for row in train_prompts(run)} == {"f000-", "f001-"}
    listing = json.loads(run.directory(run.layout.prompts).read(DATA_FILES))
    assert [Path(entry["file"]).name for entry in listing["data.train"]] == ["1.jsonl", "2.jsonl"]

    write(tmp_path / "daily/3.jsonl", 200)
    before = run.directory(run.layout.prompts).require()
    assert prepare(config(*words)).run_uri == run.uri
    assert run.directory(run.layout.prompts).require() == before

    later = open_run(prepare(config(*words, "run.name=later")).run_uri)
    assert len(train_prompts(later)) == len(train_prompts(run)) + 20


def test_another_pattern_is_other_data(config, tmp_path):
    write(tmp_path / "daily/1.jsonl", 0)
    prepare(config(f"data.train={tmp_path / 'daily'}/"))
    write(tmp_path / "daily/2.jsonl", 100)
    with pytest.raises(InputError, match=r"data\.train"):
        prepare(config(f"data.train={tmp_path / 'daily'}/*.jsonl"))


def test_a_bad_row_is_named_with_its_file(config, tmp_path, capsys):
    write(tmp_path / "daily/1.jsonl", 0, 100)
    write(tmp_path / "daily/2.jsonl", 100, 100)
    with (tmp_path / "daily/2.jsonl").open("a") as stream:
        stream.write("{broken\n")
    prepare(config(f"data.train={tmp_path / 'daily'}/"))
    assert f"{tmp_path}/daily/2.jsonl row 101: not JSON" in capsys.readouterr().err


@pytest.fixture
def registry(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client, and the registered model `adder` without versions."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    client = connect(database)
    client.create_registered_model("adder")
    yield client
    client.delete_registered_model("adder")


def crown(registry: Any, run: Run) -> str:
    """Make a run's base policy the newest version and the champion."""
    facts = run.policy(0).require().facts
    uri = run.store.locate(run.layout.policy(0))
    tags = {"rapid.policy_uri": uri, "rapid.weights_digest": str(facts["weights_digest"])}
    version = registry.create_model_version("adder", source=uri, tags=tags, await_creation_for=0).version
    registry.set_registered_model_alias("adder", "champion", version)
    return str(version)


def respoil(model: Path) -> None:
    """Other weights of the same shapes."""
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file, {"format": "pt"})


def test_a_run_starts_from_the_champion_and_keeps_it(config, model, data, registry):  # noqa: ARG001
    first = open_run(prepare(config("run.name=first")).run_uri)
    crown(registry, first)
    words = ("run.name=nightly-1", "model.path=models:/adder@champion")
    nightly = open_run(prepare(config(*words)).run_uri)
    facts = nightly.policy(0).require().facts
    assert facts["model_version"] == "adder/1"
    assert facts["policy_uri"] == first.store.locate(first.layout.policy(0))
    assert nightly.config.model.path == "models:/adder@champion"

    respoil(model)
    second = open_run(prepare(config("run.name=second")).run_uri)
    assert crown(registry, second) == "2"
    # Started again, even with its prompts gone, the run stays with the version it began with.
    nightly.store.delete(f"{nightly.layout.prompts}/manifest.json")
    prepare(config(*words))
    assert nightly.policy(0).require().facts == facts
    other = open_run(prepare(config("run.name=nightly-2", *words[1:])).run_uri)
    assert other.policy(0).require().facts["model_version"] == "adder/2"


def test_a_champion_whose_weights_were_replaced_is_refused(config, model, data, registry):  # noqa: ARG001
    first = open_run(prepare(config("run.name=first")).run_uri)
    crown(registry, first)
    respoil(model)
    first.store.upload(model / "model.safetensors", f"{first.layout.policy(0)}/model.safetensors")
    with pytest.raises(InputError, match="are not those that were registered as adder/1"):
        prepare(config("run.name=nightly", "model.path=models:/adder@champion"))
    assert not first.store.exists("runs/nightly/policy/manifest.json")


def test_a_model_and_data_in_a_bucket(config, model, data, moto):
    store = open_store(f"{moto}/assets")
    for path in model.iterdir():
        store.upload(path, f"model/{path.name}")
    store.write("model/pytorch_model.bin", b"not wanted")
    store.upload(data, "prompts/today.jsonl")
    words = (f"model.path={moto}/assets/model", f"data.train={moto}/assets/prompts/*.jsonl", f"store={moto}/runs")
    run = open_run(prepare(config(*words)).run_uri)
    outputs = {output.path for output in run.policy(0).require().outputs}
    assert outputs == {path.name for path in model.iterdir()}
    assert len(train_prompts(run)) == 36


def test_a_bucket_without_a_model(config, data, moto):  # noqa: ARG001
    with pytest.raises(InputError, match="there is no model at s3://"):
        prepare(config(f"model.path={moto}/none"))
