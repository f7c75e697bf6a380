"""Against real MLflow on SQLite."""

import json
import logging
import shutil
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from components.contract.layout import Round
from components.store import Run
from components.tracking import read_state, server, session, sync
from components.tracking.command import tracking_command
from components.tracking.datasets import prompts_digest
from tests.support.fake_run import START, FakeRun, finished_run, prepared_run


def run_id(run: Run) -> str:
    state = read_state(run)
    assert state is not None
    return state.run_id


def history(client: Any, run: Run) -> dict[str, list[tuple[int, int, float]]]:
    """Metric -> its (step, time stamp, value), sorted."""
    found = run_id(run)
    keys = client.get_run(found).data.metrics
    return {k: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(found, k)) for k in keys}


def test_everything_committed_is_sent(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    assert sync(run) is True

    sent = history(client, run)
    assert [step for step, _, _ in sent["iteration/train_reward"]] == [1, 2]
    assert [step for step, _, _ in sent["iteration/pass_at_1"]] == [0, 1, 2]
    assert [step for step, _, _ in sent["step/effective_sample_share"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    tracked = client.get_run(run_id(run))
    assert tracked.info.run_name == "demo"
    assert tracked.info.start_time == START.timestamp() * 1000
    assert tracked.data.params["train.updates.most"] == "4"
    assert tracked.data.params["evaluate.pass_k"] == "[1, 4]"
    assert tracked.data.tags["rapid.run_uri"] == run.uri
    assert tracked.data.tags["rapid.dataset_digest"] == run.directory(run.layout.prompts).require().digest
    assert tracked.data.tags["mlflow.source.name"].startswith("rapid-rl ")
    assert f"rapid status {tmp_path}/runs/demo" in tracked.data.tags["mlflow.note.content"]
    assert client.get_experiment(tracked.info.experiment_id).tags["mlflow.experimentKind"] == "custom_model_development"
    artifact = Path(client.download_artifacts(run_id(run), "config.json"))
    assert '"pass_threshold": 1.0' in artifact.read_text()
    assert tracked.info.artifact_uri.startswith(str(server.artifact_location(server.tracking_uri(run))))


def test_the_prompts_are_inputs_with_digest_source_and_rows(client: Any, tmp_path: Path) -> None:
    first, second = (finished_run(tmp_path, name=name, iterations=1).run for name in ("first", "second"))
    found = []
    for run in (first, second):
        assert sync(run)
        inputs = client.get_run(run_id(run)).inputs.dataset_inputs
        found.append({i.tags[0].value: i.dataset for i in inputs})
    assert found[0] == found[1]  # the same prompts are the same data set
    training, held_out = found[0]["training"], found[0]["eval"]
    assert (training.name, held_out.name) == ("training prompts", "held-out prompts")
    assert (json.loads(training.profile), json.loads(held_out.profile)) == ({"num_rows": 6}, {"num_rows": 5})
    assert json.loads(training.source) == {"uri": "prompts.jsonl"}
    assert held_out.digest == prompts_digest(first, "eval") != training.digest


@pytest.mark.parametrize(
    ("train", "kind"),
    [("prompts.jsonl", "local"), ("s3://bucket/prompts/", "s3"), ("reasoning_gym:chain_sum", "reasoning_gym")],
)
def test_data_sets_name_the_kind_of_their_source(client: Any, tmp_path: Path, train: str, kind: str) -> None:
    run = prepared_run(tmp_path, data={"train": train}, tracking={"experiment": tmp_path.name}).run
    assert sync(run)
    inputs = client.get_run(run_id(run)).inputs.dataset_inputs
    assert {i.dataset.source_type for i in inputs} == {kind}


def test_what_people_have_changed_in_mlflow_stays(client: Any, tmp_path: Path) -> None:
    experiment = f"mine {tmp_path.name}"
    made = client.create_experiment(experiment, tags={"mlflow.experimentKind": "genai_development"})
    fake = finished_run(tmp_path, iterations=1, tracking={"experiment": experiment})
    assert sync(fake.run)
    client.set_tag(run_id(fake.run), "mlflow.note.content", "my words")
    fake.run.store.delete(fake.run.layout.tracking)
    assert sync(fake.run)
    assert client.get_run(run_id(fake.run)).data.tags["mlflow.note.content"] == "my words"
    assert client.get_experiment(made).tags["mlflow.experimentKind"] == "genai_development"


def test_bit_by_bit_gives_the_same_as_at_once(client: Any, tmp_path: Path) -> None:
    fake = prepared_run(tmp_path / "a")
    assert sync(fake.run)
    for number in (1, 2):
        fake.round(Round.iteration(number))
        assert sync(fake.run)
        fake.train(number)
        assert sync(fake.run)
    fake.round(Round.evaluation(2))
    assert sync(fake.run)
    at_once = finished_run(tmp_path / "b").run
    assert sync(at_once)
    assert history(client, fake.run) == history(client, at_once)
    assert run_id(fake.run) != run_id(at_once)


@pytest.mark.parametrize("at_once", [True, False])
def test_policies_that_are_not_evaluated_are_passed_over(client: Any, tmp_path: Path, at_once: bool) -> None:
    fake = prepared_run(tmp_path, loop={"iterations": 5}, evaluate={"every": 3})
    for number in range(1, 6):
        fake.iteration(number)
        assert at_once or sync(fake.run)
    fake.round(Round.evaluation(5))
    assert sync(fake.run)
    sent = history(client, fake.run)
    assert [step for step, _, _ in sent["iteration/pass_at_1"]] == [0, 3, 5]
    assert [step for step, _, _ in sent["iteration/train_reward"]] == [1, 2, 3, 4, 5]
    state = read_state(fake.run)
    assert state is not None
    assert (state.iterations, state.evaluated) == (5, 6)


@pytest.mark.usefixtures("client")
def test_an_iteration_without_evaluation_leaves_nothing_to_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = prepared_run(tmp_path, loop={"iterations": 5}, evaluate={"every": 3})
    fake.iteration(1)
    assert sync(fake.run)
    fake.round(Round.iteration(2))
    monkeypatch.setattr(session, "connect", lambda uri: pytest.fail(f"connected to {uri}"))
    assert sync(fake.run)


def test_the_newest_policy_is_sent_although_the_one_before_was_never_evaluated(client: Any, tmp_path: Path) -> None:
    fake = prepared_run(tmp_path, loop={"iterations": 3, "staleness": 1})
    for number in (1, 2, 3):
        fake.iteration(number)
        assert sync(fake.run)
    fake.round(Round.evaluation(3))
    report = fake.run.output("publish", fake.run.layout.report, {})
    report.write("index.html", b"<p>")
    report.commit(fake.spend(1.0))
    assert sync(fake.run)
    assert [step for step, _, _ in history(client, fake.run)["iteration/pass_at_1"]] == [0, 1, 3]
    # With another iteration the gap is filled, and nothing is there twice.
    fake.iteration(4)
    assert sync(fake.run)
    assert [step for step, _, _ in history(client, fake.run)["iteration/pass_at_1"]] == [0, 1, 2, 3]


@pytest.mark.usefixtures("client")
def test_nothing_new_asks_the_server_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = finished_run(tmp_path)
    assert sync(fake.run)
    monkeypatch.setattr(session, "connect", lambda uri: pytest.fail(f"connected to {uri}"))
    assert sync(fake.run)


def test_sending_again_adds_no_point_and_no_run(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    assert sync(run)
    before, first = history(client, run), run_id(run)
    run.store.delete(run.layout.tracking)
    assert sync(run)
    assert run_id(run) == first
    assert history(client, run) == before


def test_what_a_dead_server_missed_is_sent_later(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = prepared_run(tmp_path)
    assert sync(fake.run)
    fake.iteration(1)
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        assert sync(fake.run) is False
    assert "iteration/train_reward" not in history(client, fake.run)
    assert sync(fake.run) is True
    assert "iteration/train_reward" in history(client, fake.run)


def test_an_injected_run_is_used_and_left_open(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = client.create_experiment(f"pipeline {tmp_path}")
    injected = client.create_run(experiment).info.run_id
    run = finished_run(tmp_path).run
    monkeypatch.setenv("MLFLOW_RUN_ID", injected)
    assert sync(run)
    assert run_id(run) == injected
    assert "iteration/pass_at_1" in client.get_run(injected).data.metrics
    assert client.get_run(injected).info.status == "RUNNING"


def test_a_run_deleted_on_the_server_is_made_anew(client: Any, tmp_path: Path) -> None:
    fake = finished_run(tmp_path, iterations=1)
    assert sync(fake.run)
    first = run_id(fake.run)
    client.delete_run(first)
    fake.iteration(2)
    assert sync(fake.run)
    assert run_id(fake.run) != first
    assert [step for step, _, _ in history(client, fake.run)["iteration/train_reward"]] == [1, 2]


@pytest.mark.usefixtures("client")
def test_a_run_started_anew_under_its_old_name_is_another_run(tmp_path: Path) -> None:
    old = finished_run(tmp_path).run
    assert sync(old)
    first = run_id(old)
    shutil.rmtree(tmp_path / "runs")
    again = FakeRun(old, now=START + timedelta(hours=1))
    again.prepare(eval_prompts=5)
    assert sync(again.run)
    assert run_id(again.run) != first


def test_two_processes_at_once_make_one_run(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path).run
    both_looked = threading.Barrier(2)
    find = session.Session._find

    def look_together(self: session.Session, experiment: str) -> str | None:
        found = find(self, experiment)
        both_looked.wait(timeout=60)
        return found

    monkeypatch.setattr(session.Session, "_find", look_together)
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(sync(run))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True, True]
    experiment = client.get_experiment_by_name("rapid").experiment_id
    active = client.search_runs([experiment], f"tags.`rapid.run_uri` = '{run.uri}'")
    assert [r.info.run_id for r in active] == [run_id(run)]
    assert len(history(client, run)["step/loss"]) == 8


@pytest.mark.parametrize("other_was_faster", [True, False])
def test_parameters_that_are_refused_may_be_there_from_another_process(
    other_was_faster: bool, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    log_batch = MlflowClient.log_batch

    def refuse_parameters(self: Any, run_id: str, *args: Any, **kwargs: Any) -> None:
        if other_was_faster or not kwargs.get("params"):
            log_batch(self, run_id, *args, **kwargs)
        if kwargs.get("params"):
            raise MlflowException("UNIQUE constraint failed: params.key, params.run_uuid")

    monkeypatch.setattr(MlflowClient, "log_batch", refuse_parameters)
    run = finished_run(tmp_path).run
    assert sync(run) is other_was_faster
    if other_was_faster:
        assert client.get_run(run_id(run)).data.params["rollout.group_size"] == str(run.config.rollout.group_size)


def test_a_changed_configuration_is_sent_again(client: Any, tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    assert sync(run)
    longer = run.config.model_copy(update={"loop": run.config.loop.model_copy(update={"iterations": 9})})
    changed = Run(run.store, run.layout, longer)
    assert sync(changed)
    assert '"iterations": 9' in Path(client.download_artifacts(run_id(run), "config.json")).read_text()


@pytest.mark.parametrize("iterations", [0, 1])
def test_short_runs_without_held_out_prompts(client: Any, tmp_path: Path, iterations: int) -> None:
    run = finished_run(tmp_path, iterations=iterations, eval_prompts=0).run
    assert sync(run)
    assert not any("pass_at" in key for key in history(client, run))


def test_a_database_that_cannot_be_opened_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow  # noqa: F401 - sets its loggers up, as something else in the process may have had it do

    logging.getLogger("mlflow").setLevel("INFO")
    (tmp_path / "mlflow.db").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert sync(prepared_run(tmp_path / "store").run) is False
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "results not sent to sqlite:///" in said[0]


@pytest.mark.usefixtures("client")
def test_the_command_line_says_whether_all_was_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = finished_run(tmp_path).run
    with pytest.raises(SystemExit) as done:
        tracking_command(run.uri)
    assert done.value.code == 0
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(SystemExit) as away:
        tracking_command(run.uri)
    assert away.value.code == 1
    with pytest.raises(SystemExit) as wrong:
        tracking_command(f"{tmp_path}/runs/nothing")
    assert wrong.value.code == 2
