"""Agreement and speed of this project and math-verify on pairs of mathematical answers.

    .venv/bin/python benchmarks/answers.py [--pairs 20000]

All different gold answers of half of MATH-500 and of the labelled MATH completions (from RAPID_SHARED, else ../shared),
and answers of kinds that these leave out:

    spellings     an answer in other notation: delimiters, fractions, spaces, Unicode, units, brackets
    rewritings    five equivalent ones made from every answer's form (tests/integration/reward/answer_variants.py)
    wrong         five wrong ones made likewise
    pairs         different gold answers against one another, wrong except those in EQUAL and ONE_WAY

Both get the answers alone, in one process; math-verify's time limit is one second. Prints a table and every pair on
which this project's verdict is not the expected one, and writes `benchmarks/results/answers.json`.
"""

import argparse
import itertools
import json
import logging
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SHARED = Path(os.environ.get("RAPID_SHARED", REPOSITORY.parent / "shared"))
Pair = tuple[str, str]

MORE = [
    "p - q", "3R^2", "11\\sqrt2", "\\frac{270}7\\text{ degrees}", "1,-2", "4210_{5}", "1 \\pm \\sqrt{19}", "[-2,7]",
    "\\left(\\frac{3}{5},\\frac{8}{3}\\right]", "11,\\! 111,\\! 111,\\! 100", "\\text{June 20}", "\\$18.90",
    "\\$32,\\!348", "10\\%", "8 \\text{ cm}", "2k+2", "x \\in [-2,7]", "0.\\overline{3}", "\\frac{p}{q}", "3:2",
    "\\begin{pmatrix} 16/49 & 48/49 \\\\ 48/49 & -16/49 \\end{pmatrix}", "e^{2x}", "\\ln 2", "\\log_2 3", "n!",
    "\\binom{10}{3}", "y = \\frac{1}{4}x^2", "x^2+y^2=25", "\\{1, 200\\}", "\\emptyset", "\\frac{\\sqrt{3}+i}{2}",
    "6.02 \\times 10^{23}", "-\\infty", "(-\\infty,-5)\\cup(-5,5)\\cup(5,\\infty)", "\\sin^2 x", "|x-3|",
    "a^2b + ab^2", "\\sqrt[3]{4}", "2^{96}", "x < 3", "\\frac{x+1}{x-2}", "120 \\text{ miles per hour}",
]  # fmt: skip

EQUAL = [
    ("1.25", "1\\frac{1}{4}"), ("\\frac{1}{3}", "0.\\overline{3}"), ("120^\\circ", "\\binom{10}{3}"),
    ("120 \\text{ miles per hour}", "\\binom{10}{3}"), ("5", "x=5"), ("[-2,7]", "x \\in [-2,7]"), ("36", "\\$36"),
    ("8", "8 \\text{ cm}"), ("10", "10\\%"), ("25", "25\\%"),
]  # fmt: skip
"""Different gold answers that are equal: in value, or up to a unit, label or sign on one side only."""
ONE_WAY = [("204_5", "54"), ("x^2+y^2=25", "25")]
"""(found, expected) where only the gold answer may leave out the base or the label."""


def spellings(answer: str) -> Iterator[str]:
    """Yield an answer in the notations of people and models."""
    yield from (f"${answer}$", f"\\({answer}\\)", f" {answer} ", f"{answer}.", f"\\displaystyle {answer}")
    yield answer.replace(" ", "")
    yield re.sub(r"(?<=[\w}])\s*([+=<])\s*(?=[\w\\{])", r" \1 ", answer)
    for old, new in (("\\frac", "\\dfrac"), ("\\frac", "\\tfrac"), ("\\dfrac", "\\frac"), ("\\left", ""),
                     ("\\pi", "π"), ("\\cup", "∪"), ("\\infty", "∞"), ("^\\circ", "°"), ("^\\circ", "^{\\circ}"),
                     ("^\\circ", "\\text{ degrees}"), ("\\text", "\\mbox"), ("\\text", "\\textbf"), ("\\$", ""),
                     ("-", "−"), ("pmatrix", "bmatrix"), ("\\,", ""), (",\\! ", ","), (",\\! ", "{,}"), (",\\!", ""),
                     (",\\!", "\\,"), ("\\times", "\\cdot"), ("\\pm", "±"), ("_", "_ "), ("\\emptyset", "\\varnothing"),
                     ("\\%", "%"), ("\\sqrt{", "\\sqrt {"), ("^2", "^{2}"), ("\\{", "\\left\\{ ")):  # fmt: skip
        changed = answer.replace(old, new)
        if old == "\\left":
            changed = changed.replace("\\right", "")
        if old == "\\{":
            changed = changed.replace("\\}", " \\right\\}")
        yield changed
    yield re.sub(r"(?<!\d)\\[dt]?frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", answer)
    yield re.sub(r"\\[dt]?frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", answer)
    yield re.sub(r"\\[dt]?frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}", answer)
    yield re.sub(r"\\sqrt\{(\w+)\}", r"\\sqrt \1" if "\\sqrt{1" in answer else r"√\1", answer)
    yield re.sub(r"^([(\[])(.*)([)\]])$", r"\\left\1 \2 \\right\3", answer)
    yield re.sub(r"\s*\\text\s?\{[^{}]*\}\s*$", "", answer) or answer
    if re.fullmatch(r"-?[\d.]+", answer):
        yield from (f"x = {answer}", f"\\text{{{answer}}}", f"{answer} \\text{{ units}}", f"\\mathbf{{{answer}}}")
        yield f"{float(answer):,}".removesuffix(".0")
        yield f"{answer}\\ "
    yield re.sub(r"(?<=\d),(?=\d)", ", ", answer)


def ours(found: str, expected: str) -> bool:
    from components.mathematics.equivalence import equivalent

    return equivalent(found, expected)


def math_verify(found: str, expected: str) -> bool:
    from math_verify import parse, verify

    parsed = [parse(f"\\boxed{{{text}}}", parsing_timeout=1) for text in (expected, found)]
    return bool(verify(*parsed, timeout_seconds=1))


def measured(compare: Callable[[str, str], bool], pairs: list[Pair]) -> tuple[list[bool], float]:
    """Return the verdict on every pair, and pairs per second."""
    clear_caches()
    begin = time.perf_counter()
    found = [compare(*pair) for pair in pairs]
    return found, len(pairs) / (time.perf_counter() - begin)


def clear_caches() -> None:
    """Clear the caches of both."""
    from math_verify import parser

    from components.mathematics import formula, verification, words

    for function in (formula.parsed, words._words, verification._parsed, parser.parse_latex_cached):
        function.cache_clear()


def pairs_of(kind: str, golds: list[str], most: int) -> list[Pair]:
    """Return (found, expected) of one kind."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "integration" / "reward"))
    from answer_variants import variants

    if kind == "spellings":
        made = [(text, gold) for gold in golds for text in dict.fromkeys(spellings(gold)) if text != gold]
    elif kind == "pairs":
        made = list(itertools.permutations(golds, 2))
        random.Random(0).shuffle(made)
    else:
        made = [
            (text, gold)
            for gold in golds
            if gold not in MORE
            for text in variants(gold)[0 if kind == "rewritings" else 1]
        ]
    return made[:most] if kind == "pairs" else made


def expected_verdict(kind: str, pair: Pair) -> bool:
    """Return whether two answers are equal."""
    if kind == "pairs":
        return pair in EQUAL or pair[::-1] in EQUAL or pair in ONE_WAY
    return kind in ("spellings", "rewritings")


def gold_answers() -> tuple[list[str], list[str]]:
    """Return the different answers of MATH-500's half, and all others."""
    names = ("math500_half", "math_labelled_completions")
    rows = {
        name: [json.loads(line) for line in (SHARED / "data" / f"{name}.jsonl").read_text("utf-8").splitlines()]
        for name in names
    }
    first, second = ([row["answer"] for row in rows[name]] for name in names)
    return list(dict.fromkeys(first)), [gold for gold in dict.fromkeys([*second, *MORE]) if gold not in first]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs of different gold answers")
    arguments = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    math500, others = gold_answers()
    print(f"{len(math500) + len(others)} different gold answers\n")
    columns = ["kind", "pairs", "both right", "only RAPID right", "only math-verify right", "neither",
               "RAPID, pairs/s", "math-verify, pairs/s"]  # fmt: skip
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    summary, lost = {}, []
    for kind in ("spellings", "rewritings", "wrong", "pairs"):
        golds = [*math500, *others] if kind in ("spellings", "pairs") else math500
        pairs = pairs_of(kind, golds, arguments.pairs)
        (mine, my_rate), (theirs, rate) = measured(ours, pairs), measured(math_verify, pairs)
        truths = [expected_verdict(kind, pair) for pair in pairs]
        right = [(a == truth, b == truth) for a, b, truth in zip(mine, theirs, truths, strict=True)]
        counts = [right.count(each) for each in ((True, True), (True, False), (False, True), (False, False))]
        lost += [(kind, pair) for pair, each in zip(pairs, right, strict=True) if not each[0]]
        print(
            f"| {kind} | {len(pairs):,} | "
            + " | ".join(f"{c:,}" for c in counts)
            + f" | {my_rate:,.0f} | {rate:,.0f} |"
        )
        summary[kind] = {"pairs": len(pairs), "right": counts, "per_second": [my_rate, rate]}
    print("\nPairs on which the verdict of this project is not the expected one:")
    for kind, (found, expected) in lost:
        print(f"  {kind}: {found}    for    {expected}")
    results = REPOSITORY / "benchmarks" / "results"
    results.mkdir(exist_ok=True)
    (results / "answers.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
