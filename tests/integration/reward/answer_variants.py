"""Rewritings of a MATH answer that mean the same, and answers near it that do not.

Made from the answer's form alone and without any code of the graders, so that neither can share their mistakes.
"""

import re
from fractions import Fraction

BRACKETED = re.compile(r"(?:\\left)?\s*([(\[])(.*?)(?:\\right)?\s*([)\]])")


def variants(answer: str) -> tuple[list[str], list[str]]:
    """(five that are equivalent, five that are wrong)."""
    for form in (_words, _numeral, _matrix, _union, _bracketed, _several, _equation, _polynomial, _number, _expression):
        if made := form(answer):
            same, wrong = made
            assert len(set(same)) >= 5, (answer, same)
            assert len(set(wrong)) >= 5, (answer, wrong)
            return list(dict.fromkeys(same))[:5], list(dict.fromkeys(wrong))[:5]
    raise AssertionError(answer)


def _words(answer: str) -> tuple[list[str], list[str]] | None:
    match = re.fullmatch(r"\\text\{\(?(\w+)\)?\}", answer)
    if not match:
        return None
    word = match[1]
    if len(word) == 1:
        others = [letter for letter in "ABCDEF" if letter != word]
        same = [word, f"({word})", f"\\textbf{{({word})}}", f"\\mathrm{{({word})}}", f"\\text{{{word}}}"]
        return same, [f"\\text{{({o})}}" for o in others[:3]] + [others[3], f"({others[4]})"]
    same = [word, f"\\textbf{{{word}}}", f"\\mathrm{{{word}}}", f"\\text{{ {word} }}", word.upper()]
    return same, ["odd", "\\text{Carla}", f"\\text{{not {word}}}", word[::-1], "0"]


def _numeral(answer: str) -> tuple[list[str], list[str]] | None:
    match = re.fullmatch(r"(\d+)_(\d)", answer)
    if not match:
        return None
    digits, base = match[1], int(match[2])
    same = [
        f"{digits}_{{{base}}}",
        f"({digits})_{base}",
        f"({digits})_{{{base}}}",
        f"{digits}_{{ {base} }}",
        f"${answer}$",
    ]
    wrong = [digits, f"{digits}_{base + 1}", f"{digits[::-1]}_{base}", f"1{answer}", f"{int(digits, base) + 1}"]
    return same, wrong


def _matrix(answer: str) -> tuple[list[str], list[str]] | None:
    match = re.fullmatch(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", answer)
    if not match:
        return None
    entries = [entry.strip() for entry in match[1].split("\\\\")]

    def column(items: list[str], kind: str = "pmatrix", gap: str = " ") -> str:
        return f"\\begin{{{kind}}}{gap}{(gap + chr(92) * 2 + gap).join(items)}{gap}\\end{{{kind}}}"

    doubled = [_doubled(entry) for entry in entries]
    same = [column(entries, "bmatrix"), column(entries, gap="  "), column(doubled),
            column([f"{e} + 0" for e in entries]), column(doubled, "bmatrix")]  # fmt: skip
    first, *rest = entries
    wrong = [column([f"{first} + 1", *rest]), column([*rest, first]), column([*entries[:-1], f"-({entries[-1]})"]),
             column([*entries, "1"]), column([f"2 \\cdot ({e})" for e in entries])]  # fmt: skip
    return same, wrong


def _doubled(entry: str) -> str:
    numerator, _, denominator = entry.partition("/")
    return f"\\frac{{{2 * int(numerator)}}}{{{2 * int(denominator or 1)}}}"


def _union(answer: str) -> tuple[list[str], list[str]] | None:
    if "\\cup" not in answer:
        return None
    parts = [part.strip() for part in answer.split("\\cup")]
    left, right = parts
    outer = f"({left[1:].split(',')[0]}, {right[:-1].split(',')[1]})"
    same = [f"{right} \\cup {left}", f"{left}\\cup{right}",
            f"\\left{left[:-1]}\\right) \\cup \\left{right[:-1]}\\right)", f"x \\in {answer}",
            f"$ {left} \\cup {right} $"]  # fmt: skip
    wrong = [left, right, outer, f"[{left[1:]} \\cup {right}", f"{left} \\cup {right[:-1]}]"]
    return same, wrong


def _bracketed(answer: str) -> tuple[list[str], list[str]] | None:
    match = BRACKETED.fullmatch(answer)
    if not match or "," not in answer:
        return None
    opening, inner, closing = match.groups()
    items = [item.strip() for item in inner.split(",")]
    join = ", ".join
    same = [f"{opening}{','.join(items)}{closing}", f"\\left{opening} {join(items)} \\right{closing}",
            f"$\\left{opening}{join(items)}\\right{closing}$", f"{opening} {join(items)} {closing}.",
            opening + join(i if "infty" in i else f"{i} + 0" for i in items) + closing]  # fmt: skip
    place = next(i for i, item in enumerate(items) if "infty" not in item)
    changed = [f"{item} + 1" if i == place else item for i, item in enumerate(items)]
    doubled = [item if "infty" in item or i != place else f"2 ({item}) + 1" for i, item in enumerate(items)]
    other = {"(": "[", "[": "("}[opening]
    wrong = [opening + join(changed) + closing, opening + join(doubled) + closing, other + join(items) + closing,
             opening + join([*items, "7"]) + closing, items[place]]  # fmt: skip
    return same, wrong


def _several(answer: str) -> tuple[list[str], list[str]] | None:
    if not re.fullmatch(r"\d+(, \d+)+", answer):
        return None
    items = answer.split(", ")
    same = [", ".join(items[::-1]), f"\\{{{answer}\\}}", f"{', '.join(items[:-1])} \\text{{ and }} {items[-1]}",
            ",".join(items), f"\\left\\{{ {', '.join(items[1:] + items[:1])} \\right\\}}"]  # fmt: skip
    wrong = [", ".join(items[:-1]), f"{answer}, 11", items[0], answer.replace(items[0], "4", 1), f"-{answer}"]
    return same, wrong


def _equation(answer: str) -> tuple[list[str], list[str]] | None:
    match = re.fullmatch(r"(\w)\s*=\s*(.+)", answer)
    if not match:
        return None
    left, right = match.groups()
    same = [right, f"{left}={right}", f"{left} = {right} + 0", f"{left} = 1 + {right} - 1", f"${answer}$"]
    wrong = [
        f"{left} = {right} + 1",
        f"{left} = -({right})",
        f"{left} = 2 ({right}) + 1",
        f"{right} - 3",
        f"{left} = 0",
    ]
    return same, wrong


def _polynomial(answer: str) -> tuple[list[str], list[str]] | None:
    """Sums of terms, where they are not inside anything: written in another order."""
    terms = re.findall(r"[+-]?[^+-]+", answer.replace(" ", ""))
    if len(terms) < 2 or re.search(r"[({]", answer):
        return None
    signed = [term if term[0] in "+-" else f"+{term}" for term in terms]
    turned = "".join(reversed(signed)).removeprefix("+")
    same = [turned, f"{answer} + 1 - 1", f"({answer})", f"\\frac{{2({answer})}}{{2}}", f"-(-({answer}))"]
    flipped = "".join([*signed[:-1], {"+": "-", "-": "+"}[signed[-1][0]] + signed[-1][1:]]).removeprefix("+")
    return same, [flipped, f"{answer} + 1", f"-({answer})", "".join(terms[:-1]), f"2({answer})"]


def _number(answer: str) -> tuple[list[str], list[str]] | None:
    bare = re.sub(r"\\text\{.*\}|\^\\circ|\\\$|,\\!|\s", "", answer)
    fraction = re.fullmatch(r"(-?)\\d?frac\{?(\d+?)\}?\{?(\d+)\}?", bare)
    if not fraction and not re.fullmatch(r"-?\d+(\.\d+)?", bare):
        return None
    value = Fraction(int(fraction[1] + fraction[2]), int(fraction[3])) if fraction else Fraction(bare)
    n, d = value.numerator, value.denominator
    sign, size = ("-", -n) if n < 0 else ("", n)
    same = [f"{sign}\\dfrac{{{2 * size}}}{{{2 * d}}}", f"{n}/{d}", f"{sign}\\frac{{{7 * size}}}{{{7 * d}}}",
            f"$x = {answer}$", f"\\frac{{{n + d}}}{{{d}}} - 1"]  # fmt: skip
    if "^\\circ" in answer:
        same = [f"{n}^{{\\circ}}", f"{n} \\text{{ degrees}}", f"{n}°", *same]
    elif d == 1 and "\\" not in answer:
        same = [f"{n}.0", f"{n:,}" if abs(n) >= 1000 else f"\\text{{{n}}}", *same]
    elif fraction and size > d:
        same = [f"{sign}{size // d}\\frac{{{size % d}}}{{{d}}}", *same]
    wrong = [str(n + d if d == 1 else n), f"\\frac{{{n + d}}}{{{d}}}", f"-{answer}" if n > 0 else f"{3 - n}",
             f"\\frac{{{n * 10 + 1}}}{{{d * 10}}}", f"{answer}, {abs(n) + 1}"]  # fmt: skip
    return same, [w for w in wrong if w != answer] + [f"\\sqrt{{{abs(n) + 2}}}"]


def _expression(answer: str) -> tuple[list[str], list[str]]:
    same = [f"1 \\cdot {answer}" if not answer.startswith("-") else f"{answer} \\cdot 1", f"{answer} + 1 - 1",
            f"\\frac{{2 \\cdot ({answer})}}{{2}}", f"-(-({answer}))", f"\\left({answer}\\right)",
            f"${answer}$"]  # fmt: skip
    wrong = [f"{answer} + 1", f"-({answer})", f"2 \\cdot ({answer})", f"\\frac{{{answer}}}{{2}}", f"{answer}, 3"]
    return same, wrong
