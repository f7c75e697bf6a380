"""Scratch directories on a shared file system, for the modes without a mount of its own for each program."""

import os
import shutil
from contextlib import suppress

_MAX_DEPTH = 32


def exceeds(path: str, disk: int, files: int) -> bool:
    """Return whether a tree holds more than `disk` bytes or `files` files, is too deep, or cannot be read."""
    used = count = 0
    waiting = [(path, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            return True
        with entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    used += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, depth + 1))
                count += 1
                if used > disk or count > files or depth > _MAX_DEPTH:
                    return True
    return False


def remove(path: str) -> None:
    """Remove a tree of any depth.

    The content of a directory is moved up before the directory is removed: on a tree a thousand levels deep,
    `shutil.rmtree` fails, and so does every path longer than 4,096 bytes.
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
