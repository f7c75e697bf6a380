"""The program in a completion: a fenced block of Markdown, a part between `[BEGIN]` and `[DONE]`, or plain text.

Completions are looked at as text only. Parsing them is left to the sandbox: text can be written that ends the
process of Python that parses it.
"""

import re
from collections.abc import Iterable

Source = tuple[str, bool]
"""A text, and whether prose may follow a whole program in it."""

_FENCE = re.compile(
    r"""^[ \t]*(?P<mark>`{3,}|~{3,})[ \t]*(?P<language>[\w+.-]*)[^\n`]*\n   # opens, with its language
    (?P<text>.*?)
    (?:^[ \t]*(?P=mark)[`~]*[ \t]*$|\Z)                                       # closes, or the completion was cut off
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_MARKED = re.compile(r"\[BEGIN\][ \t]*\n(?P<text>.*?)(?:\[DONE\]|\Z)", re.DOTALL)
_PYTHON = {"", "python", "python3", "py", "py3", "python-repl"}
_FIRST_LINE = re.compile(
    r"^(?:(?:def|async def|class|import|from|if|for|while|try|with)\b|@\w|print\(|\w+[ \t]*=)", re.MULTILINE
)


def programs(completion: str, names: Iterable[str]) -> list[Source]:
    """Texts to try in turn, of which the first that is Python is the program.

    Of several blocks the last that defines one of `names` goes first, else the last.
    """
    text = completion.rpartition("</think>")[2]
    blocks = [m["text"] for m in _FENCE.finditer(text) if m["language"].lower() in _PYTHON]
    blocks = blocks or [m["text"] for m in _MARKED.finditer(text)]
    if blocks:
        alternatives = "|".join(map(re.escape, names))
        defines = re.compile(rf"^[ \t]*(?:(?:async[ \t]+)?def|class)[ \t]+(?:{alternatives})\b", re.MULTILINE)
        fitting = [block for block in blocks if defines.search(block)] if alternatives else []
        best = (fitting or blocks)[-1]
        return [(_dedented(best), False), *([("\n".join(blocks), False)] if len(blocks) > 1 else [])]
    first = _FIRST_LINE.search(text)
    return [(text, False), *([(text[first.start() :], True)] if first else [])]


def _dedented(block: str) -> str:
    """A block within a list is indented as a whole."""
    lines = block.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
