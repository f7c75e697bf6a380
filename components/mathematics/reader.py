"""A cursor over tokens, and the units after values."""

from collections.abc import Callable
from fractions import Fraction

from components.mathematics.notation import Malformed, Token
from components.mathematics.tree import MINUS_ONE, Node
from components.mathematics.units import LETTERS, SCALES, is_alternative, is_unit, unit

DEEPEST = 40
_NEITHER = {"not", "nor", "but"}


class Reader:
    """A cursor over the tokens of one answer."""

    def __init__(self, found: list[Token], letters_are_units: bool) -> None:
        self._tokens = found
        self._place = 0
        self._depth = 0
        self._bars = 0
        self._letters_are_units = letters_are_units

    @property
    def token(self) -> Token:
        return self._after(0)

    @property
    def kind(self) -> str:
        return self.token.kind

    def _after(self, ahead: int) -> Token:
        place = self._place + ahead
        return self._tokens[place] if place < len(self._tokens) else Token("end")

    def _next(self) -> Token:
        token = self.token
        self._place += 1
        return token

    def _take(self, *kinds: str) -> bool:
        if self.kind in kinds:
            self._place += 1
            return True
        return False

    def _expect(self, *kinds: str) -> str:
        if self.kind not in kinds:
            raise Malformed(f"{self.token} where {' or '.join(kinds)} belongs")
        return self._next().kind

    def _deeper(self, read: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise Malformed("deeper than any answer")
        node = read()
        self._depth -= 1
        return node

    @staticmethod
    def _signed(sign: str, node: Node) -> Node:
        if sign in ("", "+"):
            return node
        return Node("*", (MINUS_ONE, node)) if sign == "-" else Node(sign, (node,))

    def _with_unit(self, node: Node) -> Node:
        """Wrap a value in the unit that follows it."""
        words: list[str] = []
        while self._at_unit() or (words and self._in_phrase()):
            token = self._next()
            if token.kind == "word" and token.text in _NEITHER:
                raise Malformed("another answer behind this one")
            words.append(token.text)
            if self._take("^"):
                braces = self._take("{")
                words[-1] += f"^{self._expect_number()}"
                if braces:
                    self._expect("}")
            if self.kind == "/" and self._at_unit(1):
                self._next()
                words.append("/")
        if not words:
            return node
        text = " ".join(words).replace(" / ", "/")
        if is_alternative(text):
            raise Malformed("another answer behind this one")
        head, _, rest = text.partition(" ")
        while head.lower() in SCALES:
            node = Node("*", (Node("number", value=Fraction(SCALES[head.lower()])), node))
            head, _, rest = rest.partition(" ")
            text = f"{head} {rest}".strip()
        return Node("unit", (node,), unit(text)) if text else node

    def _in_phrase(self) -> bool:
        """Return whether the next word continues a unit, as in `dollars a day`."""
        return self.kind == "word" or (self.kind == "symbol" and self.token.text == "a" and self._at_unit(1))

    def _expect_number(self) -> str:
        token = self._next()
        if token.kind != "number":
            raise Malformed(f"{token} where a number belongs")
        return token.text

    def _at_unit(self, ahead: int = 0) -> bool:
        place, token = self._place + ahead, self._after(ahead)
        if token.kind in ("text", "currency"):
            return True
        if token.kind == "word":
            return is_unit(token.text) or len(token.text) > 3 or token.text in _NEITHER or token.text in LETTERS
        before = self._tokens[place - 1].kind if place else "end"
        return (
            self._letters_are_units
            and token.kind == "symbol"
            and token.text in LETTERS
            and before in ("number", "/", "currency")
        )
