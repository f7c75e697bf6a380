"""Run uv, fetched through pip, with the package sources that pip is configured with.

    python3 requirements/uv.py ARGUMENTS...

uv reads neither PIP_* variables nor pip's configuration files. Its own variables (UV_DEFAULT_INDEX, UV_FIND_LINKS, ...)
take precedence over what is found there.
"""

import ast
import os
import subprocess
import sys
from pathlib import Path

VERSION = "0.13.9"
FOLDER = Path(__file__).resolve().parent.parent / f".uv/{VERSION}"
VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
PIP = (sys.executable, "-m", "pip")


def main(arguments: list[str]) -> None:
    uv = FOLDER / "bin/uv"
    if not uv.exists():
        quiet = ("-qq", "--disable-pip-version-check", "--root-user-action=ignore")
        subprocess.run([*PIP, "install", *quiet, f"--target={FOLDER}", f"uv=={VERSION}"], check=True)
    os.execve(uv, [str(uv), *arguments], {**sources(), **os.environ})


def sources() -> dict[str, str]:
    """Return pip's package sources as uv's environment variables."""
    listed = subprocess.run([*PIP, "config", "list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    options = dict(line.split("=", 1) for line in listed.splitlines())
    # As pip does: of all indexes the newest version, not the first index that has the package.
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    for option, variable in VARIABLES.items():
        for section in ("global", "install", ":env:"):
            if value := options.get(f"{section}.{option}"):
                found[variable] = ast.literal_eval(value)
    if links := found.get("UV_FIND_LINKS"):
        found["UV_FIND_LINKS"] = ",".join(links.split())
    elif "UV_INDEX" not in found:
        # Only PyTorch's own index has its CPU builds; uv knows where that is.
        found["UV_TORCH_BACKEND"] = "cpu"
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
