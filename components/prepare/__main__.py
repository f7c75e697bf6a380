"""The container's command line: `python -m components.prepare CONFIG.yaml [key=value ...]`."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.prepare.command")
