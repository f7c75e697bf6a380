"""Descriptions of how a process ended."""

import pytest

from components.sandbox.exits import describe_exit


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(0, "exit status 0"), (3, "exit status 3"), (-9, "SIGKILL"), (-34, "SIGRTMIN"), (-40, "signal 40")],
)
def test_every_exit_status_is_described(returncode, words):
    assert describe_exit(returncode) == words
