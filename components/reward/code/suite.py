"""Tests of a program, read from the columns of its prompt.

| columns                                                    | known from        | read as               |
|------------------------------------------------------------|-------------------|-----------------------|
| `test_list` (`test_setup_code`, `test_imports`, `challenge_test_list`) | MBPP  | asserts               |
| `test`, a script, with `entry_point` where it has `check(candidate)` | MBPP+, HumanEval | calls, or one test |
| `input_output` or the answer, `{"inputs": [...], "outputs": [...]}` | APPS, TACO | standard input/output |
| the answer, a list of asserts or lines that begin with `assert` |              | asserts               |
"""

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

from components.reward.code.values import Call, parse_call


@dataclass(frozen=True)
class Calls:
    """Calls of the program's functions with plain values, each with what is expected."""

    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Asserts:
    """Tests as text, which a judge runs one after another behind `setup`."""

    setup: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """Texts for standard input, and what shall come out."""

    pairs: tuple[tuple[str, str], ...]


Suite = Calls | Asserts | Pairs


def read_suite(metadata: dict[str, Any], answer: str | None, challenge: bool, plus: bool) -> Suite:
    """The tests of a prompt.

    Raises:
        ValueError: the prompt has none, or none that can be read.
    """
    given = _json(answer)
    pairs = _json(metadata.get("input_output")) or given
    tests = _texts(metadata.get("test_list"))
    if metadata.get("test") and (plus or not tests):
        return _script(str(metadata["test"]), metadata.get("entry_point"))
    if tests:
        setup = "\n".join([*_texts(metadata.get("test_imports")), metadata.get("test_setup_code") or ""]).strip()
        return _asserts(setup, tests + (_texts(metadata.get("challenge_test_list")) if challenge else []))
    if isinstance(pairs, dict) and isinstance(pairs.get("inputs"), list) and isinstance(pairs.get("outputs"), list):
        if name := pairs.get("fn_name"):
            raise ValueError(f"call-based rows are not supported: input_output names a function, {name!r}")
        return _pairs(pairs["inputs"], pairs["outputs"])
    lines = given if isinstance(given, list) else re.findall(r"^assert .*$", answer or "", re.MULTILINE)
    if lines and all(isinstance(line, str) for line in lines):
        return _asserts("", lines)
    raise ValueError("the prompt has no tests: neither test_list, test, input_output nor asserts in its answer")


def names(suite: Suite) -> list[str]:
    """What a program for these tests may define."""
    match suite:
        case Calls(calls):
            return sorted({call.name for call in calls})
        case Asserts(setup, tests):
            return sorted(set(re.findall(r"\b([^\W\d]\w*)\s*\(", "\n".join([setup, *tests]))))
        case Pairs():
            return []


def _asserts(setup: str, tests: list[str]) -> Suite:
    calls = [parse_call(test) for test in tests]
    if setup or None in calls:
        return Asserts(setup, tuple(tests))
    return Calls(tuple(call for call in calls if call))


def _pairs(inputs: list[Any], outputs: list[Any]) -> Pairs:
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"input_output has {len(inputs)} inputs and {len(outputs)} outputs")
    return Pairs(tuple((_text(given), _text(wanted)) for given, wanted in zip(inputs, outputs, strict=True)))


def _script(text: str, entry_point: object) -> Suite:
    return _plus(text) or Asserts("", (text + (f"\n\ncheck({entry_point})" if "def check(" in text else ""),))


def _plus(text: str) -> Calls | None:
    """MBPP+: `inputs = [...]`, `results = [...]` and a loop of `assertion(f(*inp), exp, tolerance)`."""
    lists: dict[str, list[Any]] = {}
    checks = []
    try:
        for node in ast.parse(text).body:
            match node:
                case ast.Assign(targets=[ast.Name(id="inputs" | "results" as name)], value=value):
                    lists[name] = ast.literal_eval(value)
                case ast.For(
                    body=[
                        ast.Expr(
                            ast.Call(
                                func=ast.Name(id="assertion"),
                                args=[
                                    ast.Call(func=ast.Name(id=function), args=[ast.Starred(value=ast.Name())]),
                                    ast.Name(),
                                    ast.Constant(value=int() | float() as tolerance),
                                ],
                            )
                        )
                    ]
                ):
                    checks.append((function, float(tolerance)))
        ((function, tolerance),) = checks
        cases = zip(lists["inputs"], lists["results"], strict=True)
    except (SyntaxError, ValueError, KeyError, TypeError):
        return None
    # The script's own rule: where floats are expected and no tolerance is given, it is 1e-6.
    return Calls(tuple(Call(function, tuple(given), {}, "close", wanted, tolerance or 1e-6) for given, wanted in cases))


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def _texts(value: Any) -> list[str]:
    value = _json(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if isinstance(value, str):
        return [value] if value.strip() else []
    return [str(item) for item in value or ()]


def _text(value: Any) -> str:
    return "\n".join(map(str, value)) if isinstance(value, list) else str(value)
