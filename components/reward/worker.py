"""A grading process: completions come in as JSON lines, an outcome goes back for each.

Started by `components.reward.pool` and imported by nothing else. Only the standard library is imported before
the graders, so that a process is ready in a few hundredths of a second.

Lines in:   first the graders, `[{name, location, weight, options}, ...]`; then chunks of rows,
            `[[prompt, completion, answer, metadata], ...]` with metadata as JSON text.
Lines out:  first `{"versions": [...]}` or `{"failed": reason}`; then for every row
            `[status, reward, components, seconds, detail]`.
"""

import ctypes
import hashlib
import importlib
import inspect
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_FLOAT32_MAX = 3.4028234e38
_DETAIL_CHARACTERS = 300

Loaded = tuple[str, float, Callable[..., Any]]


def main() -> None:
    _die_with(parent=int(sys.argv[1]))
    # Graders may read standard input and print: they get /dev/null, the parent's pipes are kept apart.
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    own = os.getpid()

    def reply(value: object) -> None:
        if os.getpid() != own:  # a grader forked and its child came back here
            os._exit(1)
        replies.write(json.dumps(value).encode() + b"\n")
        replies.flush()

    graders: list[Loaded] = []
    versions = []
    for spec in json.loads(requests.readline()):
        try:
            function, version = load(spec["location"], spec["options"])
        except BaseException as error:
            reply({"failed": f"{spec['name']}: {describe(error)}"})
            return
        graders.append((spec["name"], spec["weight"], _bound(function, spec["options"])))
        versions.append(version)
    reply({"versions": versions})
    for line in requests:
        for row in json.loads(line):
            reply(grade(graders, *row))


def load(location: str, options: dict[str, Any]) -> tuple[Callable[..., Any], str]:
    """Import a grader, check that it takes its options, and name its version.

    A function of the user's own is versioned by the digest of its module's file.
    """
    module_name, _, name = location.partition(":")
    module = importlib.import_module(module_name)
    function = getattr(module, name)
    inspect.signature(function).bind(prompt="", completion="", answer="", metadata={}, **options)
    if module_name.startswith("components.reward.graders."):
        return function, module.VERSION
    content = Path(str(module.__file__)).read_bytes()
    return function, "sha256-" + hashlib.sha256(content).hexdigest()[:12]


def grade(
    graders: list[Loaded], prompt: str, completion: str, answer: str | None, metadata: str
) -> tuple[str, float, dict[str, float], float, str | None]:
    """Weighted sum of the graders' scores; the first one that fails decides the status, and the reward is 0."""
    begin = time.perf_counter()
    status, detail = "ok", None
    components: dict[str, float] = {}
    reward = 0.0
    for name, weight, function in graders:
        try:
            value = function(prompt=prompt, completion=completion, answer=answer, metadata=json.loads(metadata))
        except BaseException as error:
            status, detail = "error", describe(error)
        else:
            score = _number(value)
            if score is None:
                status, detail = "invalid", _trimmed(f"{name} returned {value!r}, not a finite number")
            else:
                components |= {name: score, **getattr(value, "parts", {})}
                detail = getattr(value, "detail", None) or detail
                reward += weight * score
        if status != "ok":
            break
    if status == "ok" and _number(reward) is None:
        status, detail = "invalid", f"the weighted sum is {reward}, not a finite number"
    return status, reward if status == "ok" else 0.0, components, time.perf_counter() - begin, detail


def describe(error: BaseException) -> str:
    """`TypeName: message` of an exception, trimmed."""
    try:
        message = str(error)
    except Exception:
        message = "(its message cannot be read)"
    return _trimmed(f"{type(error).__name__}: {message}")


def _trimmed(text: str) -> str:
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _DETAIL_CHARACTERS else text[: _DETAIL_CHARACTERS - 3] + "..."


def _number(value: object) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) and abs(number) <= _FLOAT32_MAX else None


def _bound(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    return lambda **row: function(**row, **options)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent dies, also in the middle of a row."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    main()
