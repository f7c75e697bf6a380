r"""Parser of answers, a recursive descent over the tokens of `notation`.

list      relation ((`,` | `or`) relation)*
relation  union ((`=` | `<` | `\in` | ...) union)*
union     sum (`\cup` sum)*
sum       product unit? ((`+` | `-` | `\pm`) product unit?)*
product   power ((`*` | `/` | nothing) power)*
power     atom (`^` power | `!` | `%` | degrees)*
"""

from functools import lru_cache

from components.mathematics.atoms import STARTS, Atoms
from components.mathematics.notation import Malformed, tokens
from components.mathematics.tree import MINUS_ONE, ONE, Node

_RELATIONS = {"=", "<", ">", "<=", ">=", "!=", "~", "in"}


@lru_cache(maxsize=512)
def parsed(answer: str, letters_are_units: bool = False) -> Node:
    """Return the tree of an answer.

    Args:
        letters_are_units: read a letter behind a number as a unit where it is one.

    Raises:
        Malformed: no mathematical expression, or one deeper than any honest answer.
        Unknown: a command that is not known here.
    """
    found = tokens(answer)
    if not found:
        raise Malformed("no expression")
    parser = _Parser(found, letters_are_units)
    node = parser.list_()
    if parser.kind != "end":
        raise Malformed(f"{parser.token} at the end")
    return node


class _Parser(Atoms):
    def list_(self) -> Node:
        items, joined = [self._relation()], ","
        while self.kind in (",", "or"):
            while self.kind in (",", "or"):
                joined = "or" if self._next().kind == "or" else joined
            if self.kind in ("end", ")", "]", "\\}"):
                break
            items.append(self._relation())
        return items[0] if len(items) == 1 else Node("list", tuple(items), joined)

    def _relation(self) -> Node:
        if self.kind in _RELATIONS - {"in", "<"}:
            sign = self._next().kind
            return Node("relation", (Node("nothing"), self._union()), (sign,))
        sides, signs = [self._union()], []
        while self.kind in _RELATIONS:
            if self.kind == ">" and self._in_angles():
                break
            signs.append(self._next().kind)
            sides.append(self._union())
        return Node("relation", tuple(sides), tuple(signs)) if signs else sides[0]

    def _in_angles(self) -> bool:
        return self._place + 1 >= len(self._tokens) and self._tokens[0].kind == "<"

    def _union(self) -> Node:
        parts = [self._sum()]
        while self._take("cup"):
            parts.append(self._sum())
        return Node("union", tuple(parts)) if len(parts) > 1 else parts[0]

    def _sum(self) -> Node:
        terms = [self._term()]
        while self.kind in ("+", "-", "pm", "mp"):
            terms.append(self._term())
        node = Node("+", tuple(terms)) if len(terms) > 1 else terms[0]
        if self.kind == ":" and not self._bars:
            self._next()
            node = self._with_unit(Node("ratio", (node, self._product())))
        return node

    def _term(self) -> Node:
        sign = self._next().kind if self.kind in ("+", "-", "pm", "mp") else ""
        return self._signed(sign, self._with_unit(self._product()))

    def _product(self) -> Node:
        factors = [self._unary()]
        while True:
            if self._take("*"):
                factors.append(self._unary())
            elif self.kind == "/" and not self._at_unit(1):
                self._next()
                factors.append(Node("/", (ONE, self._unary())))
            elif self._at_unit() or not self._at_value():
                return Node("*", tuple(factors)) if len(factors) > 1 else factors[0]
            elif self._at_fraction():
                factors[-1] = self._mixed(factors[-1])
            else:
                factors.append(self._power())

    def _at_value(self) -> bool:
        return self.kind in STARTS or self.kind == "word" or (self.kind == "|" and not self._bars)

    def _at_fraction(self) -> bool:
        """Return whether the next token may begin the fraction of a mixed number."""
        if self.kind == "number":
            return self._tokens[self._place - 1].kind == "number"
        return self.kind == "function" and self.token.text == "frac" and self._whole()

    def _whole(self) -> bool:
        """Return whether the last token was an integer, so that a fraction may follow."""
        last = self._tokens[self._place - 1]
        return (
            last.kind == "number" and last.value is not None and last.value.denominator == 1 and last.text != "vulgar"
        )

    def _mixed(self, whole: Node) -> Node:
        """Read the fraction of a mixed number; two numbers side by side are Malformed otherwise."""
        if not self._whole():
            raise Malformed("two numbers side by side")
        if self.kind == "function":
            fraction = self._power()
            if any(part.kind != "number" or part.value.denominator != 1 for part in fraction.args):
                return Node("*", (whole, fraction))
        elif self.token.text == "vulgar":
            fraction = self._power()
        else:
            above = self._power()
            self._expect("/")
            fraction = Node("/", (above, self._power()))
            if any(part.kind != "number" or part.value.denominator != 1 for part in fraction.args):
                raise Malformed("two numbers side by side")
        if whole.kind == "*" and whole.args[0] == MINUS_ONE:
            return Node("*", (MINUS_ONE, Node("+", (whole.args[1], fraction))))
        return Node("+", (whole, fraction))

    def _unary(self) -> Node:
        sign = self._next().kind if self.kind in ("-", "+") else ""
        return self._signed(sign, self._deeper(self._unary) if sign and self.kind in ("-", "+") else self._power())
