"""Command line of the training container."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.train.command")
