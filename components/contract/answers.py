"""Extraction of the final answer from a completion, by the marks that data sets and models share.

All graders use it, and majority votes. Every function takes time linear in the length of the text.
"""

import re
from collections.abc import Iterator
from typing import Literal, get_args

Style = Literal["auto", "boxed", "####", "A:", "last"]
STYLES = get_args(Style)

NUMBER = re.compile(
    r"""(?P<sign>(?<![\w.)\]}])[-+\u2212])?       # a sign counts only where it cannot stand between two operands
    (?:\\?[$€£])?
    (?P<digits>(?:\d{1,3}(?:(?:,|\{,\}|\\,|,\\!)\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    (?P<exponent>[eE][-+]?\d{1,3}(?!\d))?
    (?:\s?/\s?(?P<denominator>\d+(?:\.\d+)?))?
    """,
    re.VERBOSE,
)
REASONING = {
    "</think>": "<think>",
    "</thinking>": "<thinking>",
    "</thought>": "<thought>",
    "</reasoning>": "<reasoning>",
    "[/THINK]": "[THINK]",
    "<|end_of_thought|>": "<|begin_of_thought|>",
    "\u25c1/think\u25b7": "\u25c1think\u25b7",
}
"""The mark that ends a model's reasoning, and the mark that begins it."""

_HASHES = re.compile(r"(?<!\#)\#{4}(?!\#)([^\n#]*)")
_ANSWER_LIKE = re.compile(
    r"[^\S\n]*[*_$€£¥`]*(?:[-+\u2212]?\s?(?:\\?[$€£¥]|[\d.\\(\[{|√½⅓⅔¼¾π∞∅])|[a-zA-Z](?:\([a-zA-Z]\))?\s?=|\(?[A-Z]\)?[*_.]*\s*$)"
)
_NUMBERED_HEADING = re.compile(r"\s*\d+[.)]\s+[A-Z][a-z]")
_MARKER = re.compile(
    r"""\bA:
    | (?i:\bfinal\s{1,4}answer[*_:.\s]{0,8}\n)
    | (?i:\banswer[*_]*(?:\s(?:to|for)\s[^.:\n]{1,40}?)?
          \s{0,4}(?:is\b|:|=|equals\b|(?:would|must|should|will)\sbe\b))[*_]*:?
    """,
    re.VERBOSE,
)
_NO_ANSWER = re.compile(r"(?i:(?:correct|incorrect|right|wrong|clear|unique|given|obtained|found|therefore|that|in)\b)")
_TRIES = 20
_MOST_WORDS = 5
_BOX = re.compile(
    r"\\(?:boxed|fbox)(?![a-zA-Z])(?:\s*(?P<brace>\{)|\s+(?P<word>[^\s$\\{}]+)|(?P<digit>\d))|\\.|[{}]", re.DOTALL
)
_BETWEEN_BOXES = {"", "and", "or", "text{and", "text{or", "text{, and", "text{,"}
_LONGEST_BETWEEN = 60
_DELIMITER = re.compile(r"\\[$()\[\]\\]|\$\$?")
_CLOSING = {"$": "$", "$$": "$$", "\\(": "\\)", "\\[": "\\]"}
_TEXT = re.compile(r"\\[a-zA-Z]+(?:\s?\{[a-zA-Z ,.]*\})?")
_PROSE = re.compile(r"[a-zA-Z]{3,}[,.]?\s|\s[a-zA-Z]{3,}")
_EMPHASIS = re.compile(r"(?<![\w)}])\*\*+|\*\*+(?![\w(\\])|__+|`")
_LEADING_WORDS = re.compile(r"(?:[a-zA-Z][a-zA-Z']+:? )+(?=[-+\u2212\d\\$€£¥(\[{.|√½])")
# Words before a number that make another one of it.
_CHANGES = re.compile(
    r"(?i:\b(?:not?|neither|never|nor|negative|minus|plus|less|fewer|more|greater|than|least|most|under|over|above|below|"
    r"between|half|twice|double|square|cube|root|sqrt|sin|cos|tan|log|ln|exp|if|unless|because|since|which|where|when|so|but)\b)"
)
_END_OF_ANSWER = re.compile(
    r"""[.?](?=\s|$) | [;!](?=\s[a-zA-Z]{2}) | ,(?=\s(?!and\b|or\b|not\b)[a-zA-Z]{2})
    | \s(?:[-\u2013\u2014]+\s)(?=[a-zA-Z]{2})
    | \s\((?!mod\b|or\b|and\b|not\b)(?=[a-zA-Z]{2})
    | \s(?:which|because|since|so|where|when|for|as|that|but|if|while|after|before|from|once|given|by|of|with|at|on|
           each|every|altogether|left|all|total)\b
    | \sin(?=\s[a-z])""",
    re.VERBOSE,
)


def without_reasoning(completion: str, prompt: str = "", end: str | None = "auto") -> str | None:
    """Return the part of a completion after its reasoning; None where the reasoning does not end.

    Args:
        prompt: the rendered prompt, at whose end a chat template may begin the reasoning.
        end: the mark that ends the reasoning; a completion without it has no answer. `auto` cuts at the marks in
            `REASONING`, and requires one only if the reasoning was begun. None keeps the whole completion.
    """
    if end is None:
        return completion
    if end != "auto":
        _, found, answer = completion.rpartition(end)
        return answer if found else None
    for closing, opening in REASONING.items():
        _, found, answer = completion.rpartition(closing)
        if opening in answer or (not found and prompt.rstrip().endswith(opening)):
            return None
        completion = answer
    return completion


def final_answer(text: str, style: Style = "auto", prompt: str = "", reasoning_end: str | None = None) -> str | None:
    r"""Return the final answer of a completion as it is written; None where there is none in that style.

    | style   | the answer                                                                    |
    |---------|-------------------------------------------------------------------------------|
    | `boxed` | the content of the last `\boxed{}`; boxes joined by commas or `and` are a list |
    | `####`  | what follows the last `####` on its line (GSM8K)                                |
    | `A:`    | what follows the last `A:`, `Answer:` or `answer is`                            |
    | `last`  | the last number, with the formula around it                                   |
    | `auto`  | the first of these that is there; a Markdown heading `#### ...` is passed over  |

    Prose around an answer is cut off. `prompt` and `reasoning_end` are those of `without_reasoning`.
    """
    answer = without_reasoning(text, prompt, reasoning_end)
    if answer is None:
        return None
    match style:
        case "boxed":
            return last_boxed(answer)
        case "####":
            return _after_hashes(answer) or _after_hashes(answer, any_text=True)
        case "A:":
            return _after_marker(answer)
        case "last":
            return _last(answer)
    return marked_answer(answer) or _last(answer)


def marked_answer(text: str) -> str | None:
    """Return the answer that a mark shows, in the order of `auto`; None without a mark."""
    for find in (last_boxed, _after_hashes, _after_marker):
        if (answer := find(text)) is not None:
            return answer
    return None


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last `\boxed{...}`, with the boxes before it in the same list; None without one.

    A box that is never closed reaches to the end of its line.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    joined = [boxes.pop()]
    while boxes and joined[-1][0] - boxes[-1][1] <= _LONGEST_BETWEEN:
        if text[boxes[-1][1] : joined[-1][0]].strip(" \t\n$.,;}\\()[]") not in _BETWEEN_BOXES:
            break
        joined.append(boxes.pop())
    return ", ".join(dict.fromkeys(content for _, _, content in reversed(joined))) or None


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Return begin, end and content of the outermost boxes, in order."""
    boxes: list[tuple[int, int, str]] = []
    opened: list[tuple[int, int] | None] = []
    for match in _BOX.finditer(text):
        if match["brace"]:
            opened.append((match.start(), match.end()))
        elif match["word"] or match["digit"]:
            boxes.append((match.start(), match.end(), match["word"] or match["digit"]))
        elif match.group() == "{":
            opened.append(None)
        elif match.group() == "}" and opened and (box := opened.pop()):
            while boxes and boxes[-1][0] > box[0]:
                boxes.pop()
            boxes.append((box[0], match.end(), text[box[1] : match.start()].strip()))
    unclosed = next((box for box in reversed(opened) if box), None)
    if unclosed and (not boxes or boxes[-1][0] < unclosed[0]):
        content = text[unclosed[1] :].partition("\n")[0].strip()
        if content:
            boxes.append((unclosed[0], len(text), content))
    return boxes


def _after_hashes(text: str, any_text: bool = False) -> str | None:
    for match in reversed(list(_HASHES.finditer(text))[-_TRIES:]):
        line = match[1]
        if not line.strip():
            line = text[match.end() :].lstrip().partition("\n")[0]
        heading = _NUMBERED_HEADING.match(line) and text[match.end() :].strip()
        if any_text or (_ANSWER_LIKE.match(line) and not heading):
            return trimmed(line)
    return None


def _after_marker(text: str) -> str | None:
    for match in reversed(list(_MARKER.finditer(text))[-_TRIES:]):
        rest = text[match.end() :].lstrip(" \t\n\r*_:")
        line = rest.partition("\n")[0]
        if rest.startswith(("\\[", "$$")):
            line = rest[: rest.find(_CLOSING[rest[:2]], 2) + 2] if _CLOSING[rest[:2]] in rest[2:] else rest[2:]
        if line.strip() and not _NO_ANSWER.match(line) and not _begins_prose(line):
            return trimmed(line)
    return None


def _begins_prose(line: str) -> bool:
    """Return whether a line begins a sentence without an answer, as in `Answer: let us think step by step`."""
    return not re.search(r"[\d\\$]", line) and len(line.split()) > _MOST_WORDS


def _last(text: str) -> str | None:
    """Return the last number of a text, or the last formula if it contains that number or comes later."""
    number = None
    for number in NUMBER.finditer(text):  # noqa: B007
        pass
    formula = None
    for begin, end, content in _formulas(text):
        if len(content.strip()) > 1:
            formula = (begin, end, content.strip())
    if formula and (number is None or number.start() < formula[1]):
        return formula[2]
    return number.group().strip() if number else None


def trimmed(line: str) -> str | None:
    """Return the answer in a line without the prose around it: `72` of `the total is $72$, which is ...`."""
    text = _EMPHASIS.sub("", " ".join(line.split())).strip(" *_")
    formulas = list(_formulas(text))
    if formulas and not re.search(r"\d", before := text[: formulas[0][0]]) and not _CHANGES.search(before):
        contents, end = [formulas[0][2].strip()], formulas[0][1]
        for begin, after, content in formulas[1:]:
            if text[end:begin].strip(" ,;") not in ("", "and", "or"):
                break
            contents.append(content.strip())
            end = after
        unit = text[end:] if re.match(r"\s?[a-zA-Z\u00b0%]", text[end:]) else ""
        return (", ".join(contents) + _cut(unit)).strip() or None
    if (words := _LEADING_WORDS.match(text)) and not _CHANGES.search(words.group()):
        text = text[words.end() :]
    return _cut(text).strip() or None


def _cut(text: str) -> str:
    end = _END_OF_ANSWER.search(text)
    return text[: end.start()] if end and end.start() else text if not end else ""


def _formulas(text: str) -> Iterator[tuple[int, int, str]]:
    r"""Yield begin, end and content of each formula, between `$...$`, `\(...\)` and their like."""
    opened: re.Match[str] | None = None
    for match in _DELIMITER.finditer(text):
        mark = match.group()
        if opened is not None and mark == _CLOSING[opened.group()]:
            content = text[opened.end() : match.start()]
            if mark != "$" or not _is_prose(content):
                yield opened.start(), match.end(), content
                opened = None
                continue
        if mark in _CLOSING:
            opened = match


def _is_prose(content: str) -> bool:
    """Return whether two `$` are signs of money with prose between them, not the marks of a formula."""
    return "\n" in content or not content.strip() or bool(_PROSE.search(_TEXT.sub("", content)))
