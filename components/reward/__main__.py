"""The container's command line: `python -m components.reward RUN_URI --round iteration-0003 --shard 0`."""

from components.runtime.entry import run_command

if __name__ == "__main__":
    run_command("components.reward.command")
