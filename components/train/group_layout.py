"""Groups in one row: each prompt once, and its completions after it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np


@dataclass(frozen=True)
class GroupLayout:
    """The places of groups in a row of T tokens.

    The tokens of a completion have the positions that follow the prompt's, and attend to the prompt and to the
    completion itself. A completion's last token predicts nothing and is left out; the prompt's last token predicts the
    first token of every completion.

    Attributes:
        groups: for each group the place of its prompt, the places of its completions, and its end.
    """

    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, lengths: Iterable[Sequence[int]]) -> "GroupLayout":
        """Lay out groups, each given as the tokens of its prompt and of its completions."""
        groups: list[tuple[int, ...]] = []
        for prompt, *completions in lengths:
            begin = groups[-1][-1] if groups else 0
            groups.append(tuple(accumulate([prompt, *(length - 1 for length in completions)], initial=begin)))
        return cls(tuple(groups))

    @property
    def longest(self) -> int:
        """The positions of the longest sequence."""
        return max(
            group[1] - group[0] + max((end - begin for begin, end in pairwise(group[1:])), default=0)
            for group in self.groups
        )

    def positions(self) -> np.ndarray:
        """Return the position of every token in its sequence, int64 [T]."""
        pieces = []
        for begin, first, *rest in self.groups:
            pieces.append(np.arange(first - begin))
            pieces += [first - begin + np.arange(end - start) for start, end in pairwise((first, *rest))]
        return np.concatenate(pieces)

    def predictors(self) -> np.ndarray:
        """Return for every completion token, in order, the place of the token that predicts it, int64."""
        pieces: list[np.ndarray] = []
        for _, first, *rest in self.groups:
            for start, end in pairwise((first, *rest)):
                pieces += [np.array([first - 1]), np.arange(start, end)]
        return np.concatenate(pieces)

    def segments(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of every token's prompt or completion in the row, and that of its prompt, int64 [T]."""
        lengths = [np.diff(group) for group in self.groups]
        first = np.cumsum([0, *(len(pieces) for pieces in lengths)])[:-1]
        own = np.repeat(np.arange(sum(map(len, lengths))), np.concatenate(lengths))
        return own, np.repeat(first, [pieces.sum() for pieces in lengths])
