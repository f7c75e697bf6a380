"""Fenced blocks of Markdown, as models write it.

`markdown-it-py` parses the text. What models write and Markdown does not allow is put right before: text before or
after a fence on its line, and a fence at the end of the last line of code.
"""

import re
from functools import cache
from typing import NamedTuple

from markdown_it import MarkdownIt

_OPENING = re.compile(r"(?P<before>[^`~]{0,300})(?P<mark>`{3,}+|~{3,}+)(?P<info>[^`]{0,300})")
_MARKER = re.compile(r"[\s>*_+\d.)#|:-]*")
_LANGUAGE = re.compile(r"[ \t]*[\[({.=]*(?P<language>[\w+#-]*)")
_LANGUAGES = {
    "bash", "c", "console", "cpp", "java", "javascript", "js", "json", "lean", "lean4", "markdown", "md", "output",
    "plain", "plaintext", "py", "py3", "pycon", "python", "python3", "sh", "shell", "text", "txt",
}  # fmt: skip
_OTHER_TEXT = {"markdown", "md"}
_DEEPEST = 3
_INDENTATION = 3


class Block(NamedTuple):
    """A fenced block and its language in lower case, empty where none is named."""

    language: str
    text: str


def fenced_blocks(text: str, depth: int = 0) -> list[Block]:
    """Return the fenced blocks of a text in order, and those within blocks of Markdown; the last may lack its end."""
    blocks = []
    for token in _parser().parse(_corrected(text)):
        if token.type == "fence":
            language = _language(token.info)
            inner = fenced_blocks(token.content, depth + 1) if language in _OTHER_TEXT and depth < _DEEPEST else []
            blocks += inner or [Block(language, _dedented(token.content))]
    return blocks


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("zero", {"maxNesting": 4}).enable(["fence", "blockquote", "code"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser


class _Opened(NamedTuple):
    mark: str
    indentation: int
    quoted: bool
    language: str


def _corrected(text: str) -> str:
    """Put every fence on a line of its own, at its beginning unless in a quotation."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    follows_opening = _before_openings(lines)
    corrected: list[str] = []
    opened: _Opened | None = None
    for number, line in enumerate(lines):
        ended = _closing(line, opened, follows_opening[number]) if opened is not None else None
        if opened is not None and ended is not None:
            before, after = ended
            corrected += [*([before] if before else []), "> " * opened.quoted + opened.mark]
            opened, line = None, after
        if opened is not None:
            corrected.append(line)
        elif (found := _opening(line)) is not None:
            opened, before = found
            fence = "> " * opened.quoted + opened.mark + opened.language
            corrected += [*([before] if before else []), fence]
        else:
            corrected.append(line)
    return "\n".join(corrected)


def _opening(line: str) -> tuple[_Opened, str] | None:
    """Return the block that a line opens, and the text before the fence."""
    match = _OPENING.fullmatch(line)
    if match is None:
        return None
    before, language = match["before"], _language(match["info"])
    marker = _MARKER.fullmatch(before) is not None
    if not marker and (language not in _LANGUAGES or match["mark"].startswith("~")):
        return None
    indentation = len(before.expandtabs(4)) if marker else 0
    opened = _Opened(match["mark"], indentation, marker and ">" in before, language)
    return opened, "" if marker else before


def _closing(line: str, opened: _Opened, before_opening: bool) -> tuple[str, str] | None:
    """Return what stands before and after the fence that ends a block; None where the line does not end it."""
    text = line.lstrip(" \t>") if opened.quoted else line.lstrip(" \t")
    indentation = 0 if opened.quoted else len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
    if text.startswith(opened.mark):
        if indentation > opened.indentation + _INDENTATION:
            return None
        after = text.lstrip(opened.mark[0])
        if after.strip().lower() in _LANGUAGES:  # the next block, where this one was not closed
            return None if opened.language in _OTHER_TEXT else ("", opened.mark + after)
        return "", after.strip(" \t*_")
    code = line.rstrip(" \t*")
    if before_opening and code.endswith(opened.mark):
        code = code.rstrip(opened.mark[0])
        if code.strip() and opened.mark[0] not in code:
            return code, ""
    return None


def _before_openings(lines: list[str]) -> list[bool]:
    """Return for each line whether no fence follows that could only close a block."""
    found = [True] * len(lines)
    for number in range(len(lines) - 2, -1, -1):
        match = _OPENING.fullmatch(lines[number + 1])
        if match is None or _MARKER.fullmatch(match["before"]) is None:
            found[number] = found[number + 1]
        else:
            found[number] = _language(match["info"]) in _LANGUAGES
    return found


def _language(info: str) -> str:
    match = _LANGUAGE.match(info)
    return match["language"].lower() if match else ""


def _dedented(block: str) -> str:
    """Remove the common margin: a block within a Markdown list is indented as a whole."""
    lines = block.split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[margin:] for line in lines)
