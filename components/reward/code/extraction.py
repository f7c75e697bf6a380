"""The program in a completion: a fenced block of Markdown, a part between `[BEGIN]` and `[DONE]`, or plain text.

Completions are looked at as text only. Parsing them is left to the sandbox: text can be written that ends the
process of Python that parses it.
"""

import re
from collections.abc import Iterable

Source = tuple[str, bool]
"""A text, and whether prose may follow a whole program in it."""

# Possessive throughout: to try again with less of a long line would take the square of its length.
_FENCE = re.compile(
    r"""^[ \t]*(?P<mark>`{3,}+|~{3,}+)[ \t]*+(?P<language>[\w+.-]*+)[^\n`]*+\n  # opens, with its language
    (?P<text>.*?)
    (?:^[ \t]*(?P=mark)[`~]*[ \t]*$|\Z)                                          # closes, or the completion was cut off
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_MARKED = re.compile(r"\[BEGIN\][ \t]*\n(?P<text>.*?)(?:\[DONE\]|\Z)", re.DOTALL)
_PYTHON = {"python", "python3", "py", "py3"}
_PERHAPS_PYTHON = {"", "python-repl"}
_FIRST_LINE = re.compile(
    r"^(?:(?:def|async def|class|import|from|if|for|while|try|with)\b|@\w|print\(|\w+(?:,[ \t]*\w+)*[ \t]*=)",
    re.MULTILINE,
)
_DEFINITION = re.compile(r"^([ \t]*)(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)", re.MULTILINE)
_IMPORT = re.compile(r"^(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+([\w., \t]+)", re.MULTILINE)
_WORD = re.compile(r"\w+")


def programs(completion: str, names: Iterable[str]) -> list[Source]:
    """Texts to try in turn, of which the first that is Python is the program.

    Of several blocks the last that defines one of `names` goes first, else the last; with it go those that define or
    import what it uses.
    """
    text = completion.rpartition("</think>")[2]
    if groups := _groups(text):
        wanted = set(names)
        fitting = [(group, index) for group in groups if (index := _last_with(wanted, group)) is not None]
        group, index = fitting[0] if fitting else (groups[0], len(groups[0]) - 1)
        return [(t, False) for t in dict.fromkeys((_with_helpers(group, index), group[index], "\n".join(group)))]
    first = _FIRST_LINE.search(text)
    return [(text, False), *([(text[first.start() :], True)] if first else [])]


def _groups(text: str) -> list[list[str]]:
    """Blocks that say they are Python, then those that look like it, then the rest: often it is input or output."""
    fenced = [(match["language"].lower(), _dedented(match["text"])) for match in _FENCE.finditer(text)]
    tagged = [block for language, block in fenced if language in _PYTHON]
    others = [block for language, block in fenced if language in _PERHAPS_PYTHON]
    likely = [block for block in others if _FIRST_LINE.search(block)]
    groups = [group for group in (tagged, likely, others) if group]
    marked = [_dedented(match["text"]) for match in _MARKED.finditer(text)]
    return groups or ([marked] if marked else [])


def _last_with(names: set[str], blocks: list[str]) -> int | None:
    """Where the last block is that defines one of `names`, at whatever depth."""
    fitting = [i for i, block in enumerate(blocks) if names & {name for _, name in _DEFINITION.findall(block)}]
    return fitting[-1] if fitting else None


def _with_helpers(blocks: list[str], index: int) -> str:
    """A block and all others that it needs, directly or not, in the order in which they stand."""
    bound = [_bound(block) for block in blocks]
    owners = {name: i for i, names in enumerate(bound) for name in names}
    taken = {index}
    waiting = [index]
    while waiting:
        current = waiting.pop()
        # What the block itself defines is not looked for elsewhere: other blocks may hold earlier attempts.
        used = set(_WORD.findall(blocks[current])) - bound[current] - bound[index]
        needed = {owners[name] for name in used & owners.keys()} - taken
        taken |= needed
        waiting += needed
    return "\n".join(blocks[i] for i in sorted(taken))


def _bound(block: str) -> set[str]:
    """Names that a block defines or imports at its margin."""
    imported = {word for line in _IMPORT.findall(block) for word in _WORD.findall(line)}
    return imported | {name for margin, name in _DEFINITION.findall(block) if not margin}


def _dedented(block: str) -> str:
    """A block within a list is indented as a whole."""
    lines = block.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
