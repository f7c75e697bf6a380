"""How a person starts the commands of this environment from where they are."""

import shutil
import sys
from pathlib import Path


def script(name: str) -> str:
    """The bare name where it is on PATH, else the path into this environment."""
    if shutil.which(name):
        return name
    path = Path(sys.executable).parent / name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
