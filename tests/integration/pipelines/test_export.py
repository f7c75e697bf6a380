"""`rapid export`: policies of runs and of the registry as directories."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from components.contract.errors import InputError
from components.contract.layout import Round
from components.publish.stage import run_stage as publish
from components.results import evaluation_of
from components.store import OutputDirectory, Run
from components.tracking import server
from pipelines.cli.export_command import export_command
from tests.support.fake_run import FakeRun, prepared_run


@pytest.fixture(autouse=True)
def client(database: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    return server.connect(database)


def peaked(root: Path | str, name: str, **sections: Any) -> FakeRun:
    """A run whose best policy is the first of two."""
    fake = prepared_run(root, name, **sections)
    fake.iteration(1)
    fake.iteration(2, pass_rate=1.0)
    fake.round(Round.evaluation(2), pass_rate=0.5)
    return fake


def weights(run: Run, version: int) -> bytes:
    return run.policy(version).read("model.safetensors")


def test_the_best_policy_of_a_run_and_its_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = {"path": "Qwen/Qwen2.5-0.5B"}
    run = peaked(tmp_path / "store", "small", model=model, data={"train": f"{tmp_path}/secret place/sums.jsonl"}).run
    export_command(run.uri, tmp_path / "deep/small")
    exported = tmp_path / "deep/small"
    assert {path.name for path in exported.iterdir()} == {"model.safetensors", "tokenizer.json", "README.md"}
    assert (exported / "model.safetensors").read_bytes() == weights(run, 1)
    assert list((tmp_path / "deep").iterdir()) == [exported]
    assert f"hf upload OWNER/small {exported}" in capsys.readouterr().out

    card = ModelCard.load(exported / "README.md")
    assert (card.data.base_model, card.data.library_name) == ("Qwen/Qwen2.5-0.5B", "transformers")
    scores = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert scores == {"pass@1": 1.0, "pass@4": 1.0}
    assert "the policy after 1 iteration of" in card.text
    base = evaluation_of(run, 0)
    assert base is not None
    assert f"| pass@1 | {base.pass_at_k[1]:.3f} | 1.000 |" in card.text
    assert "4, each on 2 prompts x 4 completions" in card.text
    assert "secret place" not in card.content
    assert "`sums.jsonl`" in card.text


def test_publishing_leaves_the_card_beside_the_weights(tmp_path: Path) -> None:
    run = peaked(tmp_path / "store", "carded").run
    publish(run.uri)
    path = run.local_policy(1)
    assert path is not None
    export_command(run.uri, tmp_path / "carded")
    assert (path / "README.md").read_text() == (tmp_path / "carded/README.md").read_text()


def test_the_champion_out_of_a_bucket(moto: str, tmp_path: Path) -> None:
    run = peaked(moto, "crowned").run
    publish(run.uri)
    export_command("models:/crowned@champion", tmp_path / "champion", store=moto)
    assert (tmp_path / "champion/model.safetensors").read_bytes() == weights(run, 1)
    export_command("models:/crowned/2", tmp_path / "second", store=moto)
    assert (tmp_path / "second/model.safetensors").read_bytes() == weights(run, 2)


def test_a_version_of_another_program_is_refused(client: Any, tmp_path: Path) -> None:
    client.create_registered_model("foreign")
    client.create_model_version("foreign", source="s3://bucket/model", await_creation_for=0)
    with pytest.raises(InputError, match="version 1 of foreign was registered by another program; its files are at s3"):
        export_command("models:/foreign/1", tmp_path / "foreign", store=str(tmp_path))


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_what_is_there_is_not_touched(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "there"
    if kind == "directory":
        there.mkdir()
    (there / "mine" if kind == "directory" else there).write_text("mine")
    with pytest.raises(InputError, match=r"there exists and is not an empty directory; choose another, or remove it$"):
        export_command(peaked(tmp_path / "store", "run").run.uri, there)


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export_command(peaked(tmp_path / "store", "run").run.uri, tmp_path / "empty")
    assert (tmp_path / "empty/model.safetensors").exists()


def test_interrupted_or_damaged_it_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = peaked(tmp_path / "store", "run").run
    target = tmp_path / "exports"
    target.mkdir()
    fetch = OutputDirectory.fetch

    def interrupted(*args: Any, **options: Any) -> None:
        assert list(fetch(*args, **options).iterdir())
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(OutputDirectory, "fetch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            export_command(run.uri, target / "policy")
    assert list(target.iterdir()) == []
    run.store.write(f"{run.layout.policy(1)}/model.safetensors", b"damaged")
    with pytest.raises(InputError, match=r"model\.safetensors is corrupted"):
        export_command(run.uri, target / "policy")
    assert list(target.iterdir()) == []
