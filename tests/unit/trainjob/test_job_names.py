import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from components.trainjob.job_settings import job_name, label_value

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@given(run=st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}", fullmatch=True), iteration=st.integers(1, 48))
def test_names_are_dns_labels_that_leave_room_for_those_of_pods(run: str, iteration: int) -> None:
    name = job_name(f"s3://bucket/fine-tunes/runs/{run}", iteration)
    assert LABEL.fullmatch(name)
    assert len(f"{name}-node-0-9999-abcde") <= 63
    assert re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?", label_value(run))


def test_a_name_says_which_run_and_iteration_it_is() -> None:
    assert job_name("s3://bucket/runs/My_Run.v2", 7).startswith("rapid-my-run-v2-0007-")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("s3://bucket/runs/demo", "s3://elsewhere/runs/demo"),
        ("s3://bucket/runs/demo", "s3://bucket/runs/Demo"),
        ("s3://bucket/runs/a-very-long-name-of-a-run-1", "s3://bucket/runs/a-very-long-name-of-a-run-2"),
    ],
    ids=["store", "case", "end"],
)
def test_different_runs_have_different_names(one: str, other: str) -> None:
    assert job_name(one, 1) != job_name(other, 1)
    assert job_name(one, 1) == job_name(one, 1)
    assert job_name(one, 1) != job_name(one, 2)
