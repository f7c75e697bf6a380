"""Graders that run programs: their sandbox, refusals of the stage, and the mode in its manifest."""

from contextlib import suppress

import psutil
import pytest

from components.contract.errors import InputError
from components.contract.layout import Round
from components.contract.reward_config import GraderSpec, SandboxSection
from components.reward.grader_lookup import resolve_graders
from components.reward.stage import run_stage as grade_shard
from components.sandbox import modes
from components.sandbox.layers import Layer

SHARD = (Round.iteration(1), 0)
MISSING = Layer("namespaces", False, "bubblewrap (bwrap) is not installed", "Debian: apt-get install bubblewrap")
NO_LANDLOCK = Layer("landlock", False, "not in this kernel or switched off", "use a kernel from 5.13")
ADDED = "assert add(2, 3) == 5\nassert add(1, 1) == 2"
FENCED = "```python\ndef add(a, b):\n    return a {} b\n```"


@pytest.fixture
def nothing_here(monkeypatch):
    monkeypatch.setattr(modes, "namespaces", lambda: MISSING)
    monkeypatch.setattr(modes, "landlock", lambda: NO_LANDLOCK)


@pytest.mark.usefixtures("nothing_here")
def test_what_is_missing_is_named_with_how_to_fix_it():
    with pytest.raises(InputError) as refusal:
        resolve_graders([GraderSpec(name="code")])
    for words in ("bubblewrap (bwrap) is not installed", "apt-get install bubblewrap", "kernel from 5.13", "--unsafe"):
        assert words in str(refusal.value)


@pytest.mark.usefixtures("nothing_here")
def test_graders_that_run_nothing_need_no_sandbox():
    assert resolve_graders([GraderSpec(name="exact")])[0].sandbox is None


@pytest.mark.usefixtures("nothing_here")
def test_unsafe_must_be_requested():
    (grader,) = resolve_graders([GraderSpec(name="code")], SandboxSection(unsafe=True))
    assert grader.sandbox["mode"] == "unsafe"


@pytest.mark.usefixtures("mode")
def test_the_program_has_less_time_than_its_grading_process():
    (grader,) = resolve_graders([GraderSpec(name="code")], SandboxSection(seconds=100), time_limit=5.0)
    assert grader.sandbox["seconds"] == 4.0


def test_a_sandbox_that_was_killed_is_started_again():
    """The completion that was being graded is graded again."""
    from components.reward.graders import code as module

    options = modes.sandbox_options(SandboxSection(), 10.0)
    grade = lambda: module.code(  # noqa: E731
        completion=FENCED.format("+"), answer=ADDED, metadata={}, sandbox=options
    )
    module._close()
    assert grade() == 1.0
    (sandbox,) = module._open
    for process in psutil.Process(sandbox._process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    sandbox._process.kill()
    assert grade() == 1.0
    module._close()


def test_the_stage_grades_programs_and_names_the_sandbox(mode, sampled_run, commit_prompts):
    run = sampled_run([[FENCED.format(sign) for sign in "+-+*"]], "reward=code")
    run.store.delete(f"{run.layout.prompts}/manifest.json")
    commit_prompts(run, [("Add.", ADDED)])
    manifest = grade_shard(run.uri, *SHARD)
    assert (manifest.facts["reward_train"], manifest.facts["ok"], manifest.facts["sandbox"]) == (0.5, 4, mode)


@pytest.mark.usefixtures("nothing_here")
def test_the_stage_refuses_before_it_grades(sampled_run):
    run = sampled_run([["x"] * 4], "reward=code")
    with pytest.raises(InputError, match="no sandbox for model-written programs"):
        grade_shard(run.uri, *SHARD)


@pytest.mark.usefixtures("nothing_here")
def test_the_manifest_records_that_it_was_unsafe(sampled_run, commit_prompts):
    run = sampled_run([[FENCED.format(sign) for sign in "+-+*"]], "reward=code", "reward.workers=1")
    run.store.delete(f"{run.layout.prompts}/manifest.json")
    commit_prompts(run, [("Add.", ADDED)])
    manifest = grade_shard(run.uri, *SHARD, unsafe=True)
    assert (manifest.facts["reward_train"], manifest.facts["sandbox"]) == (0.5, "unsafe")
