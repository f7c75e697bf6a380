"""Scratch directories on a file system that others use too; where there are namespaces each program has its own."""

import os
import shutil
from contextlib import suppress


def exceeds(path: str, disk: int, files: int) -> bool:
    """Whether more than `disk` bytes or `files` files lie in a directory, which has no directories in it."""
    used = count = 0
    with suppress(FileNotFoundError), os.scandir(path) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                used += entry.stat(follow_symlinks=False).st_blocks * 512
            count += 1
            if used > disk or count > files:
                return True
    return False


def remove(path: str) -> None:
    """Remove a tree of any depth.

    What lies in a directory is moved up before the directory goes: `shutil.rmtree` and every path that is longer
    than 4,096 bytes fail on a tree that a program made a thousand levels deep.
    """
    moved = 0
    pending = True
    while pending:
        pending = False
        with os.scandir(path) as entries:
            folders = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for folder in folders:
            os.chmod(folder, 0o700)
            for name in os.listdir(folder):
                pending = True
                os.rename(f"{folder}/{name}", f"{path}/{moved}.moved")
                moved += 1
            os.rmdir(folder)
    shutil.rmtree(path)
