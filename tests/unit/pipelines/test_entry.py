"""The command's end by a signal, whatever it is doing."""

import signal
import subprocess
import sys

import pytest

COMMAND = """
import os, signal, sys, types
signal.signal(signal.SIGHUP, signal.{hangup})
from pipelines.cli.entry import main

class Importing:
    def find_spec(self, name, path, target=None):
        if name == "pipelines.cli.main":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Importing())
sys.argv = ["rapid", "--help"]
main()
"""


def rapid(number: signal.Signals, hangup: str = "SIG_DFL") -> "subprocess.CompletedProcess[str]":
    code = COMMAND.format(number=int(number), hangup=hangup)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_imports_has_its_own_status_and_no_traceback(number: signal.Signals) -> None:
    done = rapid(number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_under_nohup_a_hangup_is_ignored() -> None:
    done = rapid(signal.SIGHUP, "SIG_IGN")
    assert done.returncode == 0
    assert "Usage" in done.stdout
