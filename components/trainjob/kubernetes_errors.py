"""Errors of Kubernetes and of the connection to it, as one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import urllib3
from kubernetes.client import ApiException

from components.contract.errors import InputError

MISSING, CONFLICT = 404, 409

_FIXES = {
    401: "the token of this pod's service account, or the kubeconfig, is not accepted",
    403: "give this service account the role in k8s/ that launches training jobs",
    MISSING: "install Kubeflow Trainer 2.3 or newer, whose resources these are",
    413: "the settings of the job are too large",
    422: "the cluster's settings ask for what the cluster does not take",
}


@contextmanager
def kubernetes_errors(what: str, fix: dict[int, str] | None = None) -> Iterator[None]:
    """Turn errors of Kubernetes and of the connection into an InputError: `<what>: <why>; <how to fix it>`.

    Args:
        fix: advice by status, in place of the usual one.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        cause = root(error)
        if isinstance(cause, ApiException) and cause.status:
            advice = {**_FIXES, **(fix or {})}.get(cause.status, "start the stage again once the cluster is well")
            reason = f"Kubernetes answered {cause.status} ({_message(cause)}); {advice}"
        elif isinstance(cause, ApiException | urllib3.exceptions.HTTPError | OSError):
            reason = f"Kubernetes cannot be reached ({_first_line(_reason(cause))}); start the stage again once it can"
        elif isinstance(error, RuntimeError | ValueError):
            # The SDK itself refuses its arguments: a runtime, or a setting.
            reason = _first_line(str(cause))
        else:
            raise
        raise InputError(f"{what}: {reason}") from None


def is_missing(error: BaseException) -> bool:
    """Return whether an object is missing, rather than its whole kind."""
    cause = root(error)
    return isinstance(cause, ApiException) and cause.status == MISSING and "name" in _answer(cause).get("details", {})


def root(error: BaseException) -> BaseException:
    """Return the cause of an error that the SDK has wrapped."""
    while not isinstance(error, ApiException | urllib3.exceptions.HTTPError | TimeoutError) and error.__cause__:
        error = error.__cause__
    return error


def _message(error: ApiException) -> str:
    return _first_line(str(_answer(error).get("message") or error.reason))


def _answer(error: ApiException) -> dict[str, Any]:
    """Return the Status object of the response; empty where the response is not Kubernetes' own."""
    try:
        answer = json.loads(error.body)
    except (TypeError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _reason(error: BaseException) -> str:
    """Return the reason of the last of several tries."""
    inner = getattr(error, "reason", None) or error
    return str((getattr(inner, "args", None) and inner.args[-1]) or inner)


def _first_line(text: str) -> str:
    return " ".join(text.split())[:500]
