"""Naming how a process ended."""

import pytest

from components.sandbox.exits import describe_exit


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(0, "exit status 0"), (3, "exit status 3"), (-9, "SIGKILL"), (-34, "SIGRTMIN"), (-40, "signal 40")],
)
def test_every_ending_has_words(returncode, words):
    assert describe_exit(returncode) == words
