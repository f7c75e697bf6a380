"""One notation for answers: LaTeX, Unicode and plain text as the same tokens.

One pass over the text. The tables give the meaning of commands and characters; a command that is in none of them raises
`Unknown`.
"""

import re
from fractions import Fraction
from typing import NamedTuple

from components.mathematics.units import CURRENCIES, LETTERS, is_unit

FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "lg",
    "exp", "sqrt", "frac", "binom", "max", "min", "gcd", "lcm", "det",
}  # fmt: skip
_SAME = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[",
    "rbrack": "]", "langle": "<", "rangle": ">", "cdot": "*", "times": "*", "ast": "*", "div": "/", "le": "<=",
    "leq": "<=", "leqslant": "<=", "leqq": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=", "geqq": ">=", "lt": "<",
    "gt": ">", "ne": "!=", "neq": "!=", "approx": "~", "simeq": "~", "doteq": "~", "cup": "cup", "bigcup": "cup",
    "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "colon": ":", "degree": "deg", "circ": "deg", "lor": "or",
    "vee": "or", "land": ",", "wedge": ",", "and": ",", "infinity": "infty", "inf": "infty", "oo": "infty",
    "varnothing": "emptyset", "percent": "%", "pct": "%", "minus": "-", "plus": "+",
}  # fmt: skip
_OPERATORS = {
    "pm", "mp", "in", "cup", "deg", "or", "lfloor", "rfloor", "lceil", "rceil", "over", "choose", "emptyset",
    "overline", "bar", "infty",
}  # fmt: skip
_GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "ell", "hbar", "triangle",
    "angle", "mathbbR", "mathbbZ", "mathbbN", "mathbbQ", "mathbbC",
}  # fmt: skip
_SYMBOLS = _GREEK | {"infty"}
_WORDS = {"and", "or", "infinity", "inf", "oo", "percent", "pct", "pm", "in", "asin", "acos", "atan", "times", "degree"}
_GREEK_WORDS = {"pi", "theta", "alpha", "beta", "gamma", "lambda", "phi", "omega"}
_PLAIN = {"**": "^", "\\%": "%", "\\$": "$", "\\|": "norm", "\\&": "&", ";": ",", "\\{": "\\{"}
_IGNORED = {
    "left", "right", "middle", "displaystyle", "textstyle", "scriptstyle", "limits", "quad", "qquad", "underline",
    "mathbf", "mathit", "mathsf", "mathcal", "boldsymbol", "bm", "bf", "rm", "it", "boxed", "fbox", "emph", "thinspace",
    "ensuremath", "nolimits", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr", "vec",
    "mathbb", "hfill", "displaylimits", "nonumber", "mathord", "mathop",
}  # fmt: skip
_CHARACTERS = {
    "\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u2217": "*",
    "\u00f7": "/", "\u2215": "/", "\u2044": "/", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u2248": "~",
    "\u00b1": "\\pm ", "\u2213": "\\mp ", "\u222a": "\\cup ", "\u2205": "\\emptyset ", "\u221e": "\\infty ",
    "\u221a": "\\sqrt ", "\u00b0": "\\deg ", "\u2208": "\\in ", "\u03c0": "\\pi ", "\u03b8": "\\theta ",
    "\u03b1": "\\alpha ", "\u03b2": "\\beta ", "\u03c6": "\\phi ", "\u03bb": "\\lambda ", "\u03bc": "\\mu ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u00a2": "\\text{cent}", "\uff0c": ",", "\uff08": "(", "\uff09": ")",
    "\u211d": "\\mathbb{R}", "\u2032": "'", "\u27e8": "\\langle ", "\u27e9": "\\rangle ", "\u2223": "|",
}  # fmt: skip
_VULGAR = {
    "\u00bd": (1, 2), "\u2153": (1, 3), "\u2154": (2, 3), "\u00bc": (1, 4), "\u00be": (3, 4), "\u2155": (1, 5),
    "\u2156": (2, 5), "\u2157": (3, 5), "\u2158": (4, 5), "\u2159": (1, 6), "\u215a": (5, 6), "\u215b": (1, 8),
    "\u215c": (3, 8), "\u215d": (5, 8), "\u215e": (7, 8), "\u2150": (1, 7), "\u2151": (1, 9), "\u2152": (1, 10),
}  # fmt: skip
_SUPERSCRIPTS = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b\u207f", "0123456789-n"
)
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207b\u207f]+")
_TRANSLATION = str.maketrans(_CHARACTERS)

_SEPARATOR = r"(?:,\s?\\!\s?|\{,\}\s?|\\[,;:! ]\s?|[,~ ](?!\s))"
_TOKEN = re.compile(
    rf"""(?P<space>(?:\s | ~ | \\[,;:!>\s()\[\]] | [\u200b\ufeff] | \\(?:left|right)\s?\.(?!\d))+)
    | (?P<dropped>\\(?:textcolor|color|hspace\*?|vspace\*?|tag|label|phantom)\s?\{{[^{{}}]*\}})
    | (?P<environment>\\(?P<edge>begin|end)\s?\{{(?P<name>[a-zA-Z]+)\*?\}}(?:\{{[clr|\s]*\}})?)
    | (?P<text>\\(?:text(?!color)[a-z]*|mathrm|mbox|hbox|operatorname\*?)\s*\{{(?P<content>[^{{}}]*)\}})
    | (?P<degree>\^\s?(?:\{{\s?\\(?:circ|deg|degree)\s?\}}|\\(?:circ|deg|degree)(?![a-zA-Z])))
    | (?P<row>\\\\(?:\[[\d.]+[a-z]{{2}}\])?)
    | (?P<grouped>\d{{1,3}}(?:{_SEPARATOR}\d{{3}})+(?!\d)(?:\.\d+)?)
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:\\(?:overline|bar|dot)\s?\{{?(?P<repeated>\d+)\}}?)?
                 (?:[eE][-+]?\d{{1,4}}(?!\w))?)
    | (?P<vulgar>[{"".join(_VULGAR)}])
    | \\(?P<command>[a-zA-Z]+)
    | (?P<letters>[^\W\d_]+)
    | (?P<operator>\\[{{}}%$|&] | \*\* | <= | >= | != | [^\s\w\\] | _)
    """,
    re.VERBOSE,
)
_NUMBER_SETS = re.compile(r"\\mathbb\s?\{?([CNQRZ])\}?")
_SPACES = re.compile(r"(?:\s|\\[,;:!]|~){4,}")
_DIGITS = re.compile(r"\d+")
_LONGEST_NUMBER = 4000
_LONGEST_ANSWER = 20_000
_MOST_TOKENS = 4000


class Malformed(ValueError):
    """Raised for text that is not a mathematical expression."""


class Unknown(ValueError):
    """Raised for an expression with a command that this notation does not know."""


class Token(NamedTuple):
    """`kind` is number, symbol, function, text, word, begin, end, currency, row, or the operator itself."""

    kind: str
    text: str = ""
    value: Fraction | None = None


def tokens(answer: str) -> list[Token]:
    """Return the tokens of an answer.

    Raises:
        Malformed: a character that no answer holds.
        Unknown: a command that is in no table.
    """
    text = _SPACES.sub(" ", answer)
    if len(text) > _LONGEST_ANSWER:
        raise Malformed("longer than any answer")
    text = _RAISED.sub(lambda m: f"^{{{m.group().translate(_SUPERSCRIPTS)}}}", text).translate(_TRANSLATION)
    return _scan(without_delimiters(_NUMBER_SETS.sub(r"\\mathbb\1 ", text)))


def without_delimiters(text: str) -> str:
    """Return an answer without Markdown emphasis, the marks of a formula around it, and the full stop."""
    text = text.strip().strip("`").strip()
    for mark in ("**", "__"):
        if text.startswith(mark):
            text = text.removeprefix(mark).removesuffix(mark)
    text = _without_end(text)
    for begin, end in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if len(text) > len(begin) and text.startswith(begin) and text.endswith(end) and not text.endswith("\\$"):
            text = text[len(begin) : -len(end)].strip()
    return _without_end(text)


def _without_end(text: str) -> str:
    """Return a text without the spaces (of LaTeX too) and punctuation at its end."""
    end = len(text)
    while end:
        if text[end - 1] in ",;:! " and text[end - 2 : end - 1] == "\\" and text[end - 3 : end - 2] != "\\":
            end -= 2
        elif text[end - 1] in " \t\n.,;" or (text[end - 1] == "\\" and text[end - 2 : end - 1] != "\\"):
            end -= 1
        else:
            break
    return text[:end]


def _scan(text: str) -> list[Token]:
    found: list[Token] = []
    listing = _listing_commas(text)
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise Malformed(text[place : place + 20])
        if match.lastgroup == "grouped" and _is_list(text, match, listing):
            for digits in _DIGITS.findall(match.group()):
                found += [Token("number", digits, Fraction(digits)), Token(",")]
            found.pop()
        else:
            found += _made(match, found[-1].kind if found else "")
        if len(found) > _MOST_TOKENS:
            raise Malformed("thousands of tokens")
        place = match.end()
    return found


def _made(match: re.Match[str], previous: str) -> list[Token]:
    """Return the tokens of a match; none for spaces."""
    text = match.group()
    match match.lastgroup:
        case "environment":
            return [Token(match["edge"], match["name"])]
        case "text":
            return _written(match["content"])
        case "degree":
            return [Token("deg")]
        case "row":
            return [Token("row")]
        case "grouped":
            return [Token("number", "", Fraction(re.sub(r"[^\d.]", "", text)))]
        case "number":
            return [_number(text, match["repeated"])]
        case "vulgar":
            return [Token("number", "vulgar", Fraction(*_VULGAR[text]))]
        case "command":
            return _named(match["command"])
        case "letters":
            return _letters(text, previous)
        case "operator":
            return (
                [Token("currency", CURRENCIES[_PLAIN.get(text, text)])]
                if _PLAIN.get(text, text) in CURRENCIES
                else [Token(_PLAIN.get(text, text))]
            )
    return []


def _number(written: str, repeated: str | None) -> Token:
    if len(written) > _LONGEST_NUMBER:
        raise Malformed("a number of thousands of digits")
    if repeated:
        head = written.partition("\\")[0]
        places = len(head.partition(".")[2])
        return Token("number", "", Fraction(head) + Fraction(int(repeated), (10 ** len(repeated) - 1) * 10**places))
    return Token("number", written, Fraction(written))


def _letters(run: str, previous: str) -> list[Token]:
    if len(run) == 1:
        return [Token("symbol", run)]
    if previous == "number" and is_unit(run):
        return [Token("word", run)]
    plain = _SAME.get(run, run)
    is_name = run in _WORDS or run in FUNCTIONS or run in _GREEK_WORDS
    return _named(plain) if is_name else [Token("word", run)]


def _named(name: str) -> list[Token]:
    """Return the token of a command."""
    plain = _SAME.get(name, name)
    if plain in FUNCTIONS:
        return [Token("function", plain)]
    if plain in _SYMBOLS:
        return [Token("symbol", plain)]
    if plain in _OPERATORS or not plain.isalpha():
        return [Token(plain)]
    if plain in _IGNORED:
        return []
    raise Unknown(f"\\{name}")


def _written(content: str) -> list[Token]:
    r"""Return the tokens of the content of `\text{...}`: words as they are, anything else as mathematics."""
    words = content.strip(" ,")
    if not words:
        return []
    if len(words) == 1 and words.isalpha():
        return [Token("word" if words in LETTERS else "symbol", words)]
    if (words in _WORDS or words in FUNCTIONS) and not is_unit(words):
        return _named(words)
    if re.search(r"\d", words) or not re.search(r"[^\W\d_]{2}|\.", words):
        return _scan(words)
    return [Token("text", words)]


def _listing_commas(text: str) -> set[int]:
    """Return the places of commas in brackets without a comma before a space: `(3,144)` is a pair."""
    opened: list[list[int] | None] = []
    listing: set[int] = set()
    for place, character in enumerate(text):
        if character in "([" or text.startswith("\\{", place):
            opened.append([])
        elif character == "{" and not text.startswith("\\{", place - 1):
            opened.append(None)
        elif character in ")]}" and opened:
            commas = opened.pop()
            if commas and not any(text[comma + 1 : comma + 2].isspace() for comma in commas):
                listing.update(commas)
        elif character == "," and opened and (commas := opened[-1]) is not None:
            commas.append(place)
    return listing


def _is_list(text: str, match: re.Match[str], listing: set[int]) -> bool:
    """Return whether digits between commas are separate numbers, not the thousands of one."""
    begin, end = match.span()
    if text[begin - 1 : begin] == "," and text[begin - 2 : begin - 1].isdigit():
        return True
    if text[end : end + 1] == "," and text[end + 1 : end + 2].isdigit():
        return True
    comma = text.find(",", begin, end)
    return comma in listing and text[comma + 1] != "0"
