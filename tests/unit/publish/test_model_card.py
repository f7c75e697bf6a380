from pathlib import Path
from typing import Any

import pytest

from components.publish.model_card import model_card
from components.results import read_run
from tests.support.fake_run import finished_run

RUNS = {"train": "prompts.jsonl", "replay": ["easy", "hard"]}


@pytest.mark.parametrize(
    ("sections", "row"),
    [
        (
            {"data": RUNS, "loop": {"replay": 0.5}},
            "| replayed | 0.5 of each mini-batch, from earlier iterations and the runs `easy`, `hard` |",
        ),
        (
            {"data": RUNS, "rollout": {"guide": {"share": 0.25, "column": "solution"}}},
            "| guided starts | 0.25 of the groups in the first 5 iterations, from completions that passed in earlier "
            "iterations and the runs `easy`, `hard`, else from the column `solution` |",
        ),
        (
            {"train": {"cloning": {"coefficient": 0.1}}},
            "| cloning | completions with a reward above 0.5, coefficient 0.1 |",
        ),
    ],
)
def test_it_says_what_was_learned_from_beside_fresh_completions(
    tmp_path: Path, sections: dict[str, Any], row: str
) -> None:
    run = finished_run(tmp_path, iterations=1, **sections).run
    assert row in model_card(run, read_run(run), 1).splitlines()


def test_without_other_sources_it_has_no_such_rows(tmp_path: Path) -> None:
    run = finished_run(tmp_path, iterations=1).run
    card = model_card(run, read_run(run), 1)
    assert not any(f"| {name} |" in card for name in ("replayed", "guided starts", "cloning"))
