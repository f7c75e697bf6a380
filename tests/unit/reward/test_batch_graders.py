"""Batched and asynchronous graders, and tasks that are recalled from slow processes."""

import time

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec
from components.reward.grader_lookup import resolve_graders
from components.reward.grading_pool import GraderPool, GradingTask

GRADERS = """
import asyncio, os, time
from components.reward.score import Score

def log(*words):
    with open(os.environ["TRIAL_LOG"], "a") as stream:
        stream.write(" ".join(map(str, words)) + chr(10))

def one(completion):
    log(os.getpid(), completion)
    if completion == "hang": time.sleep(1000)
    if completion.startswith("slow"): time.sleep(1.0)
    return float(len(completion))

def many(completions, metadata, bonus=0):
    log("batch", len(completions))
    if "hang" in completions: time.sleep(1000)
    if "die" in completions: os._exit(3)
    if "raise" in completions: raise KeyError("lost")
    if "few" in completions: return [1.0]
    if "scalar" in completions: return 1.0
    if "lazy" in completions: return (float(1 / (c != "lazy")) for c in completions)
    if "leaving" in completions: return leaving()
    if "parts" in completions: return [Score(0.5, {"passed": 3}, "two tests\\nfailed")] * len(completions)
    values = [float(len(c)) + bonus + len(m) for c, m in zip(completions, metadata, strict=True)]
    return [ValueError("mine alone") if c == "own" else v for c, v in zip(completions, values, strict=True)]

def leaving():
    raise SystemExit("gone")
    yield

async def one_async(prompt, completion, answer, metadata):
    if completion == "block": time.sleep(1000)
    if completion == "raise": raise KeyError("lost")
    if completion == "late": raise TimeoutError("no reply")
    await asyncio.sleep(1000 if completion in ("hang", "slow and away") else 0.3)
    return float(len(completion))

async def many_async(*, completions, **others):
    assert sorted(others) == ["answers", "metadata", "prompts"]
    await asyncio.sleep(1000 if "hang" in completions else 0.01)
    return [float(len(c)) for c in completions]
"""


@pytest.fixture
def log(tmp_path, monkeypatch):
    (tmp_path / "together_graders.py").write_text(GRADERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TRIAL_LOG", str(tmp_path / "log"))
    (tmp_path / "log").touch()
    return tmp_path / "log"


def outcomes(function, completions, time_limit=20.0, workers=1, batch_size=16, **options):
    specs = [GraderSpec(name=f"together_graders:{function}", options=options)]
    with GraderPool(resolve_graders(specs), workers, time_limit, batch_size) as pool:
        found = list(pool.grade([GradingTask("p", text, "a", "{}") for text in completions]))
    assert sorted(index for index, _ in found) == list(range(len(completions)))
    return [outcome for _, outcome in sorted(found)]


def test_a_batch_is_one_call(log):
    results = outcomes("many", ["x" * i for i in range(1, 65)], batch_size=32, bonus=1)
    assert [r.reward for r in results] == [i + 1.0 for i in range(1, 65)]
    sizes = [int(line.split()[1]) for line in log.read_text().splitlines()]
    assert max(sizes) == 32
    assert sum(sizes) == 64


@pytest.mark.parametrize(
    ("what", "status", "detail"),
    [
        ("hang", "timeout", "no result after 0.5 s"),
        ("die", "error", "the grading process ended twice (exit status 3)"),
        ("raise", "error", "KeyError: 'lost'"),
        ("own", "error", "ValueError: mine alone"),
    ],
)
@pytest.mark.usefixtures("log")
def test_a_completion_that_breaks_a_batch_fails_alone(what, status, detail):
    results = outcomes("many", ["fine"] * 9 + [what] + ["fine"] * 9, time_limit=0.5, batch_size=8)
    failed = results.pop(9)
    assert (failed.status, failed.reward, failed.detail) == (status, 0.0, detail)
    assert {(r.status, r.reward) for r in results} == {("ok", 4.0)}


@pytest.mark.parametrize(("what", "shown"), [("few", "returned [1.0]"), ("scalar", "returned 1.0")])
@pytest.mark.usefixtures("log")
def test_a_batch_needs_a_value_for_every_completion(what, shown):
    results = outcomes("many", [what, "fine", "fine", "fine"])
    assert {r.status for r in results} == {"error"}
    assert f"{shown} for 4 completions" in results[0].detail


@pytest.mark.parametrize(
    ("what", "detail"), [("lazy", "ZeroDivisionError: division by zero"), ("leaving", "SystemExit: gone")]
)
@pytest.mark.usefixtures("log")
def test_exceptions_while_a_batch_is_read_are_errors(what, detail):
    results = outcomes("many", [what, "fine"])
    assert {(r.status, r.detail) for r in results} == {("error", detail)}


@pytest.mark.usefixtures("log")
def test_asynchronous_graders_wait_side_by_side():
    begin = time.monotonic()
    results = outcomes("one_async", ["x" * i for i in range(1, 33)], batch_size=16)
    assert [r.reward for r in results] == [float(i) for i in range(1, 33)]
    # 32 x 0.3 s one after the other.
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    ("what", "status", "detail"),
    [
        ("hang", "error", "no result after 0.6 s"),
        ("block", "timeout", "no result after 0.6 s"),
        ("raise", "error", "KeyError: 'lost'"),
        ("late", "error", "TimeoutError: no reply"),
    ],
)
@pytest.mark.usefixtures("log")
def test_asynchronous_graders_fail_alone(what, status, detail):
    results = outcomes("one_async", ["fine", "fine", what, "fine"], time_limit=0.6, batch_size=4)
    failed = results.pop(2)
    assert (failed.status, failed.detail) == (status, detail)
    assert {r.status for r in results} == {"ok"}


@pytest.mark.usefixtures("log")
def test_asynchronous_batches():
    results = outcomes("many_async", ["a", "bb", "hang", "ccc"], time_limit=0.5)
    assert [(r.status, r.reward) for r in results] == [("ok", 1.0), ("ok", 2.0), ("error", 0.0), ("ok", 3.0)]


@pytest.mark.usefixtures("log")
def test_a_service_that_is_away_is_an_error_behind_a_slow_grader_too(monkeypatch):
    specs = [GraderSpec(name=f"together_graders:{name}") for name in ("one", "one_async")]
    monkeypatch.setattr("components.reward.grading_pool._GRACE_SECONDS", 0.8)
    with GraderPool(resolve_graders(specs), 1, 1.5) as pool:
        ((_, result),) = pool.grade([GradingTask("p", "slow and away", "a", "{}")])
    assert (result.status, result.detail) == ("error", "no result after 1.5 s")


@pytest.mark.usefixtures("log")
def test_a_score_may_carry_parts_and_a_detail():
    (result,) = outcomes("many", ["parts"])
    assert (result.status, result.reward, result.detail) == ("ok", 0.5, "two tests failed")
    assert result.components == {"together_graders:many": 0.5, "passed": 3}


@pytest.mark.usefixtures("log")
def test_kinds_of_graders_are_summed_together():
    specs = [
        GraderSpec(name="together_graders:many", weight=2.0),
        GraderSpec(name="exact", weight=10.0),
        GraderSpec(name="together_graders:one_async", weight=0.5),
    ]
    with GraderPool(resolve_graders(specs), 1, 20.0) as pool:
        results = dict(pool.grade([GradingTask("p", text, "aa", "{}") for text in ("aa", "b", "raise")]))
    assert [results[i].reward for i in range(3)] == [15.0, 2.5, 0.0]
    assert results[1].components == {"together_graders:many": 1.0, "exact": 0.0, "together_graders:one_async": 1.0}


def test_others_grade_what_waits_behind_a_slow_completion(log):
    """The slow completion is the first of a chunk of sixteen; other processes grade the rest of the chunk."""
    begin = time.monotonic()
    results = outcomes("one", ["slow"] + ["x"] * 63, workers=2)
    assert {r.status for r in results} == {"ok"}
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) == 64
    owner = next(pid for pid, text in lines if text == "slow")
    assert [text for pid, text in lines if pid == owner] == ["slow"]
    assert time.monotonic() - begin < 15


def test_a_pool_continues_after_tasks_were_recalled(log):
    specs = [GraderSpec(name="together_graders:one")]
    with GraderPool(resolve_graders(specs), 2, 20.0) as pool:
        for _ in range(3):
            results = dict(pool.grade([GradingTask("p", text, "a", "{}") for text in ["slow", *["x"] * 40]]))
            assert [results[i].reward for i in range(41)] == [4.0] + [1.0] * 40
    assert len(log.read_text().splitlines()) == 123


def test_one_hanging_completion_among_a_thousand_delays_no_other(log):
    specs = [GraderSpec(name="together_graders:one")]
    texts = ["x"] * 500 + ["hang"] + ["x"] * 499
    with GraderPool(resolve_graders(specs), 2, 4.0) as pool:
        found = list(pool.grade([GradingTask("p", text, "a", "{}") for text in texts]))
    # All others finish before its time runs out, those of its own chunk too.
    assert sorted(index for index, _ in found) == list(range(1000))
    last, failed = found.pop()
    assert (last, failed.status, failed.detail) == (500, "timeout", "no result after 4 s")
    assert failed.seconds == pytest.approx(4.0, abs=1.0)
    assert {(outcome.status, outcome.reward) for _, outcome in found} == {("ok", 1.0)}
    assert len(log.read_text().splitlines()) == 1000


def test_options_of_built_in_graders_are_checked_before_anything_is_graded():
    graders = resolve_graders([GraderSpec(name="math", options={"extract": "box"})])
    with pytest.raises(
        InputError, match=r"math: ValueError: extract must be one of auto, boxed, ####, A:, last \(got 'box'\)"
    ):
        GraderPool(graders, 1, 1.0).__enter__()
