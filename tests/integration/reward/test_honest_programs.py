"""Honest programs, of as many kinds as were found: each passes in plain Python and in the grader `code`."""

import tomllib
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.reward.graders.code import code
from components.sandbox import modes
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.modes import sandbox_options

CORPUS = tomllib.loads((Path(__file__).parents[2] / "fixtures" / "honest_programs.toml").read_text(encoding="utf-8"))
MODES = ["namespaces"] * modes.namespaces().holds + ["landlock"] * bool(landlock_abi())
# Of each mode one half: their programs' values do not depend on it. What files a program may make does.
FILES = ("tempfile", "pathlib", "open(")

try:
    OPTIONS = sandbox_options(SandboxSection(seconds=5), 10.0)
except InputError as error:
    pytest.skip(f"no sandbox here: {error}", allow_module_level=True)


def grade(completion, mode, metadata, prompt=""):
    return code(completion=completion, answer=None, metadata=metadata, prompt=prompt, sandbox={**OPTIONS, "mode": mode})


def modes_for(number, text):
    return MODES if any(word in text for word in FILES) else [MODES[number % len(MODES)]]


def passed(result):
    return (float(result), result.detail) == (1.0, "P")


def test_the_corpus_is_as_large_as_documented():
    assert sum(map(len, CORPUS.values())) >= 200


def test_functions():
    wrong = []
    for number, row in enumerate(CORPUS["function"]):
        setup = row.get("setup", "")
        if "solution" not in row["test"] and "your_file" not in row["test"] and "async" not in row["test"]:
            text = "" if row["program"].startswith("import sys\n") else f"{setup}\n{row['program']}\n{row['test']}"
            exec(compile(text, "<honest>", "exec"), {"__name__": "honest"}) if "open(" not in text else None
        for mode in modes_for(number, row["program"]):
            metadata = {"test_list": [row["test"]], "test_setup_code": setup}
            try:
                result = grade(f"```python\n{row['program']}\n```", mode, metadata)
            except ValueError as error:
                wrong.append((row["program"], mode, str(error)))
                continue
            if not passed(result):
                wrong.append((row["program"], mode, result.detail))
    assert wrong == []


@pytest.mark.parametrize("row", CORPUS["completion"], ids=lambda row: row["name"])
@pytest.mark.parametrize("mode", MODES[:1])
def test_completions(row, mode):
    if "entry" in row:
        metadata = {"test": row["check"], "entry_point": row["entry"], "prompt": row["prompt"]}
        assert passed(grade(row["completion"], mode, metadata))
        del metadata["prompt"]
        assert passed(grade(row["completion"], mode, metadata, f"Complete:\n```python\n{row['prompt']}```\n"))
    else:
        assert passed(grade(row["completion"], mode, {"test_list": [row["test"]]}))


@pytest.mark.parametrize("row", CORPUS["script"], ids=lambda row: row["name"])
@pytest.mark.parametrize("mode", MODES)
def test_scripts(row, mode):
    pairs = {"inputs": [row["input"]], "outputs": [row["output"]]}
    assert passed(grade(f"```python\n{row['program']}\n```", mode, {"input_output": pairs}))
