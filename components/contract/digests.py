"""SHA-256 of bytes, files and JSON values, as lower-case hex."""

import hashlib
import json
from pathlib import Path
from typing import Any


def bytes_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_digest(value: Any) -> str:
    """Return the digest of a JSON value, independent of key order."""
    return bytes_digest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def derive_seed(*parts: int | str) -> int:
    """Derive a 31-bit seed from the run's seed and the place of a draw; equal parts give equal seeds everywhere."""
    return int(json_digest(list(parts))[:8], 16) & 0x7FFFFFFF
