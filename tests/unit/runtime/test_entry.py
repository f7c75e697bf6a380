"""The end of a command by a signal, whatever it is doing."""

import signal
import subprocess
import sys

import pytest

COMMAND = """
import os, runpy, signal, sys
signal.signal(signal.SIGHUP, signal.{hangup})

class Importing:
    def find_spec(self, name, path, target=None):
        if name == "typer":
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Importing())
sys.argv = ["command", "--help"]
runpy.run_module("{module}", run_name="__main__")
"""
STAGES = ("prepare", "rollout", "reward", "train", "trainjob", "pod", "publish", "tracking")


def command(module: str, number: signal.Signals, hangup: str = "SIG_DFL") -> "subprocess.CompletedProcess[str]":
    code = COMMAND.format(module=module, number=int(number), hangup=hangup)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("module", "number"),
    [
        *(("pipelines.cli.entry", number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
        *((f"components.{stage}", signal.SIGINT) for stage in STAGES),
    ],
)
def test_a_signal_during_the_imports_has_its_own_status_and_no_traceback(module: str, number: signal.Signals) -> None:
    done = command(module, number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


def test_under_nohup_a_hangup_is_ignored() -> None:
    done = command("pipelines.cli.entry", signal.SIGHUP, "SIG_IGN")
    assert done.returncode == 0
    assert "Usage" in done.stdout
