"""Command line of the container of layout pod."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.pod.command")
