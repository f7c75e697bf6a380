"""The stages of a RAPID fine-tune and what they share."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _code_version() -> str:
    """Return the installed version, with the commit in a git checkout; uncommitted changes do not show."""
    try:
        installed = version("rapid-rl")
    except PackageNotFoundError:
        installed = "uninstalled"
    git = Path(__file__).parents[1] / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        commit = (git / head.removeprefix("ref: ")).read_text(encoding="ascii").strip() if "ref: " in head else head
    except OSError:
        return installed
    return f"{installed}+{commit[:12]}"


CODE_VERSION = _code_version()
