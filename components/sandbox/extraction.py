"""Extraction of the program from a text: a fenced Markdown block, a part between `[BEGIN]` and `[DONE]`, or all of it.

The text is searched but never parsed as Python here: some texts crash the interpreter that parses them. That is left
to the sandbox.
"""

import re
import textwrap
from collections.abc import Iterable

from components.sandbox.markdown import fenced_blocks

Source = tuple[str, bool]
"""A text, and whether prose may follow the program in it."""

_MARKED = re.compile(r"\[BEGIN\][ \t]*\n(?P<text>.*?)(?:\[DONE\]|\Z)", re.DOTALL)
_PYTHON = {"python", "python3", "py", "py3", "python2", "ipython", "cpython", "pypy", "pypy3"}
_MAYBE_PYTHON = {"", "python-repl"}
_FIRST_LINE = re.compile(
    r"^(?:(?:def|async def|class|import|from|if|for|while|try|with)\b|@\w|print\(|\w+(?:,[ \t]*\w+)*[ \t]*=)",
    re.MULTILINE,
)
_DEFINITION = re.compile(r"^([ \t]*)(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", re.MULTILINE)
_IMPORT = re.compile(r"^(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+([\w., \t]+)", re.MULTILINE)
_CONSTANT = re.compile(
    r"^(?P<name>[A-Za-z_]\w*)[ \t]*(?::[^=\n]{1,80})?=[ \t]*(?:(?<=[A-Z0-9_] = )\S|[-\d\"'\[{(]|None\b|True\b|False\b)",
    re.MULTILINE,
)
_ASSIGNED = re.compile(r"\b(\w+)[ \t]*(?:[-+*/%]|//|\*\*)?=(?!=)|\bfor[ \t]+(\w+)|\bas[ \t]+(\w+)")
_PARAMETERS = re.compile(r"(?:\bdef[ \t]+\w+[ \t]*\(|\blambda\b)([^):\n]*)")
_EXAMPLE = re.compile(r"^(?:print\(|assert\b|for\b|while\b|input\()", re.MULTILINE)
_WORD = re.compile(r"\w+")


def find_programs(text: str, names: Iterable[str], beginning: str = "") -> list[Source]:
    """Return candidates in order of preference; the first one that compiles is the program.

    Of several blocks the last one that defines one of `names` comes first, else the last block, together with the
    blocks that define or import what it uses.

    Args:
        beginning: what the program may continue: imports and the function without its body, as in HumanEval.
    """
    sources = _whole_programs(text, names)
    if beginning and not any(_defines(source, names) for source, _ in sources):
        return [*_continued(beginning, sources[0][0] if sources else text), *sources]
    return sources


def _continued(beginning: str, text: str) -> list[Source]:
    """Return the beginning with a text as its body, which may lack the margin of its first line or of all."""
    body = text.strip("\n")
    first, _, rest = body.partition("\n")
    indented = textwrap.indent(textwrap.dedent(body), "    ")
    bodies = [body] if first.startswith((" ", "\t")) else [f"    {first}\n{rest}", indented]
    return [(f"{beginning.rstrip()}\n{body}", cut) for cut in (False, True) for body in bodies]


def _defines(text: str, names: Iterable[str]) -> bool:
    return bool({name for _, name in _DEFINITION.findall(text)} & set(names))


def _whole_programs(text: str, names: Iterable[str]) -> list[Source]:
    if groups := _groups(text):
        wanted = set(names)
        fitting = [(group, index) for group in groups if (index := _last_with(wanted, group)) is not None]
        group, index = fitting[0] if fitting else (groups[0], len(groups[0]) - 1)
        return [(t, False) for t in dict.fromkeys((_with_helpers(group, index), group[index], "\n".join(group)))]
    first = _FIRST_LINE.search(text)
    return [(text, False), *([(text[first.start() :], True)] if first else [])]


def _groups(text: str) -> list[list[str]]:
    """Return blocks tagged as Python, then untagged ones that look like it, then the rest, often input or output."""
    fenced = fenced_blocks(text)
    tagged = [block for language, block in fenced if language in _PYTHON]
    others = [block for language, block in fenced if language in _MAYBE_PYTHON]
    likely = [block for block in others if _FIRST_LINE.search(block)]
    groups = [group for group in (tagged, likely, others) if group]
    marked = [textwrap.dedent(match["text"]) for match in _MARKED.finditer(text)]
    return groups or ([marked] if marked else [])


def _last_with(names: set[str], blocks: list[str]) -> int | None:
    """Return the index of the last block that defines one of `names`, at any depth."""
    fitting = [i for i, block in enumerate(blocks) if names & {name for _, name in _DEFINITION.findall(block)}]
    return fitting[-1] if fitting else None


def _with_helpers(blocks: list[str], index: int) -> str:
    """Join a block and all blocks that it needs, directly or not, in their order."""
    bound = [_bound(block) for block in blocks]
    owners = {name: i for i, names in enumerate(bound) for name in names}
    taken = {index}
    waiting = [index]
    while waiting:
        current = waiting.pop()
        # Names that the block itself defines are not searched elsewhere: other blocks may hold earlier attempts.
        assigned = {name for names in _ASSIGNED.findall(blocks[current]) for name in names}
        assigned |= {word for line in _PARAMETERS.findall(blocks[current]) for word in _WORD.findall(line)}
        used = set(_WORD.findall(blocks[current])) - bound[current] - bound[index] - assigned
        needed = {owners[name] for name in used & owners.keys()} - taken
        taken |= needed
        waiting += needed
    return "\n".join(blocks[i] for i in sorted(taken))


def _bound(block: str) -> set[str]:
    """Return the names that a block defines or imports at its top level, constants too."""
    imported = {word for line in _IMPORT.findall(block) for word in _WORD.findall(line)}
    if not _EXAMPLE.search(block):
        imported |= {match["name"] for match in _CONSTANT.finditer(block)}
    return imported | {name for margin, name in _DEFINITION.findall(block) if not margin}
