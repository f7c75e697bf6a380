"""Command line of the launcher."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.trainjob.command")
