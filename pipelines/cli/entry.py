"""The `rapid` command."""

from components.runtime.entry import run_command


def main() -> None:
    """Run the command; a signal ends it at any moment, from its first import on."""
    run_command("pipelines.cli.main")


if __name__ == "__main__":
    main()
