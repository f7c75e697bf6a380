import json

import pyarrow as pa
import pytest

from components.contract.errors import InputError
from components.contract.rollout_config import EvaluateSection
from components.results import breakdown, subject_column

EVALUATE = EvaluateSection(samples=4, pass_k=(1, 4))


def completions(*prompts: tuple[dict, list[str]]) -> pa.Table:
    """Four completions of each prompt; its answer is 7."""
    rows = [
        {
            "group_id": f"{number:05d}",
            "text": f"so\n#### {answer}",
            "answer": "7",
            "reward": float(answer == "7"),
            "status": "timeout" if answer == "late" else "ok",
            "metadata": json.dumps(metadata),
        }
        for number, (metadata, answers) in enumerate(prompts)
        for answer in answers
    ]
    table = pa.Table.from_pylist(rows)
    return table.set_column(3, "reward", table["reward"].cast(pa.float32()))


ROWS = completions(
    ({"subject": "Algebra", "level": 1}, ["7", "7", "8", "9"]),
    ({"subject": "Algebra", "level": 2}, ["8", "8", "8", "7"]),
    ({"subject": "Geometry", "level": 1}, ["7", "7", "7", "late"]),
)


def test_all_rows_and_every_subject() -> None:
    whole, algebra, geometry = breakdown(ROWS, EVALUATE, "subject")
    assert (whole.subject, whole.prompts, whole.completions, whole.failed) == ("all", 3, 12, 1)
    assert (algebra.subject, algebra.prompts, algebra.reward) == ("Algebra", 2, 3 / 8)
    assert algebra.pass_at_k == {1: pytest.approx(3 / 8), 4: 1.0}
    assert algebra.majority_at_k == {4: 0.5}
    assert (geometry.pass_at_k[1], geometry.majority_at_k, geometry.failed) == (0.75, {4: 1.0}, 1)


def test_the_column_is_the_first_known_one_that_tells_prompts_apart() -> None:
    assert subject_column(ROWS) == "subject"
    same = completions(({"subject": "Algebra", "level": 1}, ["7"] * 4), ({"subject": "Algebra", "level": 2}, ["7"] * 4))
    assert subject_column(same) == "level"
    assert subject_column(completions(({}, ["7"] * 4))) is None


def test_a_column_that_is_not_there_is_answered_with_those_that_are() -> None:
    with pytest.raises(InputError, match="no column 'topic'; they have level, subject"):
        breakdown(ROWS, EVALUATE, "topic")


def test_without_answers_there_is_no_vote() -> None:
    rows = ROWS.set_column(2, "answer", pa.nulls(12, pa.string()))
    assert breakdown(rows, EVALUATE, None)[0].majority_at_k == {}


def test_equal_answers_in_another_spelling_vote_together() -> None:
    rows = completions(({}, ["1,000", "$1000", "8", "9"]))
    assert breakdown(rows, EVALUATE, None)[0].majority_at_k == {4: 0.0}
