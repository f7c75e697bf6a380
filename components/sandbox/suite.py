"""Test suites for programs, read from the columns of a data set's row.

| columns                                                    | used by           | read as               |
|------------------------------------------------------------|-------------------|-----------------------|
| `test_list` (`test_setup_code`, `test_imports`, `challenge_test_list`) | MBPP  | asserts               |
| `test`, a script, with `entry_point` where it has `check(candidate)` | MBPP+, HumanEval | calls, or one test |
| `input_output` or the answer, `{"inputs": [...], "outputs": [...]}` | APPS, TACO | standard input/output |
| the answer, a list of asserts or lines that begin with `assert` |              | asserts               |
"""

import ast
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

RELATIVE_TOLERANCE = 1e-7

Check = Literal["equal", "true", "false", "close"]


@dataclass(frozen=True)
class Call:
    """A test that is one call, `name(*positional, **named)`, and the value expected of it.

    `tolerance` is absolute and used by `close` only.
    """

    name: str
    positional: tuple[Any, ...]
    named: dict[str, Any]
    check: Check
    expected: Any = None
    tolerance: float = 0.0

    def holds(self, value: Any) -> bool:
        """Return whether a value, decoded from the program's message, is the expected one."""
        match self.check:
            case "true":
                return bool(value)
            case "false":
                return not value
            case "equal":
                return bool(value == self.expected)
            case "close":
                return bool(value == self.expected) or _close(value, self.expected, self.tolerance)


@dataclass(frozen=True)
class Calls:
    """Calls of the program's functions with plain values."""

    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Asserts:
    """Tests as Python text, run one after another after `setup` in a process of their own."""

    setup: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Pairs:
    """Texts for standard input, each with the expected standard output."""

    pairs: tuple[tuple[str, str], ...]


Suite = Calls | Asserts | Pairs


def read_suite(metadata: dict[str, Any], answer: str | None, challenge: bool, plus: bool) -> Suite:
    """Read the tests of a row: its columns `metadata`, and its column `answer`.

    Args:
        challenge: add MBPP's challenge tests.
        plus: prefer the script `test` of MBPP+ to `test_list`.

    Raises:
        ValueError: the row has no tests, or they cannot be read.
    """
    given = _json(answer)
    pairs = _json(metadata.get("input_output")) or given
    tests = _texts(metadata.get("test_list"))
    if metadata.get("test") and (plus or not tests):
        script = str(metadata["test"])
        call = f"\n\ncheck({metadata.get('entry_point')})" if "def check(" in script else ""
        return _plus(script) or Asserts("", (script + call,))
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


def called_names(suite: Suite) -> list[str]:
    """Return the names that the tests call, some of which the program defines."""
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


def _plus(text: str) -> Calls | None:
    """Read MBPP+'s form: `inputs = [...]`, `results = [...]` and a loop of `assertion(f(*inp), exp, tolerance)`."""
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
    # The script's own rule: without a tolerance, expected floats get 1e-6.
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


def parse_call(test: str) -> Call | None:
    """Read `assert f(1, [2]) == 3`, `assert f(x=1)` or `assert not f(1)`; return None for any other test.

    The name may be that of a built-in function: here alone nothing but the program can be called, so it is certain that
    the program's own function is meant.
    """
    try:
        body = ast.parse(test.strip()).body
    except (SyntaxError, ValueError):
        return None
    match body:
        case [ast.Assert(test=ast.Compare(left=ast.Call() as call, ops=[ast.Eq()], comparators=[expected]))]:
            return _call(call, "equal", expected)
        case [ast.Assert(test=ast.Compare(left=expected, ops=[ast.Eq()], comparators=[ast.Call() as call]))]:
            return _call(call, "equal", expected)
        case [ast.Assert(test=ast.Call() as call)]:
            return _call(call, "true")
        case [ast.Assert(test=ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call))]:
            return _call(call, "false")
    return None


def _call(call: ast.Call, check: Check, expected: ast.expr | None = None) -> Call | None:
    if not isinstance(call.func, ast.Name):
        return None
    try:
        positional = tuple(ast.literal_eval(argument) for argument in call.args)
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        wanted = ast.literal_eval(expected) if expected else None
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
    return Call(call.func.id, positional, named, check, wanted)


def _close(value: Any, expected: Any, tolerance: float) -> bool:
    """Compare floats, or sequences of floats only, as MBPP+ does."""
    if isinstance(expected, float):
        number = isinstance(value, int | float)
        return number and math.isclose(value, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=tolerance)
    if isinstance(expected, list | tuple) and expected and all(isinstance(item, float) for item in expected):
        same = isinstance(value, list | tuple) and len(value) == len(expected)
        return same and all(_close(v, e, tolerance) for v, e in zip(value, expected, strict=True))
    return False
