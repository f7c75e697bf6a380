"""The paper's configurations: rows as published pass, and the README says what `--dry-run` says."""

import json
import os
import re
import runpy
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from typer.testing import CliRunner

from components.contract.resolve import load_config
from pipelines.cli.main import app
from pipelines.plan import Plan, make_plan
from pipelines.preflight.findings import Level
from tests.support.json_replies import reply_with

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[3] / ".." / "shared"))
PAPER = Path(__file__).parents[3] / "configs" / "paper"
README = (PAPER / "README.md").read_text(encoding="utf-8")
TABLE = runpy.run_path(str(PAPER / "table.py"))
TASKS: tuple[str, ...] = TABLE["TASKS"]
MODELS: dict[str, str] = TABLE["MODELS"]
VERSION = {"messages": [{"severity": "info", "data": '"4.9.0"'}]}


def lean(body: Any) -> tuple[int, Any]:
    """Reply as a kimina-lean-server that returns its version."""
    return 200, {"results": [{"id": snippet["id"], "response": VERSION} for snippet in body["snippets"]]}


def rows(name: str) -> list[dict[str, Any]]:
    path = SHARED / "data" / f"{name}.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set RAPID_SHARED to the folder that holds data/{name}.jsonl")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def mbpp_plus(row: dict[str, Any]) -> dict[str, Any]:
    """A row of MBPP with the columns that EvalPlus publishes."""
    script = "inputs, results = [], []\n" + "\n".join(row["test_list"])
    kept = {key: row[key] for key in ("task_id", "code", "test_list")}
    return {**kept, "prompt": row["text"], "source_file": "", "test_imports": [], "test": script}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory where `rapid` is started, with config.json of the paper's models in the hub's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, folder in MODELS.items():
        repository = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_bytes((PAPER / "models" / folder / "config.json").read_bytes())
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
    return tmp_path


@pytest.fixture
def with_data(here: Path) -> Callable[[str], list[str]]:
    """`with_data(task)`: puts rows where its configuration looks for them; words that fit the fewer rows there are."""

    def put(task: str) -> list[str]:
        parts: dict[str, list[dict[str, Any]]]
        words: list[str] = []
        if task == "mbpp-plus":
            found = [mbpp_plus(row) for row in rows("mbpp_part")]
            parts = {"train": found[:264], "test": found[264:378]}
        elif task == "math":
            found = rows("math500_half")
            parts, words = {"train": found[:150], "test": found[150:]}, ["data.eval_prompts=100"]
        else:
            found = rows("minif2f_valid")
            parts, words = {"valid": found[:122], "test": found[122:]}, ["data.eval_prompts=122"]
        for name, part in parts.items():
            path = here / "data" / task / f"{name}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
        return words

    return put


def plan(task: str, *words: str) -> Plan:
    path = PAPER / f"{task}.yaml"
    return make_plan(load_config(path, words), path)


def wrong(plan: Plan) -> list[str]:
    return [f"{finding.subject}: {finding.result}" for finding in plan.findings if finding.level is Level.error]


@pytest.mark.parametrize("task", TASKS)
def test_a_configuration_could_start_where_its_data_are(
    httpserver: HTTPServer, task: str, with_data: Callable[[str], list[str]]
) -> None:
    words = with_data(task)
    url = reply_with(httpserver, lean, "/api/check")
    if task == "minif2f":
        options = f"{{url: '{url}', mathlib: v4.9.0, timeout: 60, request_timeout: 120}}"
        words.append(f"reward.graders=[{{name: lean, options: {options}}}]")
    for model in MODELS:
        judged = plan(task, *words, f"model.path={model}")
        assert wrong(judged) == []
        warnings = [finding.subject for finding in judged.findings if finding.level is Level.warning]
        # Some of MATH's problems come with long programs for a drawing.
        assert set(warnings) <= {"model.path", "disk", *(["prompt lengths"] if task == "math" else [])}
        assert judged.shape is not None
        assert judged.work.iteration.prompt_tokens


@pytest.mark.parametrize("task", TASKS)
def test_without_data_that_alone_keeps_it_from_starting(task: str, here: Path) -> None:
    found = wrong(plan(task))
    places = [f"{key}: {here}/data/{task}/{name}.jsonl does not exist" for key, name in _files(task).items()]
    assert found[:2] == places
    assert [line.partition(":")[0] for line in found[2:]] == (["reward.graders"] if task == "minif2f" else [])


def _files(task: str) -> dict[str, str]:
    return {"data.train": "valid" if task == "minif2f" else "train", "data.eval": "test"}


def test_the_table_in_the_readme_is_that_of_today() -> None:
    assert TABLE["with_table"](README) == README


@pytest.mark.parametrize(("task", "model"), [("mbpp-plus", "Qwen/Qwen2.5-1.5B"), ("math", "google/gemma-3-1b-pt")])
@pytest.mark.usefixtures("here")
def test_the_table_has_what_a_dry_run_prints(task: str, model: str) -> None:
    words = ["run", str(PAPER / f"{task}.yaml"), f"model.path={model}", "--dry-run"]
    printed = CliRunner(env={"COLUMNS": "160"}).invoke(app, words).output
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    _, _, iterations, steps, completions, tokens, engine, training, storage = TABLE["row"](task, model)
    weights, _, sequence = engine.partition(" + ")
    assert f"per iteration {iterations} iterations" in lines
    for beginning in (
        rf"updates \S+ {steps} ",
        rf"completions {completions} ",
        rf"completion tokens, at most .* {tokens} ",
        rf"weights {weights} ",
        rf"cache, one sequence {sequence} ",
        rf"total {training} ",
        rf"total .* {storage} ",
    ):
        assert [line for line in lines if re.match(beginning, line)], beginning


def commands() -> list[list[str]]:
    """The commands in the README, as words after `rapid run`."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("rapid run")]


@pytest.mark.parametrize("words", commands(), ids=lambda words: " ".join(words[1:])[:40])
def test_every_command_of_the_readme_is_a_configuration(words: list[str]) -> None:
    path, *overrides = [word for word in words if word != "--dry-run"]
    config = load_config(PAPER.parents[1] / path, overrides)
    assert config.train.mini_batch_prompts * config.rollout.group_size == 32


def test_every_value_says_where_it_comes_from() -> None:
    for task in TASKS:
        text = (PAPER / f"{task}.yaml").read_text(encoding="utf-8")
        values = [line for line in text.splitlines() if re.match(r"  \w+: \S", line)]
        silent = [line.strip() for line in values if "#" not in line]
        assert [line.partition(":")[0] for line in silent] == ["name", "eval_prompts"]
