"""Failed requests to Kubeflow Pipelines as errors with a message of one line."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import urllib3.exceptions as http
from kfp_server_api import ApiException

from components.contract.credentials import without_credentials
from components.contract.errors import InputError
from pipelines.cluster.connection import CA, NAMESPACE, AlreadyExists, ClusterUnavailable, NotFound

READ_SECONDS = 60
"""Timeout of a response."""

_MAX_CHARACTERS = 400


@contextmanager
def translate_errors(address: str, what: str, namespace: str | None, changes: bool) -> Iterator[None]:
    """Translate the errors of one request to InputError or ClusterUnavailable.

    Args:
        address: the server, and the credentials in use.
        what: the object of the request.
        namespace: the user's namespace; None if none was given.
        changes: whether the request changes something, so that its outcome is unknown without a response.
    """
    try:
        yield
    except InputError:
        raise
    except ApiException as error:
        if error.status:
            raise _refused(error, address, what, namespace) from None
        raise _no_response(error, address, changes) from None
    except (http.HTTPError, OSError) as error:
        raise _no_response(error, address, changes) from None
    except (ValueError, TypeError) as error:
        # A response of another server breaks the generated code that reads it.
        raise not_kubeflow(address, str(error)) from None


def not_kubeflow(address: str, found: str) -> InputError:
    """Return the error for a response that does not come from Kubeflow Pipelines' API."""
    return InputError(
        f"{address} does not respond as Kubeflow Pipelines' API ({_clean(found)[:80]}): check the endpoint, which "
        "often ends in /pipeline; or a login page is in front of it, and a token or cookies are needed"
    )


def _refused(error: ApiException, address: str, what: str, namespace: str | None) -> Exception:
    said, status = _said(error), error.status
    if status == 401:
        return InputError(
            f"{address} refused access to {what} (401: {said}): the token or cookies are missing or have expired"
        )
    if status == 403:
        given = f"got {namespace}" if namespace else "none was given"
        return InputError(f"{address} refused access to {what} (403: {said}); check the namespace ({given})")
    if status == 404 and not (error.body or "").lstrip().startswith("{"):  # Kubeflow's own are JSON
        return not_kubeflow(address, f"404 {said}")
    if status == 404:
        return NotFound(f"{address} has no {what} ({said})")
    if status == 409:
        return AlreadyExists(f"{address} already has another {what} ({said})")
    if status == 429 or status >= 500:
        return ClusterUnavailable(f"{address} failed at {what} ({status}: {said}); try again later")
    hint = f"; give --namespace or set {NAMESPACE}" if "namespace" in said.lower() and not namespace else ""
    return InputError(f"{address} refused {what} ({status}: {said}){hint}")


def _no_response(error: Exception, address: str, changes: bool) -> Exception:
    reason = getattr(error, "reason", None) or error
    text = _clean(str(reason))
    if isinstance(reason, http.SSLError | ssl.SSLError) or text.startswith("SSLError"):
        return InputError(
            f"{address}: the certificate cannot be verified ({text}); give the CA certificates with --ca or {CA}"
        )
    if isinstance(reason, http.ReadTimeoutError | http.ProtocolError):
        doubt = "; the request may have succeeded: check with rapid runs and rapid schedules" if changes else ""
        late = isinstance(reason, http.ReadTimeoutError)
        how = f"did not respond within {READ_SECONDS} s" if late else "closed the connection before it responded"
        return ClusterUnavailable(f"{address} {how}{doubt}")
    return ClusterUnavailable(f"cannot reach {address}: {text}")


def _said(error: ApiException) -> str:
    """Return the server's message."""
    try:
        body = json.loads(error.body)
        # Uploads name the field differently.
        words = body.get("message") or body.get("error_message") or body.get("error")
    except (ValueError, TypeError, AttributeError):
        words = None
    return _clean(str(words or error.reason or "no reason given"))


def _clean(text: str) -> str:
    return without_credentials(" ".join(text.split()))[:_MAX_CHARACTERS]
