"""The process that runs tests written as Python text, while the program they test runs in another process.

A test that calls `f(3)` sends the call to the program and gets the value back, which is compared with one that never
leaves this process. Other objects than plain data stay with the program, and a stub stands for them (`Remote`).
"""

import ast
import builtins
import math
import symtable
import sys
import types
from contextlib import suppress
from typing import Any

from components.sandbox.inside.remote import Remote, Unrunnable
from components.sandbox.inside.session import Session
from components.sandbox.inside.values import Malformed
from components.sandbox.inside.wire import Closed, receive, send

RELATIVE_TOLERANCE = 1e-7

_MESSAGE_CHARACTERS = 200
_SHOWN_CHARACTERS = 80
_UNRUNNABLE = (Unrunnable, ImportError, SyntaxError)
# Names under which tests import the program.
_PROGRAM_MODULES = {
    "answer", "candidate", "code", "main", "__main__", "module", "my_module", "program", "script", "solution",
    "submission", "your_module", "your_program",
}  # fmt: skip


def serve(channel: int) -> None:
    """Run `{"setup", "tests", "names", "given", "entry"}`: tests one after another, in one namespace after the set-up.

    `names` are those that the program defines, `given` those of classes of the set-up that it was given, `entry` that
    of the function to be tested. Sends `["call", ...]` whenever the program is needed and reads its reply; sends
    `["verdict", kind, reason]` after every test: `passed`, `failed`, `raised`, or `unrunnable` where the program
    is not to blame. Where the set-up fails, so do all tests. Then the next ones may come.
    """
    while True:
        try:
            job = receive(channel)
        except Closed:
            return
        _run_job(channel, job)


def _run_job(channel: int, job: Any) -> None:
    tests = _Tests(Session(channel), set(job["names"]), set(job["given"]), job["entry"])
    failure = tests.run(job["setup"], is_setup=True)
    for text in job["tests"]:
        send(channel, ["verdict", *(failure or tests.run(text) or ("passed", None))])


class _Tests:
    def __init__(self, session: Session, names: set[str], given: set[str], entry: str | None) -> None:
        self.session, self.names, self.given, self.entry = session, names, given, entry
        self.namespace = _Namespace(session)
        self.namespace.update(
            {
                "__name__": "tests",
                "__builtins__": {**vars(builtins), "__import__": self.import_, "type": _Type},
                "__hold__": session.hold,
                "__equal__": _compared,
                "__close__": close,
                "inf": math.inf,
                "nan": math.nan,
            }
        )
        if entry is not None:
            self.namespace[entry] = session.request("itself", entry) if entry in names else _Undefined(entry)

    def run(self, text: str, is_setup: bool = False) -> tuple[str, str] | None:
        """Run a text and return kind and reason of its failure; None where it ran to its end."""
        self.session.objects, self.session.raised = False, []
        try:
            tree = ast.parse(text)
            for name, value in self.unbound(text, tree).items():
                if type(value) is Remote or isinstance(value, type | types.ModuleType):
                    self.namespace[name] = value
                else:
                    self.namespace.changing.add(name)
            exec(compile(_rewritten(tree, self.given), "<test>", "exec"), self.namespace)
        except Closed:
            raise
        except BaseException as error:
            return self.failure(error, is_setup)
        finally:
            with suppress(Exception):
                self.session.hold(False)
        called, self.session.called = self.session.called or is_setup, is_setup and self.session.called
        return None if called else ("unrunnable", "it passes without calling the program")

    def failure(self, error: BaseException, is_setup: bool) -> tuple[str, str]:
        kind = "" if isinstance(error, Unrunnable | _Unequal) else f"{type(error).__name__}: "
        reason = f"{kind}{error}"[:_MESSAGE_CHARACTERS]
        place = "setup: " if is_setup else ""
        self.session.called = False
        if any(error is raised for raised in self.session.raised):
            return "raised", place + reason
        if isinstance(error, Malformed):
            return "failed", f"{place}the program's value cannot be read: {error}"
        own = is_setup and not isinstance(error, NameError)
        # A stub may not be taken for the object that it stands for: then the program is not to blame.
        stub = self.session.objects and isinstance(error, TypeError | AttributeError)
        if isinstance(error, _UNRUNNABLE) or own or stub:
            return "unrunnable", place + reason
        return "failed", place + reason

    def unbound(self, text: str, tree: ast.Module) -> dict[str, Any]:
        """Return values for names that a text uses but does not define: modules, and what the program defines."""
        used, bound = _names(text)
        nodes = list(ast.walk(tree))
        owners = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        bare = {node.id for node in nodes if isinstance(node, ast.Name) and id(node) not in owners}
        found: dict[str, Any] = {}
        for name in used - (bound - self.given) - self.namespace.keys() - vars(builtins).keys():
            if name in sys.stdlib_module_names and name not in bare:
                found[name] = __import__(name)
            elif name not in bare and name not in self.names:
                raise Unrunnable(f"neither it nor the program defines {name}")
            else:
                found[name] = self.session.request("itself", name)
        # Here alone nothing but the program can be called, so it is certain that its own function is meant.
        called = _only_call(tree)
        if called is not None and called in vars(builtins) and called in self.names:
            found[called] = self.session.request("itself", called)
        return found

    def import_(self, name: str, globals_: Any = None, locals_: Any = None, wanted: Any = (), level: int = 0) -> Any:
        names = set(wanted or ()) - {"*"}
        try:
            module = __import__(name, globals_, locals_, wanted, level)
            if all(hasattr(module, each) for each in names) and not name.startswith("components"):
                return module
        except ImportError:
            pass
        if name in _PROGRAM_MODULES or level or (names and names <= self.names):
            return _ProgramModule(name, self)
        raise ImportError(f"{name} is not in the sandbox" + (f", nor {', '.join(sorted(names))}" if names else ""))


class _Namespace(dict[str, Any]):
    """The names of the tests; those of the program's numbers and texts are looked up whenever they are used."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.changing: set[str] = set()

    def __missing__(self, name: str) -> Any:
        if name in self.changing:
            return self.session.request("itself", name)
        raise KeyError(name)


class _AnyType(type):
    """Python's `type`, but for the program's objects, whose class it asks for."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if len(arguments) == 1 and type(arguments[0]) is Remote:
            return arguments[0].__getattr__("__class__")
        return type(*arguments, **named)

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, type)


class _Type(metaclass=_AnyType):
    pass


class _ProgramModule(types.ModuleType):
    """The program as a module that tests import."""

    def __init__(self, name: str, tests: _Tests) -> None:
        super().__init__(name)
        self.__dict__["__all__"] = [name for name in tests.names if not name.startswith("_")]
        self.__dict__["_tests"] = tests

    def __getattr__(self, name: str) -> Any:
        tests: _Tests = self.__dict__["_tests"]
        if name.startswith("__"):
            raise AttributeError(name)
        return tests.session.request("itself", name) if name in tests.names else _Undefined(name)


class _Undefined:
    """A function that the tests need and the program does not define."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: Any, **__: Any) -> Any:
        raise NameError(f"name {self.name!r} is not defined")


def close(value: Any, expected: Any, tolerance: float) -> bool:
    """Compare as MBPP+ does: floats, and sequences of floats only, with a tolerance."""
    if bool(value == expected):
        return True
    if isinstance(expected, float):
        number = isinstance(value, int | float)
        return number and math.isclose(value, expected, rel_tol=RELATIVE_TOLERANCE, abs_tol=tolerance)
    if isinstance(expected, list | tuple) and expected and all(isinstance(item, float) for item in expected):
        same = isinstance(value, list | tuple) and len(value) == len(expected)
        return same and all(close(v, e, tolerance) for v, e in zip(value, expected, strict=True))
    return False


def _names(text: str) -> tuple[set[str], set[str]]:
    """Return the global names that a text uses, and those that it defines."""
    top = symtable.symtable(text, "<test>", "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    bound |= {s.get_name() for t in _tables(top) for s in t.get_symbols() if s.is_declared_global() and s.is_assigned()}
    used = {
        symbol.get_name()
        for table in _tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    return used, bound


def _tables(table: symtable.SymbolTable) -> list[symtable.SymbolTable]:
    return [table, *(inner for child in table.get_children() for inner in _tables(child))]


def _only_call(tree: ast.Module) -> str | None:
    """Return the name in `assert f(1, [2]) == 3`, `assert not f(x=1)` or `assert close(f(1), 3)`, with plain values."""
    match tree.body:
        case [ast.Assert(test=test)]:
            pass
        case _:
            return None
    calls = [node for node in ast.walk(test) if isinstance(node, ast.Call)]
    calls = [call for call in calls if not (isinstance(call.func, ast.Name) and call.func.id == "__close__")]
    names = [node for node in ast.walk(test) if isinstance(node, ast.Name)]
    if len(calls) != 1 or not isinstance(calls[0].func, ast.Name):
        return None
    others = {name.id for name in names} - {calls[0].func.id, "__close__", "inf", "nan"}
    return None if others else calls[0].func.id


def _rewritten(tree: ast.Module, given: set[str]) -> ast.Module:
    """Leave out classes that the program was given; let asserts say what was compared."""
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ClassDef) and node.name in given)]
    rewritten: ast.Module = _Asserts().visit(tree)
    return ast.fix_missing_locations(rewritten)


class _Asserts(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> list[ast.stmt]:
        match node.test:
            case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]) if node.msg is None:
                mirrored = _called(right) is not None and _called(left) is None
                name = ast.Constant(_called(right) if mirrored else _called(left))
                function = ast.Name("__equal__", ast.Load())
                node.test = ast.Call(function, [left, right, name, ast.Constant(mirrored)], [])
        return [_held(True), ast.Try(body=[node], handlers=[], orelse=[], finalbody=[_held(False)])]


def _held(holding: bool) -> ast.stmt:
    return ast.Expr(ast.Call(ast.Name("__hold__", ast.Load()), [ast.Constant(holding)], []))


def _called(node: ast.expr) -> str | None:
    """Return the name of the function that an expression calls, where that is not one of Python's own."""
    match node:
        case ast.Call(func=ast.Name(id=name)) if name not in vars(builtins):
            return name
    return None


class _Unequal(AssertionError):
    """An assert that failed, with what was compared."""


def _compared(left: Any, right: Any, name: str | None, mirrored: bool) -> Any:
    """Return `left == right`, or raise an error with both; `name` is the function that returned one of them."""
    if equal := left == right:
        return equal
    if mirrored:
        left, right = right, left
    if name:
        raise _Unequal(f"{name} returned {_short(left)}, expected {_short(right)}")
    raise _Unequal(f"{_short(left)} is not {_short(right)}")


def _short(value: Any) -> str:
    if type(value) is Remote:
        return "an object that is not plain data"
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
