"""Applies graders to completions, inside a grading process.

Nothing beyond the standard library is imported before the graders, so that a process is ready in a few hundredths
of a second.
"""

import hashlib
import importlib
import inspect
import json
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FLOAT32_MAX = 3.4028234e38
_DETAIL_CHARACTERS = 300
_ROW = {"prompt": "", "completion": "", "answer": "", "metadata": {}}
_ROWS: dict[str, list[Any]] = {"prompts": [], "completions": [], "answers": [], "metadata": []}

Outcome = tuple[str, float, dict[str, float], float, str | None]


class Late:
    """Stands for the value of a completion whose time has run out."""


@dataclass(frozen=True)
class LoadedGrader:
    """A grader ready to be called.

    `takes_many` tells a function of (prompts, completions, answers, metadata) from one of (prompt, completion,
    answer, metadata); `is_async` one to be awaited.
    """

    name: str
    weight: float
    function: Callable[..., Any]
    options: dict[str, Any]
    version: str
    takes_many: bool
    is_async: bool

    @property
    def together(self) -> bool:
        """Whether it gains from being given several completions at once."""
        return self.takes_many or self.is_async


@dataclass
class Row:
    """A completion with what has been found about it so far."""

    prompt: str
    completion: str
    answer: str | None
    metadata: str
    status: str = "ok"
    detail: str | None = None
    reward: float = 0.0
    components: dict[str, float] = field(default_factory=dict)

    def arguments(self) -> dict[str, Any]:
        """For one call; metadata is a dict of its own, which a grader may change."""
        metadata = json.loads(self.metadata)
        return {"prompt": self.prompt, "completion": self.completion, "answer": self.answer, "metadata": metadata}

    def take(self, grader: LoadedGrader, value: object, time_limit: float) -> None:
        """What a grader has said of this row, whatever kind of thing that is."""
        try:
            self._take(grader, value, time_limit)
        except BaseException as error:
            # A value of the user's own class may raise at every touch.
            self.status, self.detail = "invalid", _trimmed(f"{grader.name} returned no score: {describe(error)}")

    def _take(self, grader: LoadedGrader, value: object, time_limit: float) -> None:
        if isinstance(value, Late):
            self.status, self.detail = "timeout", f"no result after {time_limit:g} s"
        elif isinstance(value, BaseException):
            self.status, self.detail = "timeout" if isinstance(value, TimeoutError) else "error", describe(value)
        elif (score := _number(value)) is None:
            self.status, self.detail = "invalid", _trimmed(f"{grader.name} returned {value!r}, not a finite number")
        else:
            parts, detail = _parts(value), getattr(value, "detail", None)
            if detail is not None and (text := _trimmed(str(detail))):
                self.detail = text
            self.components |= {grader.name: score, **parts}
            self.reward += grader.weight * score

    def outcome(self, seconds: float) -> Outcome:
        if self.status == "ok" and _number(self.reward) is None:
            self.status, self.detail = "invalid", f"the weighted sum is {self.reward}, not a finite number"
        return self.status, self.reward if self.status == "ok" else 0.0, self.components, seconds, self.detail


def load(name: str, location: str, weight: float, options: dict[str, Any], time_limit: float) -> LoadedGrader:
    """Import a grader, check that it takes its options, and find its version.

    Built-in modules name their `VERSION`, or have a function `grader_version(time_limit=..., **options)` that raises
    where the options cannot work. A function of the user's own is versioned by the digest of its module's file.
    """
    module_name, _, attribute = location.partition(":")
    module = importlib.import_module(module_name)
    function = getattr(module, attribute)
    signature = inspect.signature(function)
    takes_many = "completions" in signature.parameters
    signature.bind(**(_ROWS if takes_many else _ROW), **options)
    if not module_name.startswith("components.reward.graders."):
        found = "sha256-" + hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()[:12]
    elif hasattr(module, "grader_version"):
        found = module.grader_version(time_limit=time_limit, **options)
    else:
        found = module.VERSION
    return LoadedGrader(name, weight, function, options, found, takes_many, inspect.iscoroutinefunction(function))


class Scorer:
    """Weighted sums of graders' scores, for one completion or several at once."""

    def __init__(self, graders: Sequence[LoadedGrader], time_limit: float) -> None:
        self._graders = graders
        self._time_limit = time_limit
        self._runner: Any = None

    def grade(self, rows: list[Row]) -> list[Outcome]:
        """Outcomes in order. The first grader that fails a row decides its status, and its reward is 0."""
        begin = time.perf_counter()
        for grader in self._graders:
            left = [row for row in rows if row.status == "ok"]
            if left:
                for row, value in zip(left, self._values(grader, left), strict=True):
                    row.take(grader, value, self._time_limit)
        seconds = (time.perf_counter() - begin) / len(rows)
        return [row.outcome(seconds) for row in rows]

    def _values(self, grader: LoadedGrader, rows: list[Row]) -> list[object]:
        """A value, an exception or `Late` for every row."""
        if grader.takes_many:
            return self._values_of_many(grader, rows)
        calls = [row.arguments() for row in rows]
        if grader.is_async:
            return self._awaited([grader.function(**call, **grader.options) for call in calls])
        return [_called(grader, call) for call in calls]

    def _values_of_many(self, grader: LoadedGrader, rows: list[Row]) -> list[object]:
        calls = [row.arguments() for row in rows]
        columns = {
            "prompts": [call["prompt"] for call in calls],
            "completions": [call["completion"] for call in calls],
            "answers": [call["answer"] for call in calls],
            "metadata": [call["metadata"] for call in calls],
        }
        if grader.is_async:
            (values,) = self._awaited([grader.function(**columns, **grader.options)])
        else:
            values = _called(grader, columns)
        try:
            return self._divided(grader, rows, values)
        except BaseException as error:  # reading them runs the user's code again
            return [error] * len(rows)

    def _divided(self, grader: LoadedGrader, rows: list[Row], values: object) -> list[object]:
        if isinstance(values, BaseException | Late):
            # One of them may be what the function stumbles over.
            return [values] if len(rows) == 1 else [self._values_of_many(grader, [row])[0] for row in rows]
        try:
            found = list(values)  # type: ignore[call-overload]
        except TypeError:
            found = []
        if len(found) != len(rows):
            wrong = ValueError(f"{grader.name} returned {_trimmed(repr(values))} for {len(rows)} completions")
            return [wrong] * len(rows)
        return found

    def _awaited(self, coroutines: list[Coroutine[Any, Any, Any]]) -> list[object]:
        import asyncio

        async def all_of_them() -> list[object]:
            tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
            _, pending = await asyncio.wait(tasks, timeout=self._time_limit)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            return [Late() if t in pending else (t.exception() or t.result()) for t in tasks]

        # One event loop for the life of the process: clients that graders keep are bound to it.
        self._runner = self._runner or asyncio.Runner()
        try:
            found: list[object] = self._runner.run(all_of_them())
        except BaseException as error:
            return [error] * len(coroutines)
        return found


def describe(error: BaseException) -> str:
    """`TypeName: message` of an exception, trimmed."""
    try:
        message = str(error)
    except BaseException:
        message = "(its message cannot be read)"
    return _trimmed(f"{type(error).__name__}: {message}")


def _called(grader: LoadedGrader, arguments: dict[str, Any]) -> object:
    try:
        return grader.function(**arguments, **grader.options)
    except BaseException as error:
        return error


def _trimmed(text: str) -> str:
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _DETAIL_CHARACTERS else text[: _DETAIL_CHARACTERS - 3] + "..."


def _parts(value: object) -> dict[str, float]:
    """The further components of a `components.reward.score.Score`; none of any other number.

    Raises:
        ValueError: they are no mapping of text to finite numbers.
    """
    parts = getattr(value, "parts", {})
    if not isinstance(parts, Mapping):
        raise ValueError(f"parts are {parts!r}, not a mapping of names to numbers")
    found = {}
    for name, part in parts.items():
        number = _number(part)
        if not _is_text(name) or number is None:
            raise ValueError(f"parts hold {name!r}: {part!r}, not a name and a finite number")
        found[name] = number
    return found


def _is_text(value: object) -> bool:
    # Half of a surrogate pair is no text, and Arrow stores none.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _number(value: object) -> float | None:
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) and abs(number) <= _FLOAT32_MAX else None
