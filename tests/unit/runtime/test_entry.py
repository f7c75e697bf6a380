"""The end of a command by a signal, whatever it is doing."""

import signal
import subprocess
import sys
import time

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
def test_a_signal_during_the_imports_has_its_own_status_and_one_line(module: str, number: signal.Signals) -> None:
    done = command(module, number)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"stopped by {number.name}\n")


MAIN = """
import os, signal, sys, time, types
import typer
from components.runtime import entry
from components.runtime.guard import exit_on_bad_input

def kill(number):
    os.kill(os.getpid(), number)
    time.sleep(0)

class Destroyed:
    def __del__(self):
        kill(signal.SIGTERM)

command = typer.Typer(add_completion=False)

@command.command()
def work():
    {work}

def main():
    with exit_on_bad_input():
        command()

sys.modules["commands"] = types.ModuleType("commands")
sys.modules["commands"].main = main
entry._CLEANING_SECONDS = {seconds}
sys.argv = ["command"]
entry.run_command("commands")
"""


def main_of(work: str, seconds: float = 5.0) -> "subprocess.Popen[str]":
    words = [sys.executable, "-c", MAIN.format(work=work.strip().replace("\n", "\n    "), seconds=seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_signal_that_is_lost_in_a_destructor_does_not_keep_the_next_one_out() -> None:
    process = main_of("Destroyed()\nprint('goes on', flush=True)\ntime.sleep(60)", seconds=0.2)
    assert process.stdout
    assert process.stdout.readline() == "goes on\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGINT
    assert "Exception ignored in" in err
    assert err.endswith("\nstopped by SIGINT\n")


CLEANS = """
try:
    kill(signal.SIGTERM)
finally:
    kill(signal.SIGINT)
    print("cleaned")
"""
HANDLES = """
try:
    kill(signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped; goes on from here next time")
    raise typer.Exit(130) from None
"""


@pytest.mark.parametrize(
    ("work", "out", "err"),
    [(CLEANS, "cleaned\n", "stopped by SIGTERM\n"), (HANDLES, "stopped; goes on from here next time\n", "")],
)
def test_a_command_cleans_up_after_a_signal_and_says_in_one_line_that_it_stopped(work: str, out: str, err: str) -> None:
    process = main_of(work)
    assert process.communicate(timeout=30) == (out, err)
    assert process.returncode == 128 + signal.SIGTERM


def test_under_nohup_a_hangup_is_ignored() -> None:
    done = command("pipelines.cli.entry", signal.SIGHUP, "SIG_IGN")
    assert done.returncode == 0
    assert "Usage" in done.stdout
