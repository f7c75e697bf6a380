"""The `rapid` command as a person types it: what it refuses, in which words, with which exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from components.contract.layout import Round
from pipelines.demo.arithmetic import tokenizer
from tests.support.arithmetic_run import write_config
from tests.support.fake_run import finished_run, prepared_run
from tests.support.tiny_policy import tiny_model


def rapid(*words: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli.entry", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "100", **environment},
        timeout=120,
        check=False,
    )


def refused(*words: str | Path, **environment: str) -> str:
    """The one line that a mistake is answered with."""
    done = rapid(*words, **environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, tracking={"enabled": False})


def test_help_names_every_command_and_teaches_run() -> None:
    done = rapid("--help")
    assert done.returncode == 0
    local = ("run", "status", "report", "trajectories", "rewards", "rescore", "compile", "doctor", "demo")
    for command in (*local, "submit", "runs", "cancel", "resume", "schedule", "schedules"):
        assert f" {command} " in done.stdout
    assert "train.learning_rate=5e-7" in rapid("run", "--help").stdout


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("run", "[OPTIONS] CONFIG [KEY=VALUE]..."),
        ("status", "[OPTIONS] RUN"),
        ("report", "[OPTIONS] RUN"),
        ("trajectories", "[OPTIONS] RUN"),
        ("rewards", "[OPTIONS] RUN"),
        ("rescore", "[OPTIONS] RUN [KEY=VALUE]..."),
        ("doctor", "[OPTIONS] [CONFIG] [KEY=VALUE]..."),
        ("submit", "[OPTIONS] CONFIG [KEY=VALUE]..."),
        ("runs", "[OPTIONS]"),
        ("cancel", "[OPTIONS] RUN"),
        ("resume", "[OPTIONS] RUN"),
        ("schedules", "[OPTIONS]"),
    ],
)
def test_help_of_a_command_shows_its_words_and_an_example(command: str, usage: str) -> None:
    lines = [line.strip() for line in rapid(command, "--help").stdout.splitlines()]
    assert [line for line in lines if line.endswith(f" {command} {usage}")]
    assert [line for line in lines if line.startswith(f"rapid {command} ")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.learning_rat=1e-4"], "train.learning_rat is not an option"),
        (["train.learning_rat=1e-4"], "did you mean train.learning_rate?"),
        (["rollout.group_size=1"], "rollout.group_size must be at least 2 (got 1)"),
        (["rollout.top_p=0.9"], "top_p is not an option: truncated sampling renormalises the behaviour"),
        (["loop.iterations=many"], "loop.iterations"),
        (["nonsense"], "'nonsense' is not key=value"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_starts(config: Path, words: list[str], message: str) -> None:
    assert message in refused("run", config, *words)
    assert not (config.parent / "store").exists()


def test_a_missing_configuration_is_named_with_its_place(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in refused("run", tmp_path / "none.yaml")


def test_a_missing_model_directory(config: Path) -> None:
    assert "/nowhere/model" in refused("run", config, "model=/nowhere/model", HF_HUB_OFFLINE="1")


def test_a_tokenizer_that_does_not_fit_the_model(config: Path) -> None:
    other = config.parent / "other"
    tiny_model(0, vocab_size=8, hidden_size=64, num_attention_heads=2).save_pretrained(other)
    tokenizer().save_pretrained(other)
    message = refused("run", config, f"model={other}")
    assert "embeddings for 8 only" in message


def test_data_without_a_prompt_column_names_the_columns_there_are(config: Path) -> None:
    rows = config.parent / "other.jsonl"
    rows.write_text("\n".join(json.dumps({"query": "1+1=", "answer": "2"}) for _ in range(9)), encoding="utf-8")
    message = refused("run", config, f"data={rows}")
    assert "prompt" in message
    assert "query" in message


def test_three_malformed_rows_in_ten_are_too_many(config: Path) -> None:
    rows = config.parent / "broken.jsonl"
    good = json.dumps({"prompt": "1+1=", "answer": "2"})
    lines = [good if i % 10 > 2 else "{not json" for i in range(100)]
    rows.write_text("\n".join(lines), encoding="utf-8")
    message = refused("run", config, f"data={rows}")
    assert "30 of 100" in message


def test_a_store_that_cannot_be_written(config: Path) -> None:
    (config.parent / "store").write_text("a file where a directory must be", encoding="utf-8")
    assert str(config.parent / "store") in refused("run", config)


def test_s3_without_credentials(config: Path) -> None:
    message = refused(
        "run",
        config,
        "store=s3://rapid-nobody/runs",
        AWS_ACCESS_KEY_ID="",
        AWS_SECRET_ACCESS_KEY="",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert "credentials" in message


@pytest.mark.rgw
def test_wrong_s3_credentials(config: Path, rgw: str, rgw_server: dict[str, str]) -> None:
    wrong = {**rgw_server, "AWS_SECRET_ACCESS_KEY": "planted-wrong-secret"}
    message = refused("run", config, f"store={rgw}", **wrong)
    assert "AWS_SECRET_ACCESS_KEY" in message
    assert "planted" not in message


def test_a_run_that_was_made_with_other_settings(config: Path) -> None:
    from components.contract.resolve import load_config
    from components.prepare.stage import run_stage as prepare

    prepare(load_config(config))
    message = refused("run", config, "data.eval_prompts=4")
    assert "data.eval_prompts: 8 -> 4" in message
    assert "run.name" in message


def test_status_report_and_trajectories_of_a_run(tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    where = str(run.store.local_path(run.layout.root))
    status = rapid("status", where)
    assert status.returncode == 0, status.stderr
    assert "pass@1" in status.stdout
    report = tmp_path / "out.html"
    written = rapid("report", where, "--output", report)
    assert written.returncode == 0, written.stderr
    assert report.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    read = rapid("trajectories", where, "--iteration", "1", "--best", "-n", "3")
    assert read.returncode == 0, read.stderr
    rewards = [float(line.split("reward ")[1].split()[0]) for line in read.stdout.splitlines() if "reward " in line]
    assert rewards == sorted(rewards, reverse=True)
    assert len(rewards) == 3


def test_rewards_tell_statuses_and_subjects(tmp_path: Path) -> None:
    where = str(finished_run(tmp_path).run.store.local_path("runs/demo"))
    done = rapid("rewards", where)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["iteration-0001", "44", "-", "-", "-"] in [line[:5] for line in lines]
    assert "pass@4" in done.stdout
    assert "policy 2" in done.stdout
    assert "no column 'topic'" in refused("rewards", where, "--by", "topic")


def test_a_broken_grader_is_seen_at_once(tmp_path: Path) -> None:
    fake = prepared_run(tmp_path)
    fake.round(Round.iteration(1), status="timeout")
    where = str(fake.run.store.local_path("runs/demo"))
    for command in ("status", "rewards"):
        assert "Grading failed for 100% of the completions of the training prompts" in rapid(command, where).stdout


def test_rescore_prints_what_changed_and_refuses_what_is_not_grading(tmp_path: Path) -> None:
    where = str(finished_run(tmp_path).run.store.local_path("runs/demo"))
    done = rapid(
        "rescore", where, "--iteration", "all", "--examples", "1", "reward=[{name: regex, options: {pattern: y}}]"
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line.strip().startswith(("iteration-", "evaluation-"))]
    assert [row[:3] for row in rows] == [
        ["iteration-0001", "train", "24"],
        ["iteration-0001", "eval", "20"],
        ["iteration-0002", "train", "24"],
        ["iteration-0002", "eval", "20"],
        ["evaluation-0002", "eval", "20"],
    ]
    assert all(row[6] == "1.000" for row in rows)
    assert "0 -> 1" in done.stdout
    assert "'rollout.temperature=2' is not a grading setting" in refused("rescore", where, "rollout.temperature=2")
    assert "iteration-0009 has no rewards yet" in refused("rescore", where, "--iteration", "9")
    assert "of an iteration or all (got 'some')" in refused("rescore", where, "--iteration", "some")
    assert "'maths' is not a valid grader" in refused("rescore", where, "reward=maths")


def test_rescore_finds_graders_where_it_is_started(tmp_path: Path) -> None:
    where = str(finished_run(tmp_path, iterations=1).run.store.local_path("runs/demo"))
    (tmp_path / "my_graders.py").write_text("def always(*, prompt, completion, answer, metadata):\n    return 0.25\n")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.pop(0); from pipelines.cli.main import main; main()",
         "rescore", where, "--iteration", "1", "reward=my_graders:always"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False,
        env={**os.environ, "COLUMNS": "120", "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "-> 0.250" in done.stdout


def test_a_run_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    message = refused("status", "nobody", "--store", str(run.store.local_path("")))
    assert f"it holds {run.layout.run}" in message


@pytest.mark.parametrize("where", ["/no-such-run", "/runs/no-such-run", "file:///runs/no-such-run"])
def test_an_absolute_path_starts_at_the_root(where: str) -> None:
    assert "at file:///runs/no-such-run:" in refused("status", where)


def test_an_iteration_that_is_not_there(tmp_path: Path) -> None:
    run = finished_run(tmp_path).run
    message = refused("trajectories", str(run.store.local_path(run.layout.root)), "--iteration", "9")
    assert "iteration-0009" in message


def test_compile_writes_ir(tmp_path: Path) -> None:
    done = rapid("compile", "--output", tmp_path / "rapid.yaml", "--layout", "tasks", "--max-iterations", "3")
    assert done.returncode == 0, done.stderr
    assert "up to 3 iterations" in done.stdout
    assert next(yaml.safe_load_all((tmp_path / "rapid.yaml").read_text()))["pipelineInfo"]["name"] == "rapid"


def test_compile_takes_images_device_and_a_cluster_file(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("{max_iterations: 1, images: a/b:1, rollout: {memory: 3Gi}}", encoding="utf-8")
    output = tmp_path / "rapid.yaml"
    done = rapid("compile", "-o", output, "--cluster", cluster, "--images", "localhost:5001/rapid:dev", "--cpu")
    assert done.returncode == 0, done.stderr
    inputs = next(yaml.safe_load_all(output.read_text()))["root"]["inputDefinitions"]["parameters"]
    assert inputs["rollout_image"]["defaultValue"] == "localhost:5001/rapid/cpu:dev"
    assert "rollout_accelerators" not in inputs
    assert "resourceMemoryLimit: 3Gi" in output.read_text()
    assert "layout workers" in done.stdout
    assert "rapid compile my.yaml" in rapid("compile", "--help").stdout


def test_compile_takes_the_configuration_in(tmp_path: Path) -> None:
    config, output = tmp_path / "my.yaml", tmp_path / "rapid.yaml"
    config.write_text(
        "{run: adder, model: owner/name, data: s3://bucket/d.jsonl, store: s3://bucket/p, reward: {graders: [exact]}}"
    )
    done = rapid("compile", config, "loop.iterations=7", "-o", output)
    assert done.returncode == 0, done.stderr
    inputs = next(yaml.safe_load_all(output.read_text()))["root"]["inputDefinitions"]["parameters"]
    assert json.loads(inputs["config"]["defaultValue"])["loop"]["iterations"] == 7
    assert "this configuration cannot run on a cluster" in refused("compile", config, "store=here", "-o", output)


def test_compile_refuses_a_cluster_that_cannot_be(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("rollout: {gpus: 2}", encoding="utf-8")
    assert "cluster.yaml: rollout.gpus is not an option" in refused("compile", "--cluster", cluster)
    assert "images must be registry/prefix:tag" in refused("compile", "--images", "rapid")


def test_compile_makes_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "rapid.yaml"
    message = refused("compile", "-o", path)
    assert f"cannot write {path}: No such file or directory; choose another place" in message
    assert not path.parent.exists()


def test_doctor_finds_what_is_wrong_with_a_configuration(config: Path) -> None:
    healthy = rapid("doctor", config)
    assert healthy.returncode == 0, healthy.stdout
    assert "is writable" in " ".join(healthy.stdout.split())
    sick = rapid("doctor", config, "model=/nowhere/model")
    assert sick.returncode == 2
    assert "/nowhere/model is not a directory" in " ".join(sick.stdout.split())
    graders = rapid("doctor", config, "reward=no_such_module:grade")
    assert graders.returncode == 2
    assert "ModuleNotFoundError" in " ".join(graders.stdout.split())


def test_a_run_that_needs_a_sandbox_is_refused_before_it_starts_where_there_is_none(config: Path) -> None:
    words = ["reward=code", "reward.sandbox.mode=namespaces", "store=nothing-written"]
    message = refused("run", config, *words, PATH="/nowhere")
    assert "bubblewrap (bwrap) is not installed" in message
    assert "--unsafe" in message
    assert not Path("nothing-written").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reward=no_such_module:grade"], "no_such_module:grade: ModuleNotFoundError"),
        (["reward=regex"], "missing a required argument: 'pattern'"),
        (
            ["reward=[{name: judge, options: {url: 'http://127.0.0.1:9', model: m, key_env: RAPID_NO_SUCH_KEY}}]"],
            "RAPID_NO_SUCH_KEY",
        ),
    ],
)
def test_a_grader_that_cannot_be_loaded_is_refused_before_anything_starts(
    config: Path, words: list[str], message: str
) -> None:
    refusal = refused("run", config, *words)
    assert "reward.graders cannot be loaded" in refusal
    assert message in refusal
    assert not (config.parent / "store").exists()


def test_doctor_names_the_layers_of_the_sandbox(config: Path) -> None:
    layers = rapid("doctor").stdout
    assert all(f"sandbox: {name}" in layers for name in ("namespaces", "landlock", "seccomp", "own uid"))
    sick = rapid("doctor", config, "reward=code", "reward.sandbox.mode=namespaces", PATH="/nowhere")
    assert sick.returncode == 2
    assert "bubblewrap" in sick.stdout
