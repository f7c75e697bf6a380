"""Extraction of the program from a completion."""

import time

import pytest

from components.sandbox.extraction import find_programs

PROGRAM = "def f(x):\n    return x\n"


@pytest.mark.parametrize(
    "completion",
    [
        f"Here it is:\n```python\n{PROGRAM}```\nThat is all.",
        f"```py\n{PROGRAM}```",
        f"```\n{PROGRAM}```",
        f"~~~python\n{PROGRAM}~~~",
        f"````Python\n{PROGRAM}````",
        f"```python\n{PROGRAM}",
        f"```python\ndef f(x): ...\n```\nBetter:\n```python\n{PROGRAM}```",
        f"```python\n{PROGRAM}```\nUse it:\n```python\nprint(f(3))\n```",
        f"```python\n{PROGRAM}```\nOutput:\n```text\ndef f(x): 3\n```",
        f"```bash\npython f.py\n```\n```python\n{PROGRAM}```",
        f"<think>```python\ndef f(x): pass\n```</think>\n```python\n{PROGRAM}```",
        f"[BEGIN]\n{PROGRAM}[DONE]\nmore",
        "1. So:\n   ```python\n" + "".join(f"   {line}\n" for line in PROGRAM.splitlines()) + "   ```\n",
        PROGRAM,
    ],
)
def test_the_fitting_part_goes_first(completion):
    text, _ = find_programs(completion, ["f"])[0]
    assert text.strip() == PROGRAM.strip()


def test_prose_around_a_plain_program_is_cut_off():
    sources = find_programs(f"Sure, here is the program.\n\n{PROGRAM}\nIt works because x is x.", ["f"])
    assert sources[0][1] is False
    assert sources[1] == (f"{PROGRAM}\nIt works because x is x.", True)


def fenced(*blocks, language="python"):
    return "\nand\n".join(f"```{language}\n{block}\n```" for block in blocks)


@pytest.mark.parametrize(
    ("blocks", "needed"),
    [
        (["import math", "def f(x): return math.pi"], [0, 1]),
        (["from math import (pi)\nfrom os import path, sep as s", "def f(x): return s"], [0, 1]),
        (["def f(x): return g(x)", "def g(x): return h(x)", "class h: ...", "def i(): ..."], [0, 1, 2]),
        (["def f(x): return h(x)\ndef h(x): ...", "def f(x): return h(x)"], [0, 1]),
        (["def f(x): pass", "def f(x): return x", "from a import f\ndef main(): f(3)\nmain()"], [1]),
        (["def g(x): return f(x)\nprint(g(3))", "def f(x): return g(x)\ndef g(x): return x"], [1]),
        (["def g(x): 1 / 0", "def f(x): return g(x)", "def g(x): return x"], [1, 2]),
        (["class A:\n    def g(self): ...", "def f(x): return x.g()"], [1]),
    ],
)
def test_what_a_block_uses_comes_with_it(blocks, needed):
    assert find_programs(fenced(*blocks), ["f"])[0] == ("\n".join(f"{blocks[i]}\n" for i in needed), False)


def test_a_block_alone_and_all_of_them_are_the_other_choices():
    sources = find_programs(fenced("def g(x): return (", "def f(x): return g(x)", ")"), ["f"])
    assert [text.count("\n") for text, _ in sources] == [3, 1, 5]


@pytest.mark.parametrize(
    "completion",
    [
        f"{fenced('print(input())')}\nOutput:\n{fenced('9', language='')}",
        f"{fenced('print(input())')}\nOutput:\n{fenced('x = 9', language='')}",
        f"{fenced('print(input())', language='')}\nOutput:\n{fenced('9', language='')}",
        f"{fenced('print(input())')}\nOutput:\n{fenced('>>> 9', language='python-repl')}",
        fenced("print(9)", "print(input())"),
        fenced("print(input())", language=""),
        f"{fenced('print(input())', language='')}\nOutput:\n{fenced('1, 2, 3', language='')}",
    ],
)
def test_shown_output_is_not_taken_for_the_program(completion):
    assert find_programs(completion, [])[0][0].strip() == "print(input())"


def test_a_program_that_begins_with_several_names_looks_like_one():
    completion = "```\na, b = map(int, input().split())\n```\n```\n9 3\n```"
    assert find_programs(completion, [])[0][0] == "a, b = map(int, input().split())\n"


@pytest.mark.parametrize(
    ("blocks", "needed"),
    [
        (["LIMIT = 3", "def f(x): return LIMIT"], [0, 1]),
        (["memo: dict[int, int] = {}", "def f(x): return memo"], [0, 1]),
        (["x = [1, 2]", "def f(x): return x"], [1]),
        (["total = 5", "def f(y):\n    total = y\n    return total"], [1]),
        (["item = 5\nprint(f(item))", "def f(y):\n    for z in y: item\n    return y"], [1]),
    ],
)
def test_constants_come_with_what_uses_them(blocks, needed):
    assert find_programs(fenced(*blocks), ["f"])[0] == ("\n".join(f"{blocks[i]}\n" for i in needed), False)


def test_a_body_continues_the_beginning():
    beginning = 'def f(x):\n    """ Return x. """\n'
    texts = [text for text, _ in find_programs("if x:\n    return x\nreturn 0", ["f"], beginning)]
    assert beginning + "    if x:\n        return x\n    return 0" in texts
    assert find_programs("    return x\n", ["f"], beginning)[0][0] == beginning + "    return x"
    assert find_programs(PROGRAM, ["f"], beginning)[0] == (PROGRAM, False)


def test_an_untagged_block_counts_where_it_alone_defines_what_is_asked_for():
    completion = f"{fenced('def f(x): ...', language='')}\nUse:\n{fenced('print(f(3))')}"
    assert find_programs(completion, ["f"])[0][0] == "def f(x): ...\n"


@pytest.mark.parametrize(
    "completion",
    [
        fenced(*(f"def f{i}(x): return f{i + 1}(x)" for i in range(5000))),
        "~" * 50_000 + "a" * 50_000 + "`\n",
        "```" + " " * 50_000 + "a" * 50_000 + "`\n",
        "~~~\n" + "~" * 100_000 + "x\n",
        " " * 100_000 + "x\n",
        "~~~a\n" * 20_000,
        "import " + "a, " * 30_000,
        "> ```\n" * 20_000,
        "```python\nx```\n" * 10_000,
        "- " * 30_000 + "```",
        "```markdown\n```python\n" * 5_000,
        "```" + "*" * 100_000 + "\n" + "```" + " " * 100_000 + "x",
        "X" * 100_000 + " = 1\n" + "a: " + "b" * 100_000,
    ],
    ids=range(13),
)
def test_long_completions_cost_little(completion):
    begin = time.monotonic()
    find_programs(completion, ["f0"])
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("completion", ["", "I do not know.", "```", "```python", "`" * 5000, "```python\n" * 500])
def test_every_text_gives_something_to_try(completion):
    assert all(isinstance(text, str) for text, _ in find_programs(completion, ["f", "g("]))
