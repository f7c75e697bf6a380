"""Calls of graders, inside a grading process.

Nothing beyond the standard library is imported before the graders, so that a process is ready in a few hundredths
of a second.
"""

import hashlib
import importlib
import inspect
import json
import math
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components.reward.score import Outcome

_FLOAT32_MAX = 3.4028234e38
_MAX_DETAIL_CHARACTERS = 300
_FIELDS = {"prompt": "prompt", "completion": "completion", "answer": "answer", "metadata": "metadata"}
_BATCH_FIELDS = {"prompts": "prompt", "completions": "completion", "answers": "answer", "metadata": "metadata"}
# The value of a completion for which an asynchronous grader returned nothing in time.
_NO_RESULT = object()


@dataclass(frozen=True)
class LoadedGrader:
    """A grader that is ready to be called.

    `arguments` maps the arguments of a completion that the function names to fields of `GradedCompletion`; `batched`
    tells whether they are lists for several completions.
    """

    name: str
    weight: float
    function: Callable[..., Any]
    arguments: Mapping[str, str]
    options: dict[str, Any]
    version: str
    batched: bool
    is_async: bool

    @property
    def prefers_batches(self) -> bool:
        """True if it gains from several completions at once."""
        return self.batched or self.is_async


@dataclass
class GradedCompletion:
    """A completion, and its rewards so far."""

    prompt: str
    completion: str
    answer: str | None
    metadata: str
    status: str = "ok"
    detail: str | None = None
    reward: float = 0.0
    components: dict[str, float] = field(default_factory=dict)

    def field(self, name: str) -> Any:
        """Return a field as graders get it; metadata is a new dict each time, which they may change."""
        return json.loads(self.metadata) if name == "metadata" else getattr(self, name)

    def add(self, grader: LoadedGrader, value: object, time_limit: float) -> None:
        """Add what a grader returned or raised."""
        try:
            self._add(grader, value, time_limit)
        except BaseException as error:
            # A value of the user's own class may raise whenever it is used.
            self.status, self.detail = "invalid", _trimmed(f"{grader.name} returned no score: {describe(error)}")

    def _add(self, grader: LoadedGrader, value: object, time_limit: float) -> None:
        if value is _NO_RESULT:
            self.status, self.detail = "error", f"no result after {time_limit:g} s"
        elif isinstance(value, BaseException):
            # An asynchronous grader waits for a service, whose delays are not the completion's fault.
            late = isinstance(value, TimeoutError) and not grader.is_async
            self.status, self.detail = "timeout" if late else "error", describe(value)
        elif (score := _finite(value)) is None:
            self.status, self.detail = "invalid", _trimmed(f"{grader.name} returned {value!r}, not a finite number")
        else:
            parts, detail = _parts(value), getattr(value, "detail", None)
            if detail is not None and (text := _trimmed(str(detail))):
                self.detail = text
            self.components |= {grader.name: score, **parts}
            self.reward += grader.weight * score

    def outcome(self, seconds: float) -> Outcome:
        if self.status == "ok" and _finite(self.reward) is None:
            self.status, self.detail = "invalid", f"the weighted sum is {self.reward}, not a finite number"
        return Outcome(self.status, self.reward if self.status == "ok" else 0.0, self.components, seconds, self.detail)


def load_grader(
    name: str, location: str, weight: float, options: dict[str, Any], sandbox: dict[str, Any] | None, time_limit: float
) -> LoadedGrader:
    """Import a grader, check its options, and find its version.

    A function without the decorator `components.reward.graders.grader` has the digest of its module's file as version.

    Raises:
        Exception: it cannot be imported, does not take its options, or its check refuses them.
    """
    module_name, _, attribute = location.partition(":")
    module = importlib.import_module(module_name)
    function = getattr(module, attribute)
    signature = inspect.signature(function)
    batched = _takes_batch(signature.parameters.keys())
    arguments = _named(signature, _BATCH_FIELDS if batched else _FIELDS)
    options = options if sandbox is None else {**options, "sandbox": sandbox}
    bound = signature.bind(**arguments, **options)
    if declaration := getattr(function, "declaration", None):
        bound.apply_defaults()
        check = declaration.check or (lambda: None)
        addition = check(**_named(inspect.signature(check), {**bound.arguments, "time_limit": time_limit}))
        version = f"{declaration.version}+{addition}" if addition else declaration.version
    else:
        version = "sha256-" + hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()[:12]
    is_async = inspect.iscoroutinefunction(function)
    return LoadedGrader(name, weight, function, arguments, options, version, batched, is_async)


class WeightedGraders:
    """Graders whose weighted sum is the reward, for one completion or several at once."""

    def __init__(self, graders: Sequence[LoadedGrader], time_limit: float) -> None:
        self._graders = graders
        self._time_limit = self._left = time_limit
        self._runner: Any = None

    def grade(self, completions: list[GradedCompletion]) -> list[Outcome]:
        """Return outcomes in order. The first grader that fails a completion decides its status."""
        begin = time.perf_counter()
        for grader in self._graders:
            remaining = [completion for completion in completions if completion.status == "ok"]
            if remaining:
                # A completion that is graded alone is answered before the process is killed at the limit.
                spent = time.perf_counter() - begin if len(completions) == 1 else 0.0
                self._left = max(0.0, self._time_limit - spent)
                for completion, value in zip(remaining, self._values(grader, remaining), strict=True):
                    completion.add(grader, value, self._time_limit)
        seconds = (time.perf_counter() - begin) / len(completions)
        return [completion.outcome(seconds) for completion in completions]

    def _values(self, grader: LoadedGrader, completions: list[GradedCompletion]) -> list[object]:
        """Return a value, an exception or `_NO_RESULT` for every completion."""
        if grader.batched:
            return self._batch_values(grader, completions)
        calls = [{name: c.field(which) for name, which in grader.arguments.items()} for c in completions]
        if grader.is_async:
            return self._await([grader.function(**call, **grader.options) for call in calls])
        return [_call(grader, call) for call in calls]

    def _batch_values(self, grader: LoadedGrader, completions: list[GradedCompletion]) -> list[object]:
        columns = {name: [c.field(which) for c in completions] for name, which in grader.arguments.items()}
        if grader.is_async:
            (values,) = self._await([grader.function(**columns, **grader.options)])
        else:
            values = _call(grader, columns)
        try:
            return self._split(grader, completions, values)
        except BaseException as error:  # reading the values runs the user's code again
            return [error] * len(completions)

    def _split(self, grader: LoadedGrader, completions: list[GradedCompletion], values: object) -> list[object]:
        if isinstance(values, BaseException) or values is _NO_RESULT:
            # One completion may be the cause: each is tried alone.
            alone = len(completions) == 1
            return [values] if alone else [self._batch_values(grader, [c])[0] for c in completions]
        try:
            found: list[object] = list(values)  # type: ignore[call-overload]
        except TypeError:
            found = []
        if len(found) != len(completions):
            error = ValueError(f"{grader.name} returned {_trimmed(repr(values))} for {len(completions)} completions")
            return [error] * len(completions)
        return found

    def _await(self, coroutines: list[Coroutine[Any, Any, Any]]) -> list[object]:
        import asyncio

        async def wait() -> list[object]:
            tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
            _, pending = await asyncio.wait(tasks, timeout=self._left)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            return [_NO_RESULT if task in pending else (task.exception() or task.result()) for task in tasks]

        # One event loop for the life of the process: clients that graders keep are bound to it.
        self._runner = self._runner or asyncio.Runner()
        try:
            found: list[object] = self._runner.run(wait())
        except BaseException as error:
            return [error] * len(coroutines)
        return found


def describe(error: BaseException) -> str:
    """Return `TypeName: message` of an exception, trimmed."""
    try:
        message = str(error)
    except BaseException:
        message = "(its message cannot be read)"
    return _trimmed(f"{type(error).__name__}: {message}")


def _takes_batch(names: Set[str]) -> bool:
    """Return whether a grader takes lists. Its options may have the names of the other kind's arguments."""
    single, batch = _FIELDS.keys() - {"metadata"}, _BATCH_FIELDS.keys() - {"metadata"}
    return "completions" in names or (not names.isdisjoint(batch) and names.isdisjoint(single))


def _named(signature: inspect.Signature, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of `values` that a function names as parameters; all of them if it takes `**anything`."""
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    return {name: value for name, value in values.items() if takes_all or name in signature.parameters}


def _call(grader: LoadedGrader, arguments: dict[str, Any]) -> object:
    try:
        return grader.function(**arguments, **grader.options)
    except BaseException as error:
        return error


def _trimmed(text: str) -> str:
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= _MAX_DETAIL_CHARACTERS else text[: _MAX_DETAIL_CHARACTERS - 3] + "..."


def _parts(value: object) -> dict[str, float]:
    """Return the parts of a `components.reward.score.Score`; none for any other number.

    Raises:
        ValueError: they are not a mapping of text to finite numbers.
    """
    parts = getattr(value, "parts", {})
    if not isinstance(parts, Mapping):
        raise ValueError(f"parts are {parts!r}, not a mapping of names to numbers")
    found = {}
    for name, part in parts.items():
        number = _finite(part)
        if not _is_text(name) or number is None:
            raise ValueError(f"parts hold {name!r}: {part!r}, not a name and a finite number")
        found[name] = number
    return found


def _is_text(value: object) -> bool:
    # Half of a surrogate pair is not valid text, and Arrow cannot store it.
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _finite(value: object) -> float | None:
    """Return a number that float32 can hold; None for anything else."""
    if isinstance(value, str | bytes):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]
    except Exception:
        return None
    return number if math.isfinite(number) and abs(number) <= _FLOAT32_MAX else None
