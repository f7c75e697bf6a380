"""Paths of a configuration as pods see them."""

import os
from pathlib import Path

from pipelines.preflight.findings import Finding


def check_pod_path(key: str, text: str, alternatives: str) -> Finding:
    """Refuse a path on this machine. An absolute path that does not exist here may exist in the pods.

    Args:
        key: configuration key of the path.
        alternatives: values that pods can reach, for the message.
    """
    path = Path(text.removeprefix("file://")).expanduser()
    # Unlike Path.exists, this returns False for what is in a directory that this user may not search.
    if path.is_absolute() and not os.path.exists(path):  # noqa: PTH110
        return Finding.ok(key, f"{text}, expected in the pods")
    return Finding.error(key, f"{text} is on this machine", f"copy it where pods can reach it, and give {alternatives}")
