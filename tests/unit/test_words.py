"""Retired words do not come back: CONTRIBUTING.md's glossary lists the words to use instead."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SKIPPED = ("tests/unit/test_words.py", "benchmarks/results/")


def _word(pattern: str) -> re.Pattern[str]:
    """Match a word in prose and as a part of a name in snake case."""
    return re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE)


PROSE = {
    _word("mend(s|ed|ing)?"): "fix",
    _word("optimisers?"): "optimizer",
    _word("credits?"): "advantage",
    _word("settled"): "committed",
    _word("foreseen"): "expected",
    _word("leftovers"): "name what is left",
    _word("(is|are)[ _]told"): "is reported, receives",
    _word("told[ _]to[ _]end|tak(e|es|en|ing)[ _]leave"): "terminated, terminate",
    _word("old[ _-]log-?prob(abilitie)?s?"): "behaviour log-probabilities",
    _word("learnt|unlearnt"): "learned",
    re.compile(r"\bfor who\b"): "for those who",
    re.compile(r"(?<![Tt]here )\b(?:is|are|was|were) no (?!(?:longer|more|less|later|earlier)\b)\w+"): "is not a ...",
    re.compile(r'"""(?:What|Of|How|Who|Where|Whether|Why)\b'): "a noun phrase or an imperative",
}
"""Patterns over whole lines of Python and Markdown, and what to write instead."""

NAMES = {
    re.compile(r"Pass|run_pass|begun"): "say which updates",
    re.compile(r"_?(?:noted|explained)"): "what the context manager does",
    re.compile(r"tapered|pushed"): "the formula's name",
    re.compile(r"from_first|sum_"): "broadcast, all_reduce",
}
"""Patterns over whole names in Python, whose words are fine in prose."""

CODE = {
    re.compile(r"\bdef (?:join|leave|gather)\((?:self|cls)"): "init, destroy, all_gather",
    re.compile(r"\bLevel\.wrong\b"): "Level.error",
    re.compile(r"(?<![.\w\"])[Oo]rigin\b(?!\")"): "base",
}
"""Patterns over whole lines of Python."""


def tracked(*patterns: str) -> Iterator[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if not name.startswith(SKIPPED):
            yield REPOSITORY / name


def names(text: str) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of every name of a Python file."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            yield token.start[0], token.string


def retired(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, retired word, replacement) of a file."""
    text = path.read_text(encoding="utf-8")
    patterns = PROSE | CODE if path.suffix == ".py" else PROSE
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, replacement in patterns.items():
            yield from ((number, match[0], replacement) for match in pattern.finditer(line))
    if path.suffix == ".py":
        for number, name in names(text):
            for pattern, replacement in NAMES.items():
                if pattern.fullmatch(name):
                    yield number, name, replacement


def retired_words() -> dict[str, list[str]]:
    """Return a line for every retired word, by file."""
    found: dict[str, list[str]] = {}
    for path in tracked("*.py", "*.md", "*.j2", "*.yaml", ".ci/*", "Makefile"):
        name = str(path.relative_to(REPOSITORY))
        for line, word, replacement in sorted(retired(path)):
            found.setdefault(name, []).append(f"{name}:{line}: {word!r}: write {replacement}")
    return found


def test_no_retired_word_is_used() -> None:
    found = [line for lines in retired_words().values() for line in lines]
    assert not found, "\n".join(found)
