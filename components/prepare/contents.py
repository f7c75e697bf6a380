"""The kind of a file by the marks at its beginning: compression, encoding, and kinds that hold no rows."""

import json
import lzma
import re
from pathlib import PurePosixPath

from components.contract.errors import InputError

COMPRESSED = (".gz", ".zst", ".zstd", ".bz2", ".xz", ".lz4")
POINTER_BYTES = 1024
"""Git refuses larger LFS pointers."""

_CODECS = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2", b"\x04\x22\x4d\x18": "lz4"}
_XZ = b"\xfd7zXZ\x00"
_TAR = slice(257, 262)
_ROWS = "save its rows as JSON Lines, CSV or Parquet"
_FOREIGN = {
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", f"unpack it, or {_ROWS}"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it"),
    b"Rar!": ("a RAR archive", "unpack it"),
    b"SQLite format 3\x00": ("an SQLite database", _ROWS),
    b"\x89HDF": ("an HDF5 file", _ROWS),
    b"Obj\x01": ("an Avro file", _ROWS),
    b"ORC": ("an ORC file", _ROWS),
    b"FEA1": ("a Feather file of version 1", _ROWS),
    b"\x93NUMPY": ("a NumPy array", _ROWS),
    b"%PDF": ("a PDF document", _ROWS),
    b"\x89PNG": ("an image", _ROWS),
    **{bytes([0x80, protocol]): ("a Python pickle, which is never loaded", _ROWS) for protocol in range(2, 6)},
}
_HTML = re.compile(rb"\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_UNDECODED = re.compile("[\udc80-\udcff]")


def base_name(where: str) -> str:
    """Return the lower-case name of a file without its folder and the suffix of its compression."""
    name = PurePosixPath(where).name.lower()
    return next((name.removesuffix(suffix) for suffix in COMPRESSED if name.endswith(suffix)), name)


def pointer_reason(data: bytes) -> str | None:
    """Return what to do where these bytes only point to a file that Git LFS or git-annex keeps; else None."""
    start = data[:POINTER_BYTES]
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        size = re.search(rb"^size (\d+)", start, re.MULTILINE)
        meant = f" for {int(size[1]):,} bytes" if size else ""
        return f"is a Git LFS pointer{meant}, not the file itself; fetch it with: git lfs pull"
    if start.startswith((b"/annex/objects/", b"../.git/annex/")):
        return "is a git-annex pointer, not the file itself; fetch it with: git annex get"
    return None


def unpacked(data: bytes, where: str) -> bytes:
    """Return the content of a file, decompressed if it is compressed, whatever its name says.

    Raises:
        InputError: it is damaged, or of a kind that holds no rows; the message says which.
    """
    import pyarrow as pa

    if reason := pointer_reason(data):
        raise InputError(f"{where} {reason}")
    codec = next((codec for magic, codec in _CODECS.items() if data.startswith(magic)), None)
    try:
        if codec:
            data = pa.CompressedInputStream(pa.BufferReader(data), codec).read()
        elif data.startswith(_XZ):
            codec, data = "xz", lzma.decompress(data)
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise InputError(f"{where} cannot be decompressed ({codec or 'xz'}): {error}") from None
    if data[_TAR] == b"ustar":
        raise InputError(f"{where} is a tar archive; unpack it")
    for magic, (kind, fix) in _FOREIGN.items():
        if data.startswith(magic):
            raise InputError(f"{where} is {kind}; {fix}")
    if _HTML.match(data[:POINTER_BYTES]):
        raise InputError(f"{where} is an HTML page, as a server sends it instead of a file; download the file itself")
    return data


def decoded(data: bytes, where: str) -> str:
    """Return text without its byte order mark. Bytes that are not UTF-8 are kept for `undecoded` to find.

    Raises:
        InputError: it is cut UTF-16 or UTF-32.
    """
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogateescape" if encoding.startswith("utf-8") else "strict")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is {encoding.upper()} that is damaged: {error.reason}") from None


def undecoded(text: str) -> str | None:
    """Return why text is not UTF-8, by the first byte that is not; None where it is."""
    found = None if text.isascii() else _UNDECODED.search(text)
    return found and f"not UTF-8 but perhaps Latin-1 (byte 0x{ord(found.group()) - 0xDC00:02x})"
