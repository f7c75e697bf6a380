"""The grader `code`: programs that pass, programs that fail, and the details."""

import json
import time

import pytest

from components.contract.errors import InputError
from components.contract.reward_config import SandboxSection
from components.reward.graders.code import code
from components.sandbox import modes
from components.sandbox.inside.confine import landlock_abi
from components.sandbox.modes import choose_mode, sandbox_options
from components.sandbox.sandbox import Sandbox
from tests.support.hostile import CHEATING, DECIDES

try:
    choose_mode(SandboxSection())
except InputError as error:
    pytest.skip(f"no sandbox here: {error}", allow_module_level=True)


MODES = ["namespaces"] * modes.namespaces().holds + ["landlock"] * bool(landlock_abi())


def score(program, *tests, answer=None, limits=None, fenced=True, mode=MODES[0], **more):
    options = {name: more.pop(name) for name in ("partial", "plus", "challenge", "exact_output") if name in more}
    metadata = {"test_list": list(tests), **more}
    sandbox = {**sandbox_options(SandboxSection(seconds=2, **(limits or {})), 10.0), "mode": mode}
    completion = f"```python\n{program}\n```" if fenced else program
    return code(completion=completion, answer=answer, metadata=metadata, sandbox=sandbox, **options)


ADD = "def add(a, b):\n    return a + b"
NODE = """
class Node:
    def __init__(self, value):
        self.value, self.left, self.right = value, None, None
def height(node):
    return 1 + max(height(node.left), height(node.right)) if node else 0
"""
STACK = """
class Stack:
    def __init__(self): self.items = []
    def push(self, item):
        self.items.append(item)
        return self
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, key): return self.items[key]
    def __str__(self): return f"Stack{self.items}"
    def __eq__(self, other): return True
"""


@pytest.mark.parametrize(
    ("program", "test"),
    [
        (ADD, "assert add(2, 3) == 5"),
        (ADD, "assert add(add(1, 1), 3) == add(3, 2)"),
        (ADD, "assert add([1], [2]) == list((1, 2)) and add('a', 'b') != 'ba'"),
        (ADD, "import math\nassert math.isclose(add(0.1, 0.2), 0.3)"),
        (ADD, "assert math.isclose(add(0.1, 0.2), 0.3)"),
        (ADD, "assert all(add(i, i) == 2 * i for i in range(20))"),
        (ADD, "assert [add(i, 1) for i in range(3)] == [1, 2, 3]"),
        (ADD, "assert sorted(map(lambda x: add(x, 1), [3, 1])) == [2, 4]"),
        (ADD, "assert not add(1, -1)\nassert add(1, 1) is not None"),
        (ADD, "assert isinstance(add(1, 2), int) and len(add((1,), (2,))) == 2"),
        (ADD, "def check(candidate):\n    assert candidate(1, 2) == 3\ncheck(add)"),
        (ADD, "try:\n    add(1, 'a')\n    assert False\nexcept TypeError as error:\n    assert 'type' in str(error)"),
        (ADD, "assert add(10 ** 400, 1) == 10 ** 400 + 1"),
        (ADD, "assert add(float('inf'), 1) == float('inf')"),
        ("def f(x):\n    yield from range(x)", "assert list(f(3)) == [0, 1, 2]"),
        ("from collections import Counter\ndef f(x): return Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}"),
        ("LIMIT = 7\ndef f(): return LIMIT", "assert f() == LIMIT == 7"),
        (STACK, "s = Stack()\ns.push(1).push('b')\nassert len(s) == 2 and list(s) == [1, 'b'] and s[1] == 'b'"),
        (STACK, "assert str(Stack().push(1)) == 'Stack[1]' and Stack().items == []"),
        ("def apply(f, x): return f(x)\ndef double(x): return 2 * x", "assert apply(double, 4) == 8"),
        ("async def later(): return 5\nimport asyncio\ndef f(): return asyncio.run(later())", "assert f() == 5"),
        ("import threading\ndef f():\n    found = []\n    t = threading.Thread(target=found.append, args=(1,))\n"
         "    t.start(); t.join()\n    return found", "assert f() == [1]"),
        ("import tempfile\ndef f():\n    with tempfile.TemporaryFile('w+') as file:\n        file.write('x')\n"
         "        file.seek(0)\n        return file.read()", "assert f() == 'x'"),
        ("def f():\n    open('a', 'w').write('b')\n    return open('a').read()", "assert f() == 'b'"),
        ("import random, time, datetime, uuid, hashlib\ndef f(): return hashlib.md5(b'').hexdigest()[:4]",
         "assert f() == 'd41d'"),
        ("if __name__ == '__main__':\n    input()\ndef f(): return __name__", "assert f() == 'program'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", MODES)
def test_right_programs_pass(program, test, mode):
    result = score(program, test, mode=mode)
    assert (result, result.detail) == (1.0, "P")


def test_setup_builds_objects_of_the_program():
    setup = "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)"
    result = score(NODE, "assert height(root) == 3", "assert height(root.left) == 2", test_setup_code=setup)
    assert (result, result.detail) == (1.0, "PP")


@pytest.mark.parametrize(
    ("program", "test", "reason"),
    [
        ("def f(x): raise StopIteration", "assert all(map(f, [1, 2]))", "ProgramError"),
        ("def f(x): raise StopIteration", "assert list(map(f, [1, 2])) == []", "ProgramError"),
        ("class Yes(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef f(): return Yes('a')",
         "assert f() + '' == 'b' or f() == 'b'", "AssertionError"),
        ("class Long:\n    def __len__(self): return 3\n    def __iter__(self): return iter([9, 9, 9])\n"
         "def f(): return Long()", "assert sorted(f()) == [1, 2, 3]", "[9, 9, 9] is not [1, 2, 3]"),
        ("class Length(int): pass\nclass Long:\n    def __len__(self): return True\ndef f(): return Long()",
         "assert len(f()) == 2", "1 is not 2"),
        ("def f(): raise AssertionError", "assert f() == 1", "AssertionError"),
        ("import os\ndef f(): os._exit(0)", "assert all(f() for _ in range(2))", "exit status 0"),
        ("def f(x):\n    x.clear()\n    return []", "x = [3, 1]\nassert f(x) == sorted(x)", "returned [], expected"),
        ("def f(x): return [5]", "assert [1] == f(2)", "f returned [5], expected [1]"),
        ("def f():\n    while True: yield 1", "assert sum(f()) == 3", "does not end after 200,000 items"),
        ("from collections import deque\ndef f(x): return deque()", "assert f(1)", "AssertionError"),
        ("class No:\n    def __bool__(self): return False\ndef f(x): return No()", "assert f(1)", "AssertionError"),
    ],
)  # fmt: skip
def test_asserts_get_nothing_but_values_from_the_program(program, test, reason):
    result = score(program, test)
    assert result == 0.0
    assert reason in result.detail


YES = "class Yes:\n    def __eq__(self, o): return True\n    def __lt__(self, o): return True\ndef f(): return Yes()"


@pytest.mark.parametrize(
    ("program", "test", "setup", "reason"),
    [
        (STACK, "assert Stack() == [1]", "", "whose class, Stack, decides what it equals"),
        (STACK, "assert [1] == Stack()", "", "whose class, Stack, decides what it equals"),
        (STACK, "assert Stack() in [[1], 'x', 5]", "", "whose class, Stack, decides what it equals"),
        (YES, "assert f() < 5", "", "an object of the class Yes"),
        ("def sorted(x): return x", "assert set(sorted([2, 1])) == {1, 2}", "", "without calling the program"),
        ("def f(x): return x", "assert [f]", "", "without calling the program"),
        (ADD, "class A: pass\nassert add(A(), A())", "", "'A', an object of its own"),
        (ADD, "assert add(open('/dev/null'), 1)", "", "'TextIOWrapper', an object of its own"),
        (ADD, "import numpy as np\nassert add(np.array([1]), 1)", "", "numpy is not in the sandbox"),
        (ADD, "assert np.allclose(add(1, 2), 3)", "", "neither it nor the program defines np"),
        (ADD, "from nowhere import thing\nassert add(1, 2) == 3", "", "nowhere is not in the sandbox, nor thing"),
        (ADD, "assert add(1, 2) == ", "", "SyntaxError"),
        (ADD, "assert add(1, 2) == 3", "import pandas", "setup: ModuleNotFoundError|setup: ImportError"),
        (ADD, "assert add(1, 2) == 3", "x = 1 / 0", "setup: ZeroDivisionError"),
        (ADD, "assert add(1, 2) == 3", "def broken(:", "setup: SyntaxError"),
        (ADD, "assert add(1, 2) == 3", "class A(Missing): pass", "setup: NameError"),
        (NODE, "import copy\nassert copy.copy(Node(1)).value == 1", "", "copies an object"),
        ("class Text(str): pass\ndef f(): return Text('a')", "assert ''.join([f(), 'b']) == 'ab'", "", "TypeError"),
    ],
)  # fmt: skip
def test_a_test_that_cannot_run_is_no_fault_of_the_program(program, test, setup, reason):
    with pytest.raises(ValueError, match=reason):
        score(program, test, test_setup_code=setup)


@pytest.mark.parametrize("name", sorted(CHEATING))
def test_no_cheat_passes_asserts(name):
    test = "assert all(add(a, b) == a + b for a, b in [(2, 3), (10, 20)])"
    if name in DECIDES:
        with pytest.raises(ValueError, match="decides what it equals"):
            score(CHEATING[name], test, fenced=False)
    else:
        assert score(CHEATING[name], test, fenced=False) == 0.0


def test_the_detail_has_the_result_of_every_test():
    tests = ["assert add(2, 3) == 5", "assert add(1, 1) == 3", "assert add(1) == 1", "assert add(0, 0) == 0"]
    result = score(ADD, *tests)
    assert (result, dict(result.parts)) == (0.0, {"code.passed": 2.0, "code.tests": 4.0})
    assert result.detail == "PFEP; test 2: add returned 2, expected 3"
    assert score(ADD, *tests, partial=True) == 0.5


def test_a_program_that_hangs_fails_from_there_on():
    program = "def f(x):\n    while x: pass\n    return 0"
    result = score(program, "assert f(0) == 0", "assert f(1) == 0", "assert f(0) == 0", limits={"cpu_seconds": 30})
    assert result.detail == "PTT; test 2: no reply in time"


def test_nothing_is_started_after_the_time_limit(monkeypatch):
    started = []
    start = Sandbox.start
    monkeypatch.setattr(Sandbox, "start", lambda self, *arguments: started.append(1) or start(self, *arguments))
    pairs = {"inputs": ["", "1", "2", "3"], "outputs": ["5", "5", "5", "5"]}
    result = score("import sys\nprint(5)\ngiven = sys.stdin.read()\nwhile given: pass", input_output=pairs)
    assert (result.detail[:4], len(started)) == ("PTTT", 2)


@pytest.mark.parametrize("mode", MODES)
def test_standard_input_and_output(mode):
    pairs = {"inputs": ["2 3\n", "10 20\n", ""], "outputs": ["5", "30\n\n", "nothing"]}
    program = """
import sys
def main():
    line = sys.stdin.readline()
    if not line:
        print("nothing  ")
        sys.exit()
    print(sum(map(int, line.split())))
if __name__ == "__main__":
    main()
"""
    assert score(program, input_output=pairs, mode=mode) == 1.0
    assert score(program, answer=json.dumps(pairs), mode=mode) == 1.0
    assert score("a, b = map(int, input().split())\nprint(a + b)", input_output=pairs, partial=True) == 2 / 3


@pytest.mark.parametrize(
    "program",
    [
        "print(5)\nexit()",
        "import os, sys\nprint(5)\nsys.stdout.flush()\nos._exit(0)",
        "print(5)\nquit(0)\nprint(6)",
        "import sys\nprint(5)\nsys.stdout.close()",
        "import sys\nsys.stdout.write('5')\nsys.stdout = None",
        "import os, sys\nsys.stdout = os.fdopen(1, 'w')\nprint(5)\nsys.stdout.close()",
        "import atexit\natexit.register(print, 5)\nexit()",
        "import atexit, io, os, sys\nsys.stdout = io.StringIO()\n"
        "atexit.register(lambda: os.write(1, sys.stdout.getvalue().encode()))\nprint(5)",
        "import threading, time\ndef main():\n    time.sleep(0.1)\n    print(5)\nthreading.Thread(target=main).start()",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nprint(5)",
        "import atexit, threading\nt = threading.Timer(0.1, print, (5,))\nt.start()\natexit.register(lambda: 1 / 0)",
        "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor().submit(print, 5)",
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_scripts_end_as_without_a_sandbox(program, mode):
    result = score(program, input_output={"inputs": ["x\n"], "outputs": ["5"]}, mode=mode)
    assert (result, result.detail) == (1.0, "P")


@pytest.mark.parametrize(
    ("program", "mark"),
    [
        ("print(5)\nraise SystemExit(3)", "E"),
        ("print(5, file=__import__('sys').stderr)", "F"),
        ("import os\nos.write(1, b'5')\nos._exit(3)", "X"),
        ("import os\nos.write(1, b'6')\nos._exit(0)", "X"),
        ("import os\nos.close(1)", "F"),
        ("print(5)\nimport atexit, os\natexit.register(os._exit, 0)", "X"),
        ("print(5)\nimport threading\nthreading.Thread(target=threading.Event().wait).start()", "T"),
        ("print('5' * 10_000_000)", "O"),
        ("while True: print('5')", "O"),
        ("input()\nprint(5)\nwhile True: pass", "T"),
        ("x = open(0, 'wb', buffering=0)\nx.write(b'5')", "E"),
        ("import os\nos.write(3, b'\\0\\0\\0\\x095\\n[\"ended\"]')", "F"),
        ("import os\nos.write(3, b'\\0\\0\\0\\x12[\"unconfined\", \"x\"]')", "F"),
    ],
)  # fmt: skip
def test_programs_that_write_the_wrong_thing(program, mark):
    result = score(program, input_output={"inputs": ["x\n"], "outputs": ["5"]}, limits={"cpu_seconds": 30})
    assert result == 0.0
    assert result.detail[0] == mark


def test_sets_of_text_have_one_order():
    """A program whose result depends on the order is graded alike in every sandbox."""
    program = "def f(): return ''.join({'alpha', 'beta', 'gamma', 'delta'})"
    found = {score(program, f"assert f() == '{'x'}'").detail for _ in range(3)}
    assert len(found) == 1


def test_tests_themselves_run_in_the_sandbox(tmp_path):
    canary = tmp_path / "canary"
    result = score(ADD, f"open({str(canary)!r}, 'w').write('x')\nassert add(1, 2) == 3")
    assert result == 0.0
    assert not canary.exists()


def test_the_program_follows_the_reasoning():
    sandbox = {**sandbox_options(SandboxSection(seconds=2), 10.0), "mode": MODES[0]}
    wrong, right = "```python\ndef add(a, b): return 0\n```", f"```python\n{ADD}\n```"
    call = lambda text, **more: code(  # noqa: E731
        completion=text, answer="assert add(2, 3) == 5", metadata={}, sandbox=sandbox, **more
    )
    assert call(f"<think>{wrong}</think>{right}") == 1.0
    assert call(f"{right}", prompt="Add. <think>\n").detail == "the reasoning does not end"
    assert call(f"<think>{right}").detail == "the reasoning does not end"
    assert call(f"{wrong} FINAL {right}", reasoning_end="FINAL") == 1.0
    assert call(f"{right} FINAL {wrong}", reasoning_end="FINAL") == 0.0


def test_output_is_compared_exactly_by_option():
    pairs = {"inputs": [""], "outputs": ["0.50\n1"]}
    assert score("print(0.5, 1)", input_output=pairs) == 1.0
    assert score("print(0.5, 1)", input_output=pairs, exact_output=True) == 0.0
    assert score("print('0.50 \\n1')", input_output=pairs, exact_output=True) == 1.0


def test_hostile_values_end_within_the_limit():
    """A value that takes long to read or compare takes its time in the sandbox."""
    program = "def f():\n    return [frozenset((i * (2**61 - 1),)) for i in range(90)], 16 ** 200_000, Huge()\n"
    program += "class Huge(list):\n    def __iter__(self):\n        while True: yield 1\n"
    begin = time.monotonic()
    assert score(program, "assert f() == 5") == 0.0
    assert (
        score(
            "from fractions import Fraction\ndef f(): return [Fraction(3 ** 40_000, 7 ** 30_000)] * 5",
            "assert f() == 5",
        )
        == 0.0
    )
    assert time.monotonic() - begin < 6
