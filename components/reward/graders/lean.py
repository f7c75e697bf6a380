"""Formal proofs in Lean 4, verified by a kimina-lean-server."""

import re
from collections.abc import Sequence
from typing import Any, Literal

from components.contract.answers import without_reasoning
from components.reward.graders import grader
from components.reward.graders.http_endpoint import RequestFailed, check_endpoint, endpoint
from components.reward.graders.lean_source import Refused, Source, complete
from components.reward.score import Score

AXIOMS = frozenset({"propext", "Classical.choice", "Quot.sound"})
_PATHS = {"check": "/api/check", "verify": "/verify"}


def _check(
    url: str,
    mathlib: str,
    key_env: str | None,
    timeout: int,
    request_timeout: float,
    retries: int,
    per_request: int,
    protocol: str,
    time_limit: float,
) -> str:
    """Check the options, and return the versions of the server's Lean and Mathlib."""
    check_endpoint(url, key_env, request_timeout, retries, time_limit)
    if protocol not in _PATHS:
        raise ValueError(f"protocol must be check or verify (got {protocol!r})")
    if timeout >= request_timeout:
        raise ValueError(f"request_timeout must exceed timeout, {timeout} (got {request_timeout:g})")
    if per_request < 1:
        raise ValueError(f"per_request must be positive (got {per_request})")
    server = endpoint(url.rstrip("/") + _PATHS[protocol], key_env, request_timeout, retries)
    (reply,) = server.post_all([_request(protocol, [("version", "#eval Lean.versionString")], timeout)])
    results = _results(protocol, reply)
    if isinstance(results, Exception):
        raise results
    messages = (results.get("version", {}).get("response") or {}).get("messages") or []
    found = re.search(r"\d+\.\d+\.\d+[\w.-]*", " ".join(str(m.get("data")) for m in messages))
    if found is None:
        raise ValueError(f"the server at {url} does not return its version of Lean: {str(results)[:200]}")
    return f"lean-{found.group()}+mathlib-{mathlib}"


@grader(version="2", check=_check)
def lean(
    completions: list[str],
    metadata: list[dict[str, Any]],
    prompts: list[str] | None = None,
    *,
    url: str,
    mathlib: str,  # noqa: ARG001
    key_env: str | None = None,
    timeout: int = 60,
    request_timeout: float = 120.0,
    retries: int = 1,
    per_request: int = 8,
    protocol: Literal["check", "verify"] = "check",
    reasoning_end: str | None = "auto",
) -> list[float | Exception]:
    """Return 1 where Lean accepts the completion as a proof from the three standard axioms, else 0.

    The statement is the prompt's `formal_statement`, its imports the prompt's `header` (MiniF2F's columns).
    Completions that cheat score 0 without being sent (`lean_source`); the detail says why.

    Args:
        url: of the server, a kimina-lean-server.
        mathlib: revision of the server's Mathlib; it goes into the grader's version, with the version of Lean.
        key_env: environment variable that holds the server's key.
        timeout: seconds Lean may take for one proof.
        request_timeout: seconds a request of up to `per_request` proofs may take, waiting in the server included.
        protocol: `check` is the server's current protocol (/api/check), `verify` that of its first versions (/verify).
        reasoning_end: the mark that ends the reasoning (`components.contract.answers.without_reasoning`).
    """
    found: dict[int, float | Exception] = {}
    sources: dict[int, Source] = {}
    asked = prompts or [""] * len(completions)
    for row, (completion, about, prompt) in enumerate(zip(completions, metadata, asked, strict=True)):
        try:
            if "formal_statement" not in about:
                raise ValueError("the prompt has no formal_statement")
            text = without_reasoning(completion, prompt, reasoning_end)
            if text is None:
                raise Refused("the reasoning does not end")
            sources[row] = complete(about.get("header") or "", about["formal_statement"], text)
        except Refused as refused:
            found[row] = Score(0.0, {}, str(refused))
        except ValueError as error:
            found[row] = error
    rows = list(sources)
    batches = [rows[i : i + per_request] for i in range(0, len(rows), per_request)]
    server = endpoint(url.rstrip("/") + _PATHS[protocol], key_env, request_timeout, retries)
    bodies = [_request(protocol, [(str(row), sources[row].code) for row in batch], timeout) for batch in batches]
    for batch, reply in zip(batches, server.post_all(bodies), strict=True):
        results = _results(protocol, reply)
        for row in batch:
            found[row] = _score(results.get(str(row)) if isinstance(results, dict) else results, sources[row].name)
    return [found[row] for row in range(len(completions))]


def _request(protocol: str, sources: Sequence[tuple[str, str]], timeout: int) -> dict[str, Any]:
    if protocol == "verify":
        return {"codes": [{"custom_id": name, "proof": code} for name, code in sources], "timeout": timeout}
    return {
        "snippets": [{"id": name, "code": code} for name, code in sources],
        "timeout": timeout,
        "debug": False,
        "reuse": True,
    }


def _results(protocol: str, reply: Any) -> dict[str, dict[str, Any]] | Exception:
    """Return results by name."""
    if isinstance(reply, Exception):
        return reply
    try:
        return {str(result["custom_id" if protocol == "verify" else "id"]): result for result in reply["results"]}
    except (LookupError, TypeError):
        return RequestFailed(f"the reply is not that of a kimina-lean-server: {str(reply)[:200]}")


def _score(result: dict[str, Any] | Exception | None, name: str) -> float | Exception:
    if isinstance(result, Exception):
        return result
    if result is None:
        return RequestFailed("the reply has no result for this proof")
    if error := result.get("error"):
        # The header holds the prompt's imports, which are slow where the server is cold or busy.
        late = "timed out" in str(error) and "header command" not in str(error)
        return TimeoutError(error) if late else RequestFailed(f"the server failed: {error}")
    response = result.get("response")
    if not isinstance(response, dict) or "message" in response:
        return RequestFailed(f"Lean's REPL failed: {str(response)[:200]}")
    if is_proved(response, name):
        return 1.0
    errors = [str(m.get("data")) for m in response.get("messages") or [] if m.get("severity") == "error"]
    return Score(0.0, {}, errors[0] if errors else "not proved from the standard axioms alone")


def is_proved(response: dict[str, Any], name: str) -> bool:
    """Return whether, by Lean's reply, the theorem is proved from the standard axioms alone.

    The last command prints the theorem's axioms, which shows that Lean reached the end.
    """
    messages = [(m.get("severity"), str(m.get("data"))) for m in response.get("messages") or []]
    if response.get("sorries") or any(severity == "error" or "sorry" in data for severity, data in messages):
        return False
    about = [data for severity, data in messages if severity == "info" and data.startswith(f"'{name}' ")]
    if len(about) != 1:
        return False
    text = " ".join(about[0].split()).removeprefix(f"'{name}' ")
    if text == "does not depend on any axioms":
        return True
    listed = re.fullmatch(r"depends on axioms: \[(.*)\]", text)
    return listed is not None and {axiom.strip() for axiom in listed[1].split(",")} <= AXIOMS
