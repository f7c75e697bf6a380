"""The grader `lean` against a server with kimina-lean-server's protocol, which decides by words in the proof."""

import json
import re

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import GraderSpec
from components.reward.grader_lookup import resolve_graders
from components.reward.graders.lean import is_proved
from components.reward.grading_pool import GraderPool, GradingTask
from tests.support.json_replies import bodies, reply_with

HEADER = "import Mathlib\n"
STATEMENT = "theorem two : 1 + 1 = 2 := by sorry"
METADATA = json.dumps({"header": HEADER, "formal_statement": STATEMENT})
PLACE = {"pos": {"line": 1, "column": 0}, "endPos": {"line": 1, "column": 1}}


def message(severity, data):
    return {"severity": severity, "data": data, **PLACE}


def repl_reply(code):
    """Return the reply of Lean's REPL, chosen by a word in the proof."""
    if "versionString" in code:
        return {"env": 1, "messages": [message("info", '"4.9.0"')]}
    if "crash" in code:
        return {"message": "Unknown environment."}
    name = re.search(r"#print axioms (\S+)", code)[1]
    if "wrong" in code:
        return {
            "env": 1,
            "messages": [message("error", "unsolved goals"), message("info", f"'{name}' depends on axioms: []")],
        }
    axioms = {
        "plain": "does not depend on any axioms",
        "classical": "depends on axioms: [propext,\n Classical.choice,\n Quot.sound]",
        "compiled": "depends on axioms: [propext, Lean.ofReduceBool]",
        "hidden": "depends on axioms: [sorryAx]",
    }
    word = next(word for word in axioms if word in code)
    return {"env": 1, "messages": [message("warning", "unused variable"), message("info", f"'{name}' {axioms[word]}")]}


def check(body):
    assert body["timeout"] == 60
    results = []
    for snippet in body["snippets"]:
        if "slow" in snippet["code"]:
            results.append({"id": snippet["id"], "time": 60.0, "error": "Lean REPL command timed out in 60.0 seconds"})
        elif "lost" in snippet["code"]:
            continue
        else:
            results.append({"id": snippet["id"], "time": 0.1, "response": repl_reply(snippet["code"])})
    return 200, {"results": results[::-1]}


def verify(body):
    return 200, {
        "results": [
            {"custom_id": c["custom_id"], "response": {**repl_reply(c["proof"]), "time": 0.1}} for c in body["codes"]
        ]
    }


def pool(url, **options):
    given = {"url": url, "mathlib": "v4.9.0", "request_timeout": 70, "retries": 1, **options}
    return GraderPool(resolve_graders([GraderSpec(name="lean", options=given)]), 1, 200.0, 32)


def outcomes(url, proofs, metadata=METADATA, **options):
    with pool(url, **options) as grading:
        found = dict(grading.grade([GradingTask("p", f"```lean4\n{proof}\n```", None, metadata) for proof in proofs]))
        return [found[i] for i in range(len(proofs))], grading.versions


def test_lean_decides_and_its_axioms_are_looked_at(httpserver):
    proofs = [
        "by plain",
        "by classical",
        "by compiled",
        "by hidden",
        "by wrong",
        "by sorry",
        "by slow",
        "by crash",
        "by lost",
    ]
    url = reply_with(httpserver, check, "/api/check")
    results, versions = outcomes(url, proofs)
    assert [(r.status, r.reward) for r in results] == [
        ("ok", 1.0), ("ok", 1.0), ("ok", 0.0), ("ok", 0.0), ("ok", 0.0), ("ok", 0.0),
        ("timeout", 0.0), ("error", 0.0), ("error", 0.0),
    ]  # fmt: skip
    assert [r.detail for r in results[:6]] == [
        None, None, *["not proved from the standard axioms alone"] * 2, "unsolved goals",
        "sorry is not allowed in a proof",
    ]  # fmt: skip
    assert "timed out in 60.0 seconds" in results[6].detail
    assert versions == ["2+lean-4.9.0+mathlib-v4.9.0"]
    sent = [snippet["code"] for body in bodies(httpserver)[1:] for snippet in body["snippets"]]
    assert f"{HEADER}\ntheorem two : 1 + 1 = 2 := by plain\n\n#print axioms two\n" in sent
    assert not any("sorry" in code for code in sent)


def test_the_proof_follows_the_reasoning(httpserver):
    url = reply_with(httpserver, check, "/api/check")
    texts = ["<think>```lean4\nby wrong\n```</think>\n```lean4\nby plain\n```", "<think>```lean4\nby plain\n```"]
    with pool(url) as grading:
        found = dict(grading.grade([GradingTask("p", text, None, METADATA) for text in texts]))
    assert [(found[i].reward, found[i].detail) for i in range(2)] == [(1.0, None), (0.0, "the reasoning does not end")]


def test_proofs_go_in_batches(httpserver):
    url = reply_with(httpserver, check, "/api/check")
    results, _ = outcomes(url, [f"by plain -- {i}" for i in range(20)], per_request=8)
    assert {r.reward for r in results} == {1.0}
    assert sorted(len(body["snippets"]) for body in bodies(httpserver)[1:]) == [4, 8, 8]


def test_the_first_versions_protocol(httpserver):
    url = reply_with(httpserver, verify, "/verify")
    results, versions = outcomes(url, ["by plain", "by wrong"], protocol="verify")
    assert [r.reward for r in results] == [1.0, 0.0]
    assert versions == ["2+lean-4.9.0+mathlib-v4.9.0"]


def test_a_busy_server_is_asked_again(httpserver):
    busy = []

    def answer(body):
        if "plain" in str(body) and not busy:
            busy.append(1)
            return 429, {"detail": "No available REPLs"}
        return check(body)

    url = reply_with(httpserver, answer, "/api/check")
    results, _ = outcomes(url, ["by plain"])
    assert [r.reward for r in results] == [1.0]


def test_a_broken_server_is_an_error_of_its_own_batch(httpserver):
    def answer(body):
        return (500, {"detail": "broken"}) if "break" in str(body) else check(body)

    url = reply_with(httpserver, answer, "/api/check")
    results, _ = outcomes(url, ["by plain", "by break plain"], per_request=1)
    assert [r.status for r in results] == ["ok", "error"]
    assert "answered 500" in results[1].detail


def test_imports_that_take_too_long_are_not_the_proofs_fault(httpserver):
    late = "Lean REPL header command timed out in 60 seconds"

    def answer(body):
        slow = "plain" in str(body)
        return (200, {"results": [{"id": "0", "time": 60.0, "error": late}]}) if slow else check(body)

    url = reply_with(httpserver, answer, "/api/check")
    ((result,), _) = outcomes(url, ["by plain"])
    assert (result.status, result.detail) == ("error", f"RequestFailed: the server failed: {late}")


def test_a_prompt_without_a_formal_statement_is_an_error(httpserver):
    url = reply_with(httpserver, check, "/api/check")
    ((result,), _) = outcomes(url, ["by plain"], metadata="{}")
    assert (result.status, result.detail) == ("error", "ValueError: the prompt has no formal_statement")


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        (lambda *_: (404, {}), {}, "answered 404"),
        (lambda *_: (200, {"status": "ok"}), {}, "not that of a kimina-lean-server"),
        (lambda *_: (200, {"results": [{"id": "version", "error": "no header"}]}), {}, "does not return its version"),
        (check, {"protocol": "http"}, "must be check or verify"),
        (check, {"request_timeout": 150}, "do not fit into reward.time_limit"),
        (check, {"timeout": 70}, "request_timeout must exceed timeout"),
    ],
)
def test_an_unusable_server_is_refused_before_anything_is_graded(httpserver, answer, options, words):
    url = reply_with(httpserver, answer, "/api/check")
    with pytest.raises(InputError) as caught, pool(url, **options):
        pass
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "sorries", "expected"),
    [
        ([message("info", "'two' does not depend on any axioms")], [], True),
        ([message("info", "'two' depends on axioms: [propext]")], [], True),
        ([message("info", "'two' depends on axioms: [propext, cheat]")], [], False),
        ([message("info", "'two' depends on axioms: [propext]")], [{"goal": "⊢ False"}], False),
        ([message("info", "'two' does not depend on any axioms")] * 2, [], False),
        (
            [message("warning", "declaration uses 'sorry'"), message("info", "'two' depends on axioms: [propext]")],
            [],
            False,
        ),
        ([message("info", "'other' does not depend on any axioms")], [], False),
        ([message("warning", "'two' does not depend on any axioms")], [], False),
        ([], [], False),
        (None, None, False),
    ],
)
def test_what_counts_as_proved(messages, sorries, expected):
    assert is_proved({"env": 0, "messages": messages, "sorries": sorries}, "two") is expected
