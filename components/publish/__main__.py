"""`python -m components.publish RUN_URI`: the command line of the publish stage."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.publish.command")
