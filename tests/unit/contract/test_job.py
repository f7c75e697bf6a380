"""The name of the run that a job of Kubeflow works on."""

import pytest

from components.contract.config import RunSection
from components.contract.job import DUE_LENGTH, NO_JOB, Job

FIRING = Job("fbd2cb2e-ab3d-4a02-8feb-e3bd41b8b0c1", "", "2026-11-28T18:44:16Z")


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("", "adder-fbd2cb2e"),
        ("hot", "hot"),
        ("nightly-{due}", "nightly-20261128-1844-fbd2cb2e"),
        ("{due}.nightly", "20261128-1844-fbd2cb2e.nightly"),
    ],
)
def test_names(given: str, name: str) -> None:
    assert FIRING.run_name(given, "adder") == name
    assert RunSection(name=name).name == name


def test_a_time_may_be_written_in_any_zone() -> None:
    there = Job(FIRING.id, "", "2026-11-28T19:44:16+01:00")
    assert there.run_name("{due}", "adder") == FIRING.run_name("{due}", "adder")
    assert len(FIRING.run_name("{due}", "adder")) == DUE_LENGTH


def test_two_firings_of_one_minute_have_two_names() -> None:
    other = Job("11111111-ab3d-4a02-8feb-e3bd41b8b0c1", "", "2026-11-28T18:44:46Z")
    assert other.run_name("n-{due}", "adder") != FIRING.run_name("n-{due}", "adder")


def test_the_longest_name_leaves_room_for_the_job() -> None:
    assert len(FIRING.run_name("", "n" * 63)) == 63


def test_one_machine_has_no_jobs() -> None:
    assert NO_JOB.run_name("", "adder") == "adder"
