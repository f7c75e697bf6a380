"""The parts of expressions that stand on their own: numbers, symbols, functions, brackets, matrices."""

from abc import abstractmethod
from fractions import Fraction
from functools import reduce

from components.mathematics.notation import Malformed, Token, Unknown
from components.mathematics.reader import DEEPEST, Reader
from components.mathematics.tree import MINUS_ONE, ONE, Node
from components.mathematics.units import is_unit, unit

_CLOSING = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}",), "<": (">",)}
_FENCES = {"|": "|", "lfloor": "rfloor", "lceil": "rceil"}
_CALLED = {"|": "abs", "lfloor": "floor", "lceil": "ceil"}
_OF_TWO = {"frac", "binom"}
_MATRICES = {"matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array", "vmatrix", "Vmatrix"}
STARTS = {"number", "symbol", "function", "(", "{", "[", "\\{", "lfloor", "lceil", "begin", "emptyset"}
"""Kinds of tokens that a value begins with."""


class Atoms(Reader):
    """Reads what `power` and `atom` are in the grammar of `formula`."""

    @abstractmethod
    def list_(self) -> Node:
        """Read a whole answer."""

    @abstractmethod
    def _union(self) -> Node: ...

    @abstractmethod
    def _sum(self) -> Node: ...

    @abstractmethod
    def _unary(self) -> Node: ...

    def _power(self) -> Node:
        node = self._deeper(self._atom)
        for _ in range(DEEPEST):
            if self._take("^"):
                tower = [node, self._argument(whole=True)]
                while self._take("^"):
                    tower.append(self._argument(whole=True))
                if len(tower) > DEEPEST:
                    raise Malformed("higher than any answer")
                node = reduce(lambda exponent, base: Node("^", (base, exponent)), reversed(tower))
            elif self._take("!"):
                if self.kind == "!":
                    raise Unknown("!!")
                node = Node("call", (node,), "factorial")
            elif self._take("%"):
                node = Node("percent", (node,))
            elif self._take("deg"):
                node = self._degrees(node)
            else:
                return node
        raise Malformed("more marks than any answer has")

    def _degrees(self, node: Node) -> Node:
        if self.token.text in ("C", "F"):
            return Node("unit", (node,), {"C": "celsius", "F": "fahrenheit"}[self._next().text])
        if self.kind == "text" and unit(self.token.text) in ("celsius", "fahrenheit"):
            return Node("unit", (node,), unit(self._next().text))
        return Node("unit", (node,), "degree")

    def _argument(self, whole: bool) -> Node:
        """Read the argument of a command: a group, or what stands next, of a number its first digit unless `whole`."""
        if self.kind == "{":
            return self._group()
        token = self.token
        if token.kind == "number" and not whole and len(token.text) > 1 and token.text.isdecimal():
            self._tokens[self._place] = Token("number", token.text[1:], Fraction(token.text[1:]))
            return Node("number", value=Fraction(token.text[0]))
        if token.kind in ("-", "+"):
            return self._unary()
        if token.kind == "function" or token.kind in _FENCES:
            return self._power()
        return self._deeper(self._atom)

    def _group(self) -> Node:
        self._expect("{")
        if self._take("}"):
            raise Malformed("empty braces")
        node = self.list_()
        if self.kind in ("over", "choose"):
            name = self._next().kind
            node = Node("/", (node, self.list_())) if name == "over" else Node("call", (node, self.list_()), "binom")
        self._expect("}")
        return node

    def _atom(self) -> Node:
        token = self._next()
        match token.kind:
            case "number":
                return Node("number", value=token.value)
            case "symbol":
                return self._subscripted(Node("symbol", value=token.text))
            case "word" if not is_unit(token.text) and len(token.text) <= 3:
                letters = [Node("symbol", value=letter) for letter in token.text]
                return Node("*", (*letters[:-1], self._subscripted(letters[-1])))
            case "function":
                return self._function(token.text)
            case "{":
                self._place -= 1
                return self._subscripted(self._group())
            case "(" | "[" | "\\{" | "<":
                return self._bracketed(token.kind)
            case "emptyset":
                return Node("set")
            case "begin":
                return self._matrix(token.text)
            case "currency":
                return Node("unit", (self._unary(),), token.text)
            case kind if kind in _FENCES:
                self._bars += 1
                node = self.list_()
                self._bars -= 1
                self._expect(_FENCES[kind])
                return Node("call", (node,), _CALLED[kind])
        raise Malformed(f"{token} where a value belongs")

    def _subscripted(self, node: Node) -> Node:
        for _ in range(DEEPEST):
            if self.kind not in ("_", "'"):
                return node
            if self._take("'"):
                node = Node("symbol", (node,), "'")
                continue
            self._next()
            node = Node("symbol", (node, self._argument(whole=True)), "_")
        raise Malformed("more marks than any answer has")

    def _bracketed(self, opening: str) -> Node:
        bars, self._bars = self._bars, int(opening == "\\{")
        if self._take(*_CLOSING[opening]):
            return Node("set")
        node = self.list_()
        if opening == "\\{" and self._take("|", ":"):
            node = Node("builder", (self.list_(),))
        self._bars = bars
        closing = self._expect(*_CLOSING[opening])
        if node.kind == "builder":
            return node.args[0]
        items = node.args if node.kind == "list" else (node,)
        if opening == "\\{":
            return Node("set", items)
        return Node("tuple", items, opening + closing) if node.kind == "list" else self._subscripted(node)

    def _matrix(self, name: str) -> Node:
        if name not in _MATRICES:
            raise Unknown(name)
        rows: list[tuple[Node, ...]] = []
        cells: list[Node] = []
        while self.kind != "end" or self.token.text != name:
            cells.append(self._union())
            if self.kind in ("row", "end"):
                rows.append(tuple(cells))
                cells = []
            if not self._take("&", "row") and self.kind != "end":
                raise Malformed(f"{self.token} in a matrix")
            if self.kind == "end" and self.token.text != name:
                raise Malformed("a matrix without its end")
        self._next()
        kind = "det" if name in ("vmatrix", "Vmatrix") else "matrix"
        return Node(kind, tuple(Node("row", row) for row in rows))

    def _function(self, name: str) -> Node:
        if name in _OF_TWO:
            first = self._argument(whole=False)
            second = self._argument(whole=self.token.text != "" and name == "frac" and len(self.token.text) != 1)
            return Node("/", (first, second)) if name == "frac" else Node("call", (first, second), name)
        if name == "sqrt":
            degree = self._index() if self.kind == "[" else Node("number", value=Fraction(2))
            inside = self._argument(whole=True)
            return Node("^", (inside, Node("/", (ONE, degree))))
        base = self._argument(whole=self._after(1).kind in STARTS) if self._take("_") else None
        power = self._argument(whole=True) if self._take("^") else None
        inside = self._inside()
        if name == "log" and base is not None:
            node = Node("call", (inside, base), "log")
        else:
            node = Node("call", inside.args if inside.kind in ("tuple", "list") else (inside,), name)
        if power is None:
            return node
        if power == Node("*", (MINUS_ONE, ONE)):
            return Node("call", node.args, f"arc{name}")
        return Node("^", (node, power))

    def _index(self) -> Node:
        self._expect("[")
        node = self._sum()
        self._expect("]")
        return node

    def _inside(self) -> Node:
        """Read the argument of a function: a bracket, or the product of what stands there up to the next function."""
        if self.kind in ("(", "[", "{", "|"):
            return self._power()
        node = self._unary()
        while self.kind in ("number", "symbol") or (self.kind == "/" and not self._at_unit(1)):
            node = Node("/", (node, self._power())) if self._take("/") else Node("*", (node, self._power()))
        return node
