"""Lean source from statements and completions, on all of MiniF2F's validation problems, without running Lean."""

import json
import os
import re
from pathlib import Path

import pytest

from components.reward.graders.lean_source import Refused, complete

SHARED = Path(os.environ.get("RAPID_SHARED", Path(__file__).parents[3] / ".." / "shared"))
HEADER = "import Mathlib\n\nset_option maxHeartbeats 0\n\nopen BigOperators Real Nat\n"
STATEMENT = "theorem two (x : ℕ) (h : x = 1) :\n  x + 1 = 2 := by sorry"
HEAD = STATEMENT.removesuffix(" := by sorry")
ALONE = f"{HEAD} := by\n    subst h\n    rfl"

# What follows `:=` of the theorem, or is put before it; each is refused on every problem.
CHEATS = {
    "sorry": "by sorry",
    "sorry between tactics": "by\n  intro\n  sorry\n  rfl",
    "sorry as a term": "sorry",
    "sorryAx": "by exact sorryAx _ false",
    "admit": "by admit",
    "stop": "by\n  stop\n  rfl",
    "native_decide": "by native_decide",
    "decide +native": "by decide +native",
    "decide with native set": "by decide (config := { native := true })",
    "ofReduceBool": "by exact of_decide_eq_true (Lean.ofReduceBool _ true rfl)",
    "trustCompiler": "by exact Lean.trustCompiler",
    "metaprogram": "by run_tac Lean.Elab.Tactic.getMainGoal >>= fun g => g.admit",
    "elaborator": "by_elab return Lean.mkConst ``True.intro",
    "quoted name": "by exact «sorry»",
    "string": 'by trace "/-" <;> sorry <;> trace "-/"',
    "comment never closed": "by rfl /- ",
    "kernel switched off": "by\n  set_option debug.skipKernelTC true in\n  rfl",
    "axiom afterwards": "by rfl\naxiom cheat : False",
    "another theorem afterwards": "by rfl\ntheorem other : True := trivial",
    "command afterwards": "by rfl\n#eval 1",
    "exit": "by rfl\n#exit",
    "namespace": "by rfl\nnamespace X",
    "local instance": "by\n  rfl\nlocal instance : Inhabited False := ⟨by trivial⟩",
    "attribute": "by rfl\nattribute [simp] foo",
    "nothing": "",
}
PREFIXES = {
    "axiom": "axiom cheat : ∀ p : Prop, p",
    "macro": 'macro "rfl" : tactic => `(tactic| sorry)',
    "macro_rules": "macro_rules | `(tactic| rfl) => `(tactic| trivial)",
    "syntax": "syntax term : term",
    "elab": 'elab "cheat" : tactic => pure ()',
    "notation": 'notation a " = " b => True',
    "local notation": 'local notation "π" => (3 : ℝ)',
    "infix": 'infixl:65 " + " => fun a _ => a',
    "instance": "instance : Add ℕ := ⟨fun _ _ => 2⟩",
    "definition": "def Nat.add' := 3",
    "abbreviation": "abbrev ℝ := ℕ",
    "open": "open Classical",
    "variable": "variable (cheat : False)",
    "include": "include cheat",
    "option": "set_option autoImplicit true",
    "attribute on a theorem": "@[simp] theorem easy : True := trivial",
    "deriving": "inductive Nat' | zero deriving Inhabited",
    "unsafe": "unsafe def cheat : False := cheat",
    "implemented_by": "@[implemented_by foo] theorem x : True := trivial",
    "opaque": "opaque cheat : False",
    "evaluation": "#eval IO.println 1",
    "initialize": "initialize pure ()",
}


def problems() -> list[dict]:
    path = SHARED / "data" / "minif2f_valid.jsonl"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set RAPID_SHARED to the folder that holds data/minif2f_valid.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 244
    return rows


def head_of(row: dict) -> str:
    return re.sub(r"\s*:=\s*(by\s+)?sorry\s*$", "", row["formal_statement"])


@pytest.mark.parametrize(
    "completion",
    [
        f"Here:\n```lean4\n{HEADER}\n{HEAD} := by\n  subst h\n  rfl\n```\nDone.",
        f"```lean\n{HEAD} := by\n  subst h\n  rfl\n```",
        f"{HEAD} := by\n  subst h\n  rfl",
        "```lean4\ntheorem two (x:ℕ) (h : x = 1)  : x + 1\n = 2 :=\nby\n  subst h\n  rfl\n```",
        f"{HEAD} := by\n  subst h -- sorry\n  /- sorry /- axiom -/ -/ rfl",
        "by\n  subst h\n  rfl",
        "  subst h\n  rfl",
        ":= by\n  subst h\n  rfl",
        f"```lean4\nimport Mathlib\nset_option maxHeartbeats 400000\n\n{HEAD} := by\n  subst h\n  rfl",
        f"```lean\r\n{HEAD} := by\r\n  subst h\r\n  rfl\r\n```\r\n",
        f"- ```lean4\n{HEAD} := by\n  subst h\n  rfl\n```",
        f"```lean\n{HEAD} := by\n  subst h\n  rfl\n``` Done.",
        f"Proof:\n```lean\n{HEAD} := by\n  subst h\n  rfl\n```\nCheck in Python:\n```python\nprint(1 + 1 == 2)\n```",
        f"Here is the proof of it:\n\n{HEAD} := by\n  subst h\n  rfl\n\nThis works because x is 1.",
        "We use that x is 1 and the rest is easy.\n\nby\n  subst h\n  rfl",
        "```\nby\n  subst h\n  rfl\n```",
    ],
)
def test_honest_proofs_in_every_form_give_the_same_source(completion):
    source = complete(HEADER, STATEMENT, completion)
    assert source.name == "two"
    tactics = "\n".join(line.rstrip() for line in source.code.splitlines())
    assert re.sub(r"\n +", "\n    ", tactics.split(":= by")[1]) == "\n    subst h\n    rfl\n\n#print axioms two"
    assert source.code.startswith(f"{HEADER.strip()}\n\n{HEAD} := by\n")


@pytest.mark.parametrize(
    "completion",
    [
        "The statement is true because x is equal to 1.",
        "I would use simp, and then it is done.",
        "Proof:\nIt is trivial.",
        "First, we substitute x.\nThen the goal is 1 + 1 = 2, which is true.",
        "```python\nprint(2)\n```",
        "```\nThis is a proof that it is so.\n```",
    ],
)
def test_prose_is_never_submitted(completion):
    with pytest.raises(Refused):
        complete(HEADER, STATEMENT, completion)


def test_helping_theorems_stay_before_the_statement():
    source = complete(HEADER, STATEMENT, f"lemma one : 1 = 1 := rfl\n\n{HEAD} := by\n  subst h\n  exact one ▸ rfl")
    assert source.code.startswith(f"{HEADER.strip()}\n\nlemma one : 1 = 1 := rfl\n\n{HEAD} := by\n")


def test_limits_of_the_elaborator_may_be_raised():
    assert "maxRecDepth 9000 in" in complete(HEADER, STATEMENT, "by\n  set_option maxRecDepth 9000 in\n  rfl").code


@pytest.mark.parametrize(
    ("completion", "reason"),
    [
        (ALONE.replace("x + 1 = 2", "x + 1 = x + 1"), "the statement was changed"),
        (ALONE.replace("(h : x = 1)", "(h : False)"), "the statement was changed"),
        (ALONE.replace("(x : ℕ) ", ""), "the statement was changed"),
        (ALONE + "\n" + ALONE, "the theorem is stated twice"),
        ("theorem three : True := trivial", "another theorem is proved"),
        ("example : True := trivial", "another theorem is proved"),
        ("```lean4\n```", "there is no proof"),
        (f"/- {ALONE}", "a comment is never closed"),
        ("by so/- -/rry", None),
    ],
)
def test_a_proof_of_another_statement_is_refused(completion, reason):
    if reason is None:
        # Lean would not read `so rry` as `sorry` either.
        assert "so rry" in complete(HEADER, STATEMENT, completion).code
        return
    with pytest.raises(Refused, match=reason):
        complete(HEADER, STATEMENT, completion)


def test_a_statement_without_sorry_is_an_error_of_the_data():
    with pytest.raises(ValueError, match="not a theorem that ends in sorry"):
        complete(HEADER, "theorem two : 1 + 1 = 2 := rfl", "rfl")


def test_every_statement_of_minif2f_is_completed_verbatim():
    for row in problems():
        head = head_of(row)
        for completion in (
            f"```lean4\n{row['header']}\n{head} := by\n  nlinarith\n```",
            "by\n  nlinarith",
            "  nlinarith",
        ):
            code = complete(row["header"], row["formal_statement"], completion).code
            before, _, after = code.partition("nlinarith")
            assert before.rstrip() == f"{row['header'].strip()}\n\n{head} := by"
            assert after == f"\n\n#print axioms {row['name']}\n"


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_problem_of_minif2f_can_be_cheated_with(cheat):
    for row in problems():
        for completion in (f"```lean4\n{head_of(row)} := {CHEATS[cheat]}\n```", f"```lean4\n{CHEATS[cheat]}\n```"):
            with pytest.raises(Refused):
                complete(row["header"], row["formal_statement"], completion)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_nothing_before_a_statement_may_redefine(prefix):
    for row in problems():
        with pytest.raises(Refused):
            complete(row["header"], row["formal_statement"], f"{PREFIXES[prefix]}\n\n{head_of(row)} := by\n  rfl")


def test_every_changed_statement_of_minif2f_is_refused():
    for row in problems():
        head = head_of(row)
        colon = re.search(r":(?!=)[^:]*\Z", head)
        assert colon is not None
        for changed in (head[: colon.start()] + ": True", head.replace("=", "≤", 1), head.replace("theorem", "lemma")):
            if changed == head:
                continue
            with pytest.raises(Refused, match="changed"):
                complete(row["header"], row["formal_statement"], f"{changed} := by\n  simp")
