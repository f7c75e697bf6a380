"""Values that pass between graders and the stage: a grader's score, and the outcome for a completion."""

from collections.abc import Mapping
from typing import NamedTuple


class Score(float):
    """A score that a grader returns together with more components and a detail.

    `parts` join the row's components with their own names and no weight; `detail` becomes the row's detail.
    """

    parts: Mapping[str, float]
    detail: str | None

    def __new__(cls, value: float, parts: Mapping[str, float], detail: str | None) -> "Score":
        score = super().__new__(cls, value)
        score.parts, score.detail = parts, detail
        return score


class Outcome(NamedTuple):
    """The outcome of grading one completion; `reward` is 0 unless `status` is `ok`."""

    status: str
    """`ok`, `timeout`, `error` or `invalid`."""
    reward: float
    components: dict[str, float]
    seconds: float
    detail: str | None
