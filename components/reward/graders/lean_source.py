"""Lean 4 source to be verified: a given statement with the proof of a completion.

The submitted statement is always the given one, and a completion may not state another. The proof is searched for
everything that could make Lean accept without a proof, or accept something else; the axioms that Lean reports show the
rest. Comments are removed and strings refused, so that the searched text is exactly the submitted text.
"""

import re
import textwrap
from dataclasses import dataclass

from components.sandbox.markdown import fenced_blocks

# The beginning of Lean in a completion without fences, after which prose is cut off.
_BEGINNING = re.compile(r"^(?:theorem|lemma|import|open|set_option|by\b|:=)", re.MULTILINE)
_PROSE_WORDS = {
    "a", "an", "and", "are", "as", "be", "because", "can", "for", "here", "i", "is", "it", "now", "of", "proof",
    "prove", "proves", "so", "that", "the", "then", "this", "to", "use", "using", "we", "which", "will", "you",
}  # fmt: skip
_LEAN_SIGNS = re.compile(r":=|[⟨⟩←→↔∀∃λ⊢▸∣]|<;>|\[.*\]|^\s*[·.|]")
_SORRY = re.compile(r":=\s*(?:by\s+)?sorry\s*\Z")
_NAME = re.compile(r"\s*(?:theorem|lemma)\s+([^\s:({\[]+)")
_WORD = re.compile(r"[^\W\d][\w.'!?\u2080-\u2089]*")
# Limits of the elaborator: raising them cannot make it accept a wrong proof.
_LIMITS = re.compile(r"\bset_option\s+(?:maxHeartbeats|maxRecDepth|synthInstance\.maxHeartbeats)\s+\d+(?:\s+in\b)?")
_GIVES_UP = {"sorry", "sorryAx", "admit", "stop"}
_COMPILER_WORDS = """
    native_decide native ofReduceBool ofReduceNat reduceBool reduceNat trustCompiler implemented_by extern csimp unsafe
    unsafeCast
"""
_COMMAND_WORDS = """
    axiom axioms constant opaque macro macro_rules syntax declare_syntax_cat elab elab_rules by_elab notation notation3
    infix infixl infixr prefix postfix binder_predicate instance attribute local scoped open export namespace section
    end variable universe include omit set_option import def abbrev structure class inductive coinductive mutual
    example deriving initialize builtin_initialize run_cmd run_tac run_meta run_elab alias private protected
    noncomputable partial nonrec simproc dsimproc register_simp_attr add_decl_doc suppress_compilation irreducible_def
    compile_inductive logInfo dbg_trace throwError
"""
_NEVER = _GIVES_UP | set(_COMPILER_WORDS.split())
FORBIDDEN = _NEVER | set(_COMMAND_WORDS.split())


class Refused(Exception):
    """The completion is not an honest proof of the statement; the message says why."""


@dataclass(frozen=True)
class Source:
    """Lean source whose last command prints the axioms of the theorem `name`."""

    name: str
    code: str


def complete(header: str, statement: str, completion: str) -> Source:
    """Complete the statement with the completion's proof.

    The proof is the last fenced block of Lean that states the theorem, else the last one, or the completion without
    one, from its first line of Lean to the prose after it: the theorem with its proof, which helping theorems may
    precede, or the proof alone.

    Args:
        statement: a theorem that ends in `:= sorry` or `:= by sorry`.

    Raises:
        Refused: there is no proof, or it contains what an honest proof does not need.
        ValueError: the statement does not have that form.
    """
    end, named = _SORRY.search(statement), _NAME.match(statement)
    if end is None or named is None:
        raise ValueError("the formal statement is not a theorem that ends in sorry")
    name, head = named[1], statement[: end.start()].strip()
    code = _remove_comments(_find_proof(completion, name))
    helpers, proof = _split(_remove_header(code, header), name, head)
    for part in (helpers, proof):
        _check(part)
    if helpers and not re.match(r"(?:theorem|lemma)\s", helpers):
        raise Refused("only theorems may precede the statement")
    if re.search(r"^\s*(?:theorem|lemma)\s", proof, re.MULTILINE):
        raise Refused("another theorem follows the proof")
    parts = [header.strip(), helpers, f"{head} := {proof}", f"#print axioms {name}"]
    return Source(name, "\n\n".join(part for part in parts if part) + "\n")


def _find_proof(completion: str, name: str) -> str:
    """Return the Lean in a completion. Raises Refused where there is none."""
    blocks = fenced_blocks(completion)
    for languages in ({"lean", "lean4"}, {""}):
        fitting = [block.text for block in blocks if block.language in languages]
        stating = [text for text in fitting if re.search(rf"\b(?:theorem|lemma)\s+{re.escape(name)}(?![\w.'])", text)]
        if fitting:
            text = (stating or fitting)[-1]
            return text if languages != {""} else _without_prose(text)
    if blocks:
        raise Refused("there is no block of Lean")
    return _without_prose(completion)


def _without_prose(text: str) -> str:
    """Cut off prose before and after Lean. Raises Refused where there is nothing but prose."""
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if _is_prose(lines[first]):
        begin = _BEGINNING.search(text)
        if begin is None:
            raise Refused("it is prose, not a proof")
        lines, first = text[begin.start() :].split("\n"), 0
    end = next((number for number in range(first + 1, len(lines)) if _is_prose(lines[number])), len(lines))
    return "\n".join(lines[:end])


def _is_prose(line: str) -> bool:
    """Return whether a line is a sentence: two or more of the commonest English words, and nothing of Lean's."""
    line = line.partition("--")[0]
    words = re.findall(r"[a-z]+", line.lower())
    if _LEAN_SIGNS.search(line) or len(words) < 3:
        return bool(re.match(r"[A-Z][a-z]+(?:[ ,][a-z ]+)?[:.!]\s*$", line))
    return len(_PROSE_WORDS.intersection(words)) >= 2 or bool(re.match(r"[A-Z][a-z]+,? [a-z]+ [a-z]+.*[.:!]\s*$", line))


def _remove_comments(code: str) -> str:
    """Replace comments, which nest, by spaces."""
    kept: list[str] = []
    place = 0
    while place < len(code):
        if code.startswith("--", place):
            line_end = code.find("\n", place)
            place = line_end if line_end >= 0 else len(code)
        elif code.startswith("/-", place):
            place = _comment_end(code, place)
            kept.append(" ")
        elif code[place] in '"\u00ab\u00bb':
            raise Refused("strings and quoted names are not allowed in a proof")
        else:
            kept.append(code[place])
            place += 1
    return "".join(kept)


def _comment_end(code: str, place: int) -> int:
    depth = 0
    for match in re.compile(r"/-|-/").finditer(code, place):
        depth += 1 if match.group() == "/-" else -1
        if depth == 0:
            return match.end()
    raise Refused("a comment is never closed")


def _remove_header(code: str, header: str) -> str:
    """Remove lines of the header that the completion repeats."""
    known = {line.strip() for line in header.splitlines()} | {"import Mathlib", "import Aesop"}
    lines = code.splitlines()
    while lines and (not (line := lines[0].strip()) or line in known or _LIMITS.fullmatch(line)):
        lines.pop(0)
    return "\n".join(lines).rstrip()


def _split(code: str, name: str, head: str) -> tuple[str, str]:
    """Return the text before the statement, and the proof after it."""
    stated = list(re.finditer(rf"\b(?:theorem|lemma)\s+{re.escape(name)}(?![\w.'])", code))
    if len(stated) > 1:
        raise Refused("the theorem is stated twice")
    if stated:
        proof = _after(code[stated[0].start() :], _remove_comments(head))
        helpers = code[: stated[0].start()].strip()
    elif re.match(r"\s*(?:theorem|lemma|example)\b", code):
        raise Refused("another theorem is proved")
    else:
        helpers, proof = "", textwrap.dedent(code).strip().removeprefix(":=").strip()
        if proof and not re.match(r"by\b", proof):
            proof = "by\n" + proof
    if not proof.strip():
        raise Refused("there is no proof")
    # An indented line cannot begin a command.
    first, *others = proof.strip().splitlines()
    return helpers, "\n".join([first, *(f"  {line}" for line in others)])


def _after(text: str, head: str) -> str:
    """Return the text after the statement and `:=`, which are matched up to white space."""
    place = 0
    for character in "".join(head.split()) + ":=":
        while place < len(text) and text[place].isspace():
            place += 1
        if place == len(text) or text[place] != character:
            raise Refused("the statement was changed")
        place += 1
    return text[place:]


def _check(code: str) -> None:
    rest = _LIMITS.sub(" ", code)
    for word in _WORD.findall(rest):
        parts = {word, *word.rstrip(".").split(".")}
        # The parts of a longer name count only where they must not be used at all.
        forbidden = ({word} & FORBIDDEN) or (parts & _NEVER) or (parts & {"Lean", "IO"})
        if forbidden:
            raise Refused(f"{min(forbidden)} is not allowed in a proof")
    if match := re.search(r"#[a-zA-Z]\w+", rest):
        raise Refused(f"the command {match.group()} is not allowed in a proof")
    if "@[" in rest or "`" in rest:
        raise Refused("attributes and syntax quotations are not allowed in a proof")
