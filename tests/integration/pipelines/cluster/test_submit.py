"""`rapid submit`, `rapid runs`, `rapid cancel` and `rapid resume` against a server that speaks KFP's API."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.contract.resolve import parse_config
from components.store import RunCancelled, open_run
from tests.support.fake_run import prepared_run
from tests.support.kfp_server import KfpServer

Rapid = Callable[..., "Said"]  # noqa: F821 - of conftest


def the_run(server: KfpServer) -> dict:
    (run,) = server.cluster.runs.values()
    return run


def test_a_first_submission_makes_everything_it_needs(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    said = rapid("submit", config, "--cluster", small, "run.name=first")
    assert said.status == 0, said.err
    run = the_run(server)
    assert f"{server.url}/#/runs/details/{run['run_id']}" in said.out
    assert run["display_name"] == "first"
    assert run["service_account"] == "rapid-stage"
    parameters = run["runtime_config"]["parameters"]
    assert {"run": "first", "model": "owner/model", "data": "s3://bucket/prompts.jsonl", "iterations": 2}.items() <= (
        parameters.items()
    )
    (experiment,) = server.cluster.experiments.values()
    assert (experiment["display_name"], run["experiment_id"]) == ("rapid", experiment["experiment_id"])
    (version,) = server.cluster.versions.values()
    assert version["name"].startswith("sha256-")
    assert version["name"] in said.out
    assert "uploaded now" in said.out
    assert "rapid status first --watch" in said.out


def test_the_same_pipeline_is_uploaded_once_and_another_beside_it(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    rapid("submit", config, "--cluster", small, "run.name=one")
    server.cluster.end(the_run(server)["run_id"], "SUCCEEDED")
    said = rapid("submit", config, "--cluster", small, "run.name=one")
    assert "already uploaded" in said.out
    assert len(server.cluster.versions) == 1
    small.write_text("{layout: tasks, max_iterations: 3}\n")
    assert "uploaded now" in rapid("submit", config, "--cluster", small, "run.name=three").out
    assert len(server.cluster.versions) == 2
    assert len(server.cluster.pipelines) == len(server.cluster.experiments) == 1
    assert len(server.cluster.runs) == 3


@pytest.mark.parametrize("layout", ["workers", "pod"])
def test_the_specification_is_the_same_for_any_number_of_iterations(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, layout: str
) -> None:
    small.write_text(f"layout: {layout}\n")
    for count in (1, 100, 10_000):
        said = rapid("submit", config, "--cluster", small, f"run.name=of-{count}", f"loop.iterations={count}")
        assert said.status == 0, said.err
    specs = [version["pipeline_spec"]["pipeline_spec"] for version in server.cluster.versions.values()]
    baked = [spec["root"]["inputDefinitions"]["parameters"]["config"].pop("defaultValue") for spec in specs]
    assert [parse_config(text).loop.iterations for text in baked] == [1, 100, 10_000]
    assert specs[0] == specs[1] == specs[2]
    given = [run["runtime_config"]["parameters"] for run in server.cluster.runs.values()]
    assert [parameters["iterations"] for parameters in given] == [1, 100, 10_000]
    different = {name for name, value in given[0].items() if value != given[2][name]}
    assert different == {"config", "run", "iterations"}


def test_a_run_is_started_from_kubeflows_page_alone(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    """The form sends what is in it: the defaults, and a name of its own making."""
    rapid("submit", config, "--cluster", small)
    first = the_run(server)
    kept = {name: first[name] for name in ("experiment_id", "pipeline_version_reference", "service_account")}
    (version,) = server.cluster.versions.values()
    assert version["description"].startswith("run adder: owner/model on s3://bucket/prompts.jsonl, 2 iterations; ")
    declared = version["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"]
    defaults = {name: parameter["defaultValue"] for name, parameter in declared.items()}
    started = server.cluster.create_run(
        {"display_name": "Run of rapid", "runtime_config": {"parameters": defaults}} | kept
    )
    name = f"adder-{started['run_id'][:8]}"
    assert [line.split()[0] for line in rapid("runs").out.splitlines()[1:]] == [name, "adder"]
    assert rapid("cancel", name).status == 0
    # KFP's own client sends no defaults.
    started = server.cluster.create_run({"display_name": "bare", **kept})
    server.cluster.end(started["run_id"], "FAILED")
    said = rapid("resume", "bare")
    assert said.status == 0, said.err
    again = list(server.cluster.runs.values())[-1]
    assert again["display_name"] == f"adder-{started['run_id'][:8]}"


def test_a_run_on_several_nodes_gets_a_pipeline_that_launches_a_job(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    said = rapid("submit", config, "--cluster", small, "train.nodes=2")
    assert said.status == 0, said.err
    (version,) = server.cluster.versions.values()
    assert "exec-train-job" in version["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"]


def test_names_with_signs_of_url_encoding_are_found_again(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    words = ("tracking.experiment=a+b 50% c&d", "--cluster", small)
    for name in ("one", "two"):
        assert rapid("submit", config, f"run.name={name}", *words).status == 0
    assert [e["display_name"] for e in server.cluster.experiments.values()] == ["a+b 50% c&d"]


def test_a_run_that_goes_on_is_not_started_twice(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    rapid("submit", config, "--cluster", small)
    said = rapid("submit", config, "--cluster", small)
    assert said.status == 2
    assert "a run named adder has not ended (pending" in said.error
    assert "rapid status adder --watch" in said.error
    server.cluster.end(the_run(server)["run_id"], "FAILED")
    assert rapid("submit", config, "--cluster", small).status == 0
    assert len(server.cluster.runs) == 2


def test_a_clone_that_goes_on_is_not_joined_under_the_name_of_its_run(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    rapid("submit", config, "--cluster", small)
    first = the_run(server)
    server.cluster.end(first["run_id"], "FAILED")
    kept = ("experiment_id", "pipeline_version_reference", "runtime_config", "service_account")
    clone = server.cluster.create_run({"display_name": "Clone of adder", **{name: first[name] for name in kept}})
    for command in (["submit", config, "--cluster", small], ["resume", first["run_id"]]):
        said = rapid(*command).error
        assert "a run named adder has not ended (pending" in said
        assert f"cancel it with rapid cancel {clone['run_id']}," in said


def test_a_run_may_be_called_like_a_number(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    assert rapid("submit", config, "--cluster", small, 'run.name="2026"').status == 0
    server.cluster.end(the_run(server)["run_id"], "FAILED")
    assert rapid("resume", "2026").status == 0


def test_a_race_for_the_same_names_is_won_by_nobody(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rapid("submit", config, "--cluster", small, "run.name=one")
    from pipelines.cluster.client import ClusterClient
    from pipelines.cluster.connection import NotFound

    for method in ("pipeline", "version", "experiment"):
        real, asked = getattr(ClusterClient, method), []

        def late(self, *words, real=real, asked=asked):
            asked.append(words)
            if len(asked) == 1:
                raise NotFound("somebody is just making it")
            return real(self, *words)

        monkeypatch.setattr(ClusterClient, method, late)
    server.cluster.end(the_run(server)["run_id"], "FAILED")
    assert rapid("submit", config, "--cluster", small, "run.name=one").status == 0
    assert len(server.cluster.pipelines) == len(server.cluster.versions) == len(server.cluster.experiments) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["store=rapid-store"], "store: rapid-store is on this machine (pods need s3://bucket/prefix)"),
        (["store=s3://No_Bucket/x"], "'No_Bucket' is not a bucket name"),
        (["store=s3://ID:SECRET@bucket/x"], "store.uri must not contain a user name or password"),
        (["data=s3://ID:SECRET@bucket/x"], "data.train must not contain a user name or password"),
        (["model=s3://ID:SECRET@bucket/x"], "model.path must not contain a user name or password"),
        (["model=./model"], "model.path: ./model is on this machine"),
        (["train.guide={model: ./teacher, coefficient: 1}"], "train.guide.model: ./teacher is on this machine"),
        (["data=prompts.jsonl"], "data.train: prompts.jsonl is on this machine"),
        (["data.eval=*.jsonl"], "data.eval: *.jsonl is on this machine"),
        (["loop.iterations=3"], "loop.iterations = 3, but the pipeline is compiled for 2"),
        (["loop.staleness=1"], "use layout workers or pod"),
        (
            ["tracking.uri=sqlite:///mlflow.db"],
            "tracking.uri: sqlite:///mlflow.db would be a separate file in each pod",
        ),
        (["model=models:/adder"], "write models:/NAME@champion"),
    ],
)
def test_what_only_this_machine_has_is_refused_before_anything_is_sent(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, words: list[str], reason: str
) -> None:
    said = rapid("submit", config, *words, "--cluster", small)
    assert said.status == 2
    assert reason in said.error
    assert not server.requests


def test_a_run_that_argo_cannot_hold_is_refused_before_anything_is_sent(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    small.write_text("{layout: tasks, max_iterations: 16}")
    words = ("train.mini_batch_prompts=4", "rollout.shards=4", "--cluster", small)
    said = rapid("submit", config, "loop.iterations=16", *words)
    assert said.status == 2
    assert "loop.iterations = 16, but Argo's limit of 1 MiB holds 8 iterations of 4 shards" in said.error
    assert "use layout workers or pod" in said.error
    assert not server.requests
    assert rapid("submit", config, "loop.iterations=6", *words).status == 0


def test_several_nodes_do_not_go_with_one_pod(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    small.write_text("layout: pod")
    said = rapid("submit", config, "train.nodes=2", "--cluster", small)
    assert "train.nodes = 2, but layout pod trains in its one pod (use layout workers or tasks)" in said.error
    assert not server.requests


def test_every_reason_is_given_at_once(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    said = rapid("submit", config, "store=here", "data=here.jsonl", "loop.iterations=9", "--cluster", small)
    assert all(word in said.error for word in ("store", "data.train", "loop.iterations"))
    assert not server.requests


def test_paths_of_the_pods_are_let_through(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    said = rapid("submit", config, "model=/cache/models/qwen", "data=/cache/prompts/", "--cluster", small)
    assert said.status == 0, said.err
    assert the_run(server)["runtime_config"]["parameters"]["model"] == "/cache/models/qwen"


def test_runs_are_listed_newest_first(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    assert "has no runs; start one with: rapid submit" in rapid("runs").out
    for name in ("one", "two", "three"):
        rapid("submit", config, "--cluster", small, f"run.name={name}")
    server.cluster.end(next(iter(server.cluster.runs)), "SUCCEEDED")
    lines = rapid("runs").out.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["three", "pending"], ["two", "pending"], ["one", "succeeded"]]
    assert len(rapid("runs", "-n", "1").out.splitlines()) == 2


@pytest.mark.usefixtures("server")
def test_more_runs_than_a_page_holds(rapid: Rapid, config: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cluster.client._PAGE", 2)
    for number in range(5):
        rapid("submit", config, "--cluster", small, f"run.name=r{number}")
    assert [line.split()[0] for line in rapid("runs").out.splitlines()[1:]] == ["r4", "r3", "r2", "r1", "r0"]


def test_cancel_and_resume(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    rapid("submit", config, "--cluster", small)
    first = the_run(server)
    assert "cancelling run adder" in rapid("cancel", "adder").out
    assert first["state"] == "CANCELING"
    assert "cancelling run adder" in rapid("cancel", "adder").out
    server.cluster.scripts.clear()  # it takes long to end
    assert "run adder has not ended (being cancelled)" in rapid("resume", "adder").error
    server.cluster.end(first["run_id"], "CANCELED")
    assert "run adder has already ended: cancelled" in rapid("cancel", first["run_id"]).error
    said = rapid("resume", "adder")
    assert said.status == 0, said.err
    second = next(run for run in server.cluster.runs.values() if run is not first)
    assert second["run_id"] in said.out
    kept = ("display_name", "runtime_config", "pipeline_version_reference", "service_account", "experiment_id")
    assert {name: second[name] for name in kept} == {name: first[name] for name in kept}
    server.cluster.end(second["run_id"], "SUCCEEDED")
    assert "has succeeded, so there is nothing to resume" in rapid("resume", "adder").error


def test_a_run_is_marked_as_cancelled_in_its_store_too(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, tmp_path: Path
) -> None:
    rapid("submit", config, "--cluster", small)
    run = the_run(server)
    fake = prepared_run(tmp_path / "store", "adder")
    opened = open_run(fake.run.uri)
    said = rapid("cancel", "adder")
    assert "the run cannot be marked as cancelled from this machine (" in said.err
    assert "a training job on several nodes may for two minutes" in said.err
    assert run["state"] == "CANCELING"
    text = config.read_text().replace("s3://bucket/fine-tunes", str(tmp_path / "store"))
    run["runtime_config"]["parameters"]["config"] = text
    said = rapid("cancel", "adder")
    assert said.err == ""
    with pytest.raises(RunCancelled):
        opened.require_not_cancelled()


def test_an_older_run_is_not_resumed_beside_a_newer_one_of_its_name(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    rapid("submit", config, "--cluster", small)
    first = the_run(server)
    server.cluster.end(first["run_id"], "FAILED")
    rapid("submit", config, "--cluster", small)
    said = rapid("resume", first["run_id"])
    assert said.status == 2
    assert "a run named adder has not ended (pending" in said.error
    assert len(server.cluster.runs) == 2


def test_a_run_of_another_program_is_not_resumed(rapid: Rapid, server: KfpServer, config: Path, small: Path) -> None:
    rapid("submit", config, "--cluster", small)
    run = the_run(server)
    server.cluster.end(run["run_id"], "FAILED")
    run["runtime_config"] = {"parameters": {}}
    del run["pipeline_version_reference"]
    assert "run adder belongs to another program" in rapid("resume", "adder").error
    assert len(server.cluster.runs) == 1


@pytest.mark.parametrize("command", ["cancel", "resume", "status"])
def test_an_unknown_run_is_answered_with_those_there_are(
    rapid: Rapid, server: KfpServer, config: Path, small: Path, command: str
) -> None:
    rapid("submit", config, "--cluster", small)
    said = rapid(command, "addre")
    assert said.status == 2
    assert "has no run named addre (the newest are adder)" in said.error
    assert server.url in said.error
    assert "has no run 00000000" in rapid(command, "00000000-0000-0000-0000-000000000000").error


def test_a_dry_run_says_what_submit_would_refuse_and_sends_nothing(
    rapid: Rapid, server: KfpServer, config: Path, small: Path
) -> None:
    said = rapid("submit", config, "--cluster", small, "--dry-run")
    assert said.status == 0, said.err
    assert "nothing was sent" in said.out
    refused = rapid("submit", config, "--cluster", small, "store=/tmp/here", "data.train=./prompts.jsonl", "--dry-run")
    assert refused.status == 2
    checked = rapid("doctor", "--cluster", small, config, "store=/tmp/here", "data.train=./prompts.jsonl")
    assert checked.status == 2
    really = rapid("submit", config, "--cluster", small, "store=/tmp/here", "data.train=./prompts.jsonl").error
    for reason in ("/tmp/here is on this machine", "./prompts.jsonl is on this machine"):
        for text in (refused.out, checked.out, really):
            assert reason in text
    assert not server.requests
