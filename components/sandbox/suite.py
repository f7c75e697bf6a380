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
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from components.sandbox.markdown import fenced_blocks


@dataclass(frozen=True)
class Asserts:
    """Tests as Python text, run one after another after `setup` in a process of their own.

    `given` is Python text of which the program may use what it defines: classes of the set-up, or the beginning of the
    program where the prompt holds it. `entry` is the name of the function to be tested, where it is known.
    """

    setup: str
    tests: tuple[str, ...]
    given: str = ""
    entry: str | None = None


@dataclass(frozen=True)
class Pairs:
    """Texts for standard input, each with the expected standard output."""

    pairs: tuple[tuple[str, str], ...]


Suite = Asserts | Pairs

_PLAIN = {
    ast.Assert, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.List, ast.Tuple, ast.Set, ast.Dict,
    ast.Compare, ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.UnaryOp, ast.Not, ast.USub,
}  # fmt: skip


def read_suite(metadata: dict[str, Any], answer: str | None, challenge: bool, plus: bool, prompt: str = "") -> Suite:
    """Read the tests of a row: its columns `metadata`, and its column `answer`.

    Args:
        challenge: add MBPP's challenge tests.
        plus: prefer the script `test` of MBPP+ to `test_list`.
        prompt: may hold the beginning of the program, where no column `prompt` does.

    Raises:
        ValueError: the row has no tests, or they cannot be read.
    """
    given = _json(answer)
    pairs = _json(metadata.get("input_output")) or given
    tests = _texts(metadata.get("test_list"))
    if metadata.get("test") and (plus or not tests):
        script, entry = str(metadata["test"]), metadata.get("entry_point")
        call = f"\n\ncheck({entry})" if "def check(" in script else ""
        return _plus(script) or Asserts("", (script + call,), beginning((metadata.get("prompt"), prompt), entry), entry)
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


def beginning(texts: Iterable[Any], entry: str | None) -> str:
    """Return the program's beginning in a prompt of HumanEval: imports, helping functions, a function without body."""
    for text in texts:
        if not isinstance(text, str) or not entry or not re.search(rf"\bdef {re.escape(entry)}\b", text):
            continue
        for part in [text, *(block.text for block in fenced_blocks(text))]:
            first = re.search(r"^(?:from |import |def |class |@)", part, re.MULTILINE)
            if first and _defines(_parsed(part[first.start() :]), entry):
                return part[first.start() :]
    return ""


def _defines(nodes: list[ast.stmt], name: str) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in nodes)


def called_names(suite: Suite) -> list[str]:
    """Return the names that the tests call, some of which the program defines."""
    match suite:
        case Asserts(setup, tests, _, entry):
            called = set(re.findall(r"\b([^\W\d]\w*)\s*\(", "\n".join([setup, *tests])))
            return [entry] if entry else sorted(called)
        case Pairs():
            return []


def are_plain_calls(suite: Asserts) -> bool:
    """Return whether every test is one assert of one call with plain values, so that no code of the data set's runs."""
    return not suite.setup and all(map(_is_plain_call, suite.tests))


def _is_plain_call(test: str) -> bool:
    match _parsed(test):
        case [ast.Assert() as node]:
            nodes = list(ast.walk(node))
            calls = [inner for inner in nodes if isinstance(inner, ast.Call)]
            names = [inner for inner in nodes if isinstance(inner, ast.Name)]
            return len(calls) == len(names) == 1 and calls[0].func is names[0] and set(map(type, nodes)) <= _PLAIN
    return False


def defined_names(text: str) -> list[str]:
    """Return the classes that a text defines."""
    return [node.name for node in _parsed(text) if isinstance(node, ast.ClassDef)]


def _asserts(setup: str, tests: list[str]) -> Asserts:
    return Asserts(setup, tuple(tests), _for_the_program(setup))


def _for_the_program(setup: str) -> str:
    """Return the classes of a set-up that a program may use, with its imports and constants."""
    nodes = _parsed(setup)
    if not any(isinstance(node, ast.ClassDef) and not _is_test(node) for node in nodes):
        return ""
    constants = [node for node in nodes if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)]
    kept = [
        node
        for node in nodes
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.ClassDef) and not _is_test(node))
        or node in constants
    ]
    return "\n".join(ast.unparse(node) for node in kept)


def _is_test(node: ast.ClassDef) -> bool:
    return any("TestCase" in ast.unparse(base) for base in node.bases)


def _parsed(text: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return []


def _pairs(inputs: list[Any], outputs: list[Any]) -> Pairs:
    if len(inputs) != len(outputs) or not inputs:
        raise ValueError(f"input_output has {len(inputs)} inputs and {len(outputs)} outputs")
    return Pairs(tuple((_text(given), _text(wanted)) for given, wanted in zip(inputs, outputs, strict=True)))


def _plus(text: str) -> Asserts | None:
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
    tests = tuple(_close(function, given, wanted, tolerance or 1e-6) for given, wanted in cases)
    return Asserts("", tests, "", function)


def _close(function: str, given: list[Any], wanted: Any, tolerance: float) -> str:
    return f"assert __close__({function}({', '.join(map(repr, given))}), {wanted!r}, {tolerance})"


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
