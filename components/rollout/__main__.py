"""Command line of the rollout container."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.rollout.command")
