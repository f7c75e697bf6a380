"""Completions of policies as tables in MLflow."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.contract.layout import Round
from components.results import read_completions
from components.store import Run
from components.tracking import read_state, sync
from tests.support.fake_run import finished_run, prepared_run


def run_id(run: Run) -> str:
    state = read_state(run)
    assert state is not None
    return state.run_id


def tables(client: Any, run: Run) -> dict[str, list[str]]:
    """Table -> the prompts it shows."""
    files = [file.path for file in client.list_artifacts(run_id(run), "completions")]
    read = {file: json.loads(Path(client.download_artifacts(run_id(run), file)).read_text()) for file in files}
    return {Path(file).stem: [row[0] for row in table["data"]] for file, table in read.items()}


def test_completions_of_the_same_prompts_are_tables_of_every_policy(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    assert sync(run)
    tables = json.loads(client.get_run(run_id(run)).data.tags["mlflow.loggedArtifacts"])
    assert tables == [{"path": f"completions/policy-{version:04d}.json", "type": "table"} for version in (0, 1, 2)]
    shown = [json.loads(Path(client.download_artifacts(run_id(run), table["path"])).read_text()) for table in tables]
    assert [len(table["data"]) for table in shown] == [5, 5, 5]
    rows = [[dict(zip(table["columns"], row, strict=True)) for row in table["data"]] for table in shown]
    assert [row["prompt"] for row in rows[0]] == [row["prompt"] for row in rows[2]]
    assert rows[2][0]["text"] == "policy 2 <script>says</script> 0"
    assert {row["reward"] for row in rows[2]} <= {0.0, 1.0}
    stored = {row["prompt"]: row["reward"] for row in read_completions(run, Round.evaluation(2)).to_pylist()[::4]}
    assert {row["prompt"]: row["reward"] for row in rows[2]} == stored


def test_without_held_out_prompts_the_tables_hold_training_completions(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path, eval_prompts=0).run
    assert sync(run)
    files = [file.path for file in client.list_artifacts(run_id(run), "completions")]
    assert files == ["completions/policy-0000.json", "completions/policy-0001.json"]


def test_policies_without_held_out_completions_have_tables_of_training_completions(client: Any, tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, loop={"iterations": 3}, evaluate={"every": 3})
    for number in (1, 2, 3):
        fake.iteration(number)
    fake.round(Round.evaluation(3))
    assert sync(fake.run)
    shown = {table: len(prompts) for table, prompts in tables(client, fake.run).items()}
    assert shown == {"policy-0000": 5, "policy-0001": 6, "policy-0002": 6, "policy-0003": 5}


def test_held_out_completions_stay_when_a_later_iteration_samples_only_training_prompts(
    client: Any, tmp_path: Path
) -> None:
    """Iteration 2 samples policy 0 too; iteration 3 policy 1, which was once the last and was evaluated as that."""
    fake = prepared_run(tmp_path, loop={"iterations": 1, "staleness": 1}, evaluate={"every": 9})
    fake.iteration(1)
    fake.round(Round.evaluation(1))
    assert sync(fake.run)
    before = tables(client, fake.run)
    fake.iteration(2)
    fake.iteration(3)
    assert sync(fake.run)
    assert tables(client, fake.run) == before


@pytest.mark.parametrize("eval_prompts", [0, 5])
def test_a_table_whose_request_failed_is_sent_later(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, eval_prompts: int
) -> None:
    from mlflow import MlflowClient

    fake = prepared_run(tmp_path, eval_prompts=eval_prompts)
    assert sync(fake.run)
    fake.iteration(1)
    with monkeypatch.context() as failing:
        failing.setattr(MlflowClient, "log_text", lambda *_: (_ for _ in ()).throw(ConnectionError("reset")))
        assert sync(fake.run) is False
    assert tables(client, fake.run) == {}
    assert sync(fake.run) is True
    assert list(tables(client, fake.run)) == ["policy-0000"]
