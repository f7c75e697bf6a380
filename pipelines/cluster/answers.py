"""What a request that failed means to a person, in one line."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions as http
from kfp_server_api import ApiException

from components.contract.errors import InputError
from components.tracking.server import without_credentials
from pipelines.cluster.connection import CA, NAMESPACE
from pipelines.cluster.errors import AlreadyExists, ClusterUnavailable, NotFound

READ_SECONDS = 60
"""How long an answer is waited for."""

_CHARACTERS = 400


@contextmanager
def explained(address: str, what: str, namespace: str | None, changes: bool) -> Iterator[None]:
    """Raise InputError or ClusterUnavailable for whatever one request raises.

    Args:
        address: whom it was sent to, as whom.
        what: it is about.
        namespace: the user's, where one was given.
        changes: whether it changes something, so that nobody knows what became of it without an answer.
    """
    try:
        yield
    except InputError:
        raise
    except ApiException as error:
        if error.status:
            raise _refused(error, address, what, namespace) from None
        raise _unanswered(error, address, changes) from None
    except (http.HTTPError, OSError) as error:
        raise _unanswered(error, address, changes) from None
    except (ValueError, TypeError) as error:
        # What is no answer of this API breaks the generated code that reads it.
        raise foreign(address, str(error)) from None


def foreign(address: str, found: str) -> InputError:
    """The answer is none of this API."""
    return InputError(
        f"{address} does not answer as Kubeflow Pipelines' API ({_clean(found)[:80]}): check the endpoint, which often "
        "ends in /pipeline; or a login page stands before it, and a token or cookies are needed"
    )


def _refused(error: ApiException, address: str, what: str, namespace: str | None) -> Exception:
    said, status = _said(error), error.status
    if status == 401:
        return InputError(f"{address} refused access to {what} (401: {said}): no token or cookies, or expired ones")
    if status == 403:
        now = f"it is {namespace}" if namespace else "none is given"
        return InputError(f"{address} refused access to {what} (403: {said}); is it another namespace ({now})?")
    if status == 404 and not _is_json(error):
        return foreign(address, f"404 {said}")
    if status == 404:
        return NotFound(f"{address} knows no {what} ({said})")
    if status == 409:
        return AlreadyExists(f"{address} has another {what} already ({said})")
    if status == 429 or status >= 500:
        return ClusterUnavailable(f"{address} failed at {what} ({status}: {said}); try again later")
    hint = f"; give --namespace or set {NAMESPACE}" if "namespace" in said.lower() and not namespace else ""
    return InputError(f"{address} refused {what} ({status}: {said}){hint}")


def _unanswered(error: Exception, address: str, changes: bool) -> Exception:
    reason = getattr(error, "reason", None) or error
    text = _clean(str(reason))
    if isinstance(reason, http.SSLError | ssl.SSLError) or text.startswith("SSLError"):
        return InputError(
            f"{address}: the connection is not trusted ({text}); name the file of its authority's certificates with "
            f"--ca or {CA}"
        )
    if isinstance(reason, http.ReadTimeoutError | http.ProtocolError):
        doubt = "; it may have been done all the same: look with rapid runs and rapid schedules" if changes else ""
        late = isinstance(reason, http.ReadTimeoutError)
        how = f"gave no answer within {READ_SECONDS} s" if late else "broke off before it answered"
        return ClusterUnavailable(f"{address} {how}{doubt}")
    return ClusterUnavailable(f"cannot reach {address}: {text}")


def _is_json(error: ApiException) -> bool:
    return (error.body or "").lstrip().startswith("{")


def _said(error: ApiException) -> str:
    """The server's own words."""
    try:
        body = json.loads(error.body)
        # Uploads answer in another form than everything else.
        words = body.get("message") or body.get("error_message") or body.get("error")
    except (ValueError, TypeError, AttributeError):
        words = None
    return _clean(str(words or error.reason or "no reason given"))


def _clean(text: str) -> str:
    return without_credentials(" ".join(text.split()))[:_CHARACTERS]
