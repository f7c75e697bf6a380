"""What a grader may return when one number does not say enough."""

from collections.abc import Mapping


class Score(float):
    """A score with figures that join the row's components unweighted, and a line for its detail."""

    parts: Mapping[str, float]
    detail: str | None

    def __new__(cls, value: float, parts: Mapping[str, float], detail: str | None) -> "Score":
        score = super().__new__(cls, value)
        score.parts, score.detail = parts, detail
        return score
