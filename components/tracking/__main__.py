"""`python -m components.tracking RUN_URI`: send to MLflow what was not yet sent."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.tracking.command")
