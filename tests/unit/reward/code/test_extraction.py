"""Finding the program in a completion."""

import pytest

from components.reward.code.extraction import programs

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
    text, _ = programs(completion, ["f"])[0]
    assert text.strip() == PROGRAM.strip()


def test_prose_around_a_plain_program_is_cut_off():
    sources = programs(f"Sure, here is the program.\n\n{PROGRAM}\nIt works because x is x.", ["f"])
    assert sources[0][1] is False
    assert sources[1] == (f"{PROGRAM}\nIt works because x is x.", True)


def test_blocks_that_belong_together_are_the_second_choice():
    sources = programs("```python\nimport math\n```\nand\n```python\ndef f(x): return math.pi\n```", ["f"])
    assert sources[1] == ("import math\n\ndef f(x): return math.pi\n", False)


@pytest.mark.parametrize("completion", ["", "I do not know.", "```", "```python", "`" * 5000, "```python\n" * 500])
def test_every_text_gives_something_to_try(completion):
    assert all(isinstance(text, str) for text, _ in programs(completion, ["f", "g("]))
