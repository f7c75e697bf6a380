"""Grading processes: a bad completion affects no other."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec, SandboxSection
from components.reward.grader_lookup import built_in_graders, resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask

GRADER = """
import ctypes, os, sys, time
from components.reward.score import Score

class Hostile:
    def __getattribute__(self, name): raise SystemExit("touched")
    def __repr__(self): raise SystemExit("shown")
    __str__ = __repr__

PARTS = {"no parts": None, "list": [1.0], "name": {1: 1.0}, "half": {"\\ud800": 1.0}, "text part": {"a": "b"},
         "nan part": {"a": float("nan")}, "hostile part": {"a": Hostile()}}

def grade(completion, metadata, bonus=0.0):
    what = completion
    if what == "hang": time.sleep(1000)
    if what == "nap": time.sleep(0.01)
    if what == "hang in C": __import__("re").match(r"(a+)+$", "a" * 60 + "b")
    if what == "exit": os._exit(0)
    if what == "segfault": ctypes.string_at(0)
    if what == "sys.exit": sys.exit(0)
    if what == "fork": os.fork()
    if what == "killed": os.kill(os.getpid(), 9)
    if what == "killed once" and not os.path.exists(metadata["mark"]):
        open(metadata["mark"], "w").close()
        os.kill(os.getpid(), 9)
    if what == "read": return float(len(sys.stdin.read()))
    if what == "print": print("[\\"ok\\", 9.0, {}, 0.0, null]", flush=True)
    if what == "raise": raise KeyError("no such key")
    if what == "unprintable": raise type("Odd", (Exception,), {"__str__": lambda self: 1 / 0})()
    if what == "nan": return float("nan")
    if what == "inf": return float("inf")
    if what == "huge": return 1e300
    if what == "none": return None
    if what == "text": return "1.0"
    if what == "hostile": return Hostile()
    if what == "parts": return Score(1.0, {"part": 0.5}, "seen")
    if what in PARTS: return Score(1.0, PARTS[what], None)
    if what == "bad detail": return Score(1.0, {}, Hostile())
    if what.startswith("$"): return Score(1.0, {}, repr(os.environ.get(what[1:])))
    if what == "surrogate": raise ValueError("\\ud800")
    return 1.0 + bonus + metadata.get("more", 0)
"""


@pytest.fixture
def specs(tmp_path, monkeypatch):
    (tmp_path / "trial_grader.py").write_text(GRADER)
    monkeypatch.syspath_prepend(tmp_path)
    return [GraderSpec(name="trial_grader:grade")]


def outcomes(specs, completions, time_limit=20.0, workers=2, metadata="{}"):
    with GraderPool(resolve_graders(specs), workers, time_limit) as pool:
        found = list(pool.grade([GradingTask("p", text, "a", metadata) for text in completions]))
    assert sorted(index for index, _ in found) == list(range(len(completions)))
    return [outcome for _, outcome in sorted(found)]


@pytest.mark.parametrize(
    ("what", "status", "detail"),
    [
        ("exit", "error", "ended twice (exit status 0)"),
        ("segfault", "error", "ended twice (SIGSEGV)"),
        ("sys.exit", "error", "SystemExit: 0"),
        ("raise", "error", "KeyError: 'no such key'"),
        ("unprintable", "error", "Odd: (its message cannot be read)"),
        ("surrogate", "error", "ValueError: ?"),
        ("nan", "invalid", "returned nan, not a finite number"),
        ("inf", "invalid", "returned inf"),
        ("huge", "invalid", "returned 1e+300"),
        ("none", "invalid", "returned None"),
        ("text", "invalid", "returned '1.0'"),
        ("hostile", "invalid", "trial_grader:grade returned no score: SystemExit: "),
        ("bad detail", "invalid", "trial_grader:grade returned no score: SystemExit: shown"),
        ("no parts", "invalid", "trial_grader:grade returned no score: ValueError: parts are None, not a mapping"),
        ("list", "invalid", "parts are [1.0], not a mapping of names to numbers"),
        ("name", "invalid", "parts hold 1: 1.0, not a name and a finite number"),
        ("half", "invalid", "parts hold '\\ud800': 1.0"),
        ("text part", "invalid", "parts hold 'a': 'b'"),
        ("nan part", "invalid", "trial_grader:grade returned no score: ValueError: parts hold 'a': nan"),
        ("hostile part", "invalid", "trial_grader:grade returned no score: SystemExit: "),
    ],
)
def test_a_failure_affects_its_own_row_only(specs, what, status, detail):
    results = outcomes(specs, ["fine"] * 20 + [what] + ["fine"] * 20)
    failed = results.pop(20)
    assert (failed.status, failed.reward) == (status, 0.0)
    assert detail in failed.detail
    assert {(r.status, r.reward, r.detail) for r in results} == {("ok", 1.0, None)}


def test_a_completion_whose_process_is_killed_from_outside_is_graded_again(specs, tmp_path):
    metadata = json.dumps({"mark": str(tmp_path / "mark")})
    results = outcomes(specs, ["fine"] * 5 + ["killed once"] + ["fine"] * 5, metadata=metadata)
    assert (tmp_path / "mark").exists()
    assert {(r.status, r.reward, r.detail) for r in results} == {("ok", 1.0, None)}


def test_processes_that_are_killed_again_and_again_stop_the_stage(specs):
    assert [r.status for r in outcomes(specs, ["killed"] * 3)] == ["error"] * 3
    with pytest.raises(InputError, match=r"end again and again \(SIGKILL.*more memory, or lower reward.workers"):
        outcomes(specs, ["killed"] * 4)


def test_kills_are_counted_anew_in_every_call(specs):
    with GraderPool(resolve_graders(specs), 2, 20.0) as pool:
        for _ in range(2):
            found = list(pool.grade([GradingTask("p", "killed", "a", "{}")] * 3))
            assert [outcome.status for _, outcome in found] == ["error"] * 3


def test_parts_and_detail_of_a_score_are_stored(specs):
    (found,) = outcomes(specs, ["parts"])
    assert (found.status, found.reward, found.detail) == ("ok", 1.0, "seen")
    assert found.components == {"trial_grader:grade": 1.0, "part": 0.5}


@pytest.mark.parametrize("what", ["hang", "hang in C"])
def test_a_hanging_completion_is_killed_at_its_limit(specs, what):
    results = outcomes(specs, ["fine"] * 3 + [what] + ["fine"] * 30, time_limit=0.5, workers=1)
    failed = results.pop(3)
    assert (failed.status, failed.reward, failed.detail) == ("timeout", 0.0, "no result after 0.5 s")
    assert {r.status for r in results} == {"ok"}


def test_graders_cannot_disturb_the_exchange_of_rows(specs):
    results = outcomes(specs, ["print", "read", "fork", "fine"] * 3)
    assert [r.reward for r in results] == [1.0, 0.0, 1.0, 1.0] * 3


def test_rows_that_outlast_the_reader_are_not_timeouts(specs):
    """A slow consumer of outcomes does not use up the completions' time."""
    with GraderPool(resolve_graders(specs), 1, time_limit=0.5) as pool:
        found = []
        for _, outcome in pool.grade([GradingTask("p", "nap", None, "{}")] * 20):
            if not found:
                begin = time.monotonic()
                while time.monotonic() - begin < 1.0:
                    pass
            found.append(outcome.status)
    assert found == ["ok"] * 20


def test_weighted_sum_keeps_components(specs):
    specs = [GraderSpec(name="exact", weight=2.0), specs[0].model_copy(update={"weight": -0.5})]
    results = outcomes(specs, ["a", "b", "nan"])
    assert [r.reward for r in results] == [1.5, -0.5, 0.0]
    assert results[0].components == {"exact": 1.0, "trial_grader:grade": 1.0}
    assert results[2].components == {"exact": 0.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_SECRET_ACCESS_KEY", None),
        ("AWS_ENDPOINT_URL", None),
        ("HF_TOKEN", None),
        ("HUGGING_FACE_HUB_TOKEN", None),
        ("MLFLOW_TRACKING_URI", None),
        ("MLFLOW_TRACKING_PASSWORD", None),
        ("RAPID_PARENT_FD", None),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("JUDGE_API_KEY", "given"),
        ("HF_HOME", "given"),
    ],
)
def test_graders_get_their_own_secrets_but_not_those_of_the_stage_and_no_gpu(specs, monkeypatch, name, value):
    monkeypatch.setenv(name, "given")
    (outcome,) = outcomes(specs, [f"${name}"], workers=1)
    assert outcome.detail == repr(value)


def test_an_answer_that_comes_too_late_is_not_taken_for_one_of_the_next_call(specs):
    tasks = [GradingTask("p", text, "a", "{}") for text in ("1", "2", "3")]
    with GraderPool(resolve_graders(specs), 1, 20.0) as pool:
        list(pool.grade(tasks))
        (process,) = pool._processes
        process.give([(0, *tasks[0]._replace(completion="nan"))])
        assert [outcome.status for _, outcome in sorted(pool.grade(tasks))] == ["ok"] * 3


def test_options_and_metadata_reach_the_grader(specs):
    specs = [specs[0].model_copy(update={"options": {"bonus": 0.25}})]
    assert outcomes(specs, ["fine"], metadata='{"more": 2}')[0].reward == 3.25


def test_versions_change_with_the_file(specs, tmp_path):
    def version():
        with GraderPool(resolve_graders([*specs, GraderSpec(name="exact")]), 1, 1.0) as pool:
            return pool.versions

    before = version()
    (tmp_path / "trial_grader.py").write_text(GRADER + "\n# edited\n")
    after = version()
    assert before[0] != after[0]
    assert before[0].startswith("sha256-")
    assert before[1] == after[1] == "2"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_such_module:grade", {}, "no_such_module:grade: ModuleNotFoundError"),
        ("trial_grader:other", {}, "trial_grader:other: AttributeError"),
        ("trial_grader:os", {}, "trial_grader:os: TypeError"),
        ("trial_grader:grade", {"colour": 1}, "unexpected keyword argument 'colour'"),
        ("numeric", {"tolerance": 1}, "unexpected keyword argument 'tolerance'"),
        ("regex", {}, "missing a required argument: 'pattern'"),
        ("broken_grader:grade", {}, "broken_grader:grade: SyntaxError"),
        ("dying_grader:grade", {}, "the grading process ended during the import (exit status 7)"),
    ],
)
@pytest.mark.usefixtures("specs")
def test_a_grader_that_cannot_be_loaded_is_named(tmp_path, name, options, message):
    (tmp_path / "broken_grader.py").write_text("def grade(:\n")
    (tmp_path / "dying_grader.py").write_text("import os\nos._exit(7)\n")
    graders = resolve_graders([GraderSpec(name=name, options=options)])
    with pytest.raises(InputError) as caught, GraderPool(graders, 2, 1.0):
        pass
    assert message in str(caught.value)


@pytest.mark.parametrize("name", sorted(built_in_graders().keys() - {"lean"}))  # it asks its server for its version
def test_every_built_in_grader_loads(name):
    server = {"url": "http://127.0.0.1:9", "timeout": 0.1}
    options = {"regex": {"pattern": "x"}, "judge": {"model": "m", **server}, "classifier": server}
    needed = options.get(name, {})
    sandbox = SandboxSection(unsafe=True)  # which changes nothing where there is one
    with GraderPool(resolve_graders([GraderSpec(name=name, options=needed)], sandbox), 1, 1.0) as pool:
        assert len(pool.versions) == 1


def test_grading_processes_import_no_heavy_libraries():
    code = (
        "import components.reward.grading_main, components.reward.graders.numeric, components.reward.graders.text, sys;"
    )
    code += "print([m for m in ('pyarrow', 'pydantic', 'boto3', 'numpy', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_grading_processes_die_with_a_killed_parent(tmp_path):
    """Both processes grade a completion that never ends when one of them kills their parent."""
    (tmp_path / "orphans").mkdir()
    (tmp_path / "orphan_grader.py").write_text(
        textwrap.dedent(f"""
            import os, pathlib, signal, time

            def grade(prompt, completion, answer, metadata):
                folder = pathlib.Path({str(tmp_path / "orphans")!r})
                (folder / str(os.getpid())).touch()
                while len(list(folder.iterdir())) < 2:
                    time.sleep(0.01)
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(1000)
        """)
    )
    script = textwrap.dedent("""
        from components.contract.reward_config import GraderSpec
        from components.reward.grading_pool import GraderPool, GradingTask
        from components.reward.grader_lookup import resolve_graders
        with GraderPool(resolve_graders([GraderSpec(name="orphan_grader:grade")]), 2, 1000.0) as pool:
            list(pool.grade([GradingTask("p", "c", None, "{}")] * 2))
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", script], env=environment)
    assert done.returncode == -signal.SIGKILL
    pids = [int(path.name) for path in (tmp_path / "orphans").iterdir()]
    assert len(pids) == 2
    deadline = time.monotonic() + 30
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "a grading process outlived its parent"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
