"""Extraction of the program from a text: a fenced Markdown block, a part between `[BEGIN]` and `[DONE]`, or all of it.

The text is searched but never parsed as Python here: some texts crash the interpreter that parses them. That is left
to the sandbox.
"""

import re
from collections.abc import Iterable

Source = tuple[str, bool]
"""A text, and whether prose may follow the program in it."""

# Possessive throughout: backtracking over a long line would take time quadratic in its length.
_FENCE = re.compile(
    r"""^[ \t]*(?P<mark>`{3,}+|~{3,}+)[ \t]*+(?P<language>[\w+.-]*+)[^\n`]*+\n  # opens, with its language
    (?P<text>.*?)
    (?:^[ \t]*(?P=mark)[`~]*[ \t]*$|\Z)                                          # closes, or the text was cut off
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_MARKED = re.compile(r"\[BEGIN\][ \t]*\n(?P<text>.*?)(?:\[DONE\]|\Z)", re.DOTALL)
_PYTHON = {"python", "python3", "py", "py3"}
_MAYBE_PYTHON = {"", "python-repl"}
_FIRST_LINE = re.compile(
    r"^(?:(?:def|async def|class|import|from|if|for|while|try|with)\b|@\w|print\(|\w+(?:,[ \t]*\w+)*[ \t]*=)",
    re.MULTILINE,
)
_DEFINITION = re.compile(r"^([ \t]*)(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", re.MULTILINE)
_IMPORT = re.compile(r"^(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+([\w., \t]+)", re.MULTILINE)
_WORD = re.compile(r"\w+")


def find_programs(text: str, names: Iterable[str]) -> list[Source]:
    """Return candidates in order of preference; the first one that compiles is the program.

    Of several blocks the last one that defines one of `names` comes first, else the last block, together with the
    blocks that define or import what it uses.
    """
    text = text.rpartition("</think>")[2]
    if groups := _groups(text):
        wanted = set(names)
        fitting = [(group, index) for group in groups if (index := _last_with(wanted, group)) is not None]
        group, index = fitting[0] if fitting else (groups[0], len(groups[0]) - 1)
        return [(t, False) for t in dict.fromkeys((_with_helpers(group, index), group[index], "\n".join(group)))]
    first = _FIRST_LINE.search(text)
    return [(text, False), *([(text[first.start() :], True)] if first else [])]


def _groups(text: str) -> list[list[str]]:
    """Return blocks tagged as Python, then untagged ones that look like it, then the rest, often input or output."""
    fenced = [(match["language"].lower(), _dedented(match["text"])) for match in _FENCE.finditer(text)]
    tagged = [block for language, block in fenced if language in _PYTHON]
    others = [block for language, block in fenced if language in _MAYBE_PYTHON]
    likely = [block for block in others if _FIRST_LINE.search(block)]
    groups = [group for group in (tagged, likely, others) if group]
    marked = [_dedented(match["text"]) for match in _MARKED.finditer(text)]
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
        used = set(_WORD.findall(blocks[current])) - bound[current] - bound[index]
        needed = {owners[name] for name in used & owners.keys()} - taken
        taken |= needed
        waiting += needed
    return "\n".join(blocks[i] for i in sorted(taken))


def _bound(block: str) -> set[str]:
    """Return the names that a block defines or imports at its top level."""
    imported = {word for line in _IMPORT.findall(block) for word in _WORD.findall(line)}
    return imported | {name for margin, name in _DEFINITION.findall(block) if not margin}


def _dedented(block: str) -> str:
    """Remove the common margin: a block within a Markdown list is indented as a whole."""
    lines = block.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
