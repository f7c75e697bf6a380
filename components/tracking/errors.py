"""Errors of a tracking server in one line, with a way out."""

import errno
import re
import sqlite3
from collections.abc import Iterator

from components.contract.credentials import without_credentials
from components.contract.errors import InputError
from components.store import StoreUnavailable

_LONGEST = 500
_FIXES = {
    r"out-of-date database schema": "run `mlflow db upgrade {where}` with the newest MLflow that uses the database",
    r"Can't locate revision": "the database is a newer MLflow's or another program's: upgrade MLflow, or name another "
    "file in MLFLOW_TRACKING_URI or tracking.uri",
    r"PERMISSION_DENIED|UNAUTHENTICATED|CUSTOMER_UNAUTHORIZED": "check MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, and their rights",
    r"ENDPOINT_NOT_FOUND": "check the path in MLFLOW_TRACKING_URI or tracking.uri",
    r"sqlite3\.": "MLFLOW_TRACKING_URI or tracking.uri must name an SQLite file of MLflow that can be written",
}
"""Patterns over an error's code and text, and what to change."""

_ANY_FIX = "check MLFLOW_TRACKING_URI, tracking.uri and tracking.experiment"
_TEMPORARY_CODES = ("TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED")
_SERVER_ERROR = re.compile(r"INTERNAL_ERROR: |.* failed with error code 5\d\d ")
"""A server's own error; MLflow's client gives the same code to everything that it cannot do itself."""


def reason(error: Exception) -> str:
    """Return the first line of an error, without credentials."""
    lines = str(error).strip().splitlines() or [""]
    # Cleaned before it is cut, because a URI that lost its end no longer shows where its password ends.
    return f"{type(error).__name__}: {without_credentials(lines[0])[:_LONGEST]}"


def way_out(error: Exception, where: str) -> str:
    """Return what has to happen before another attempt can succeed.

    Args:
        where: the server's URI, without credentials.
    """
    if is_temporary(error):
        return "every later stage tries again"
    said = f"{getattr(error, 'error_code', '')} {error}"
    fixes = (fix.format(where=where) for pattern, fix in _FIXES.items() if re.search(pattern, said))
    fix = "correct that" if isinstance(error, InputError) else next(fixes, _ANY_FIX)
    return f"{fix}, and the next stage sends them"


def is_temporary(error: BaseException) -> bool:
    """Return whether a later attempt may succeed although nobody has changed anything.

    So it is after HTTP 5xx and 429, without a connection, and with a database that is locked or a disk that is full.
    """
    from requests import exceptions

    unanswered = (exceptions.ConnectionError, exceptions.Timeout, exceptions.RetryError, ConnectionError, TimeoutError)
    for cause in _causes(error):
        if isinstance(cause, sqlite3.Error):
            name = getattr(cause, "sqlite_errorname", "")
            return name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL"))
        if isinstance(cause, exceptions.SSLError):
            return False
        if isinstance(cause, (*unanswered, StoreUnavailable, BlockingIOError)):
            return True
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
    if type(error).__name__ == "OperationalError":  # SQLAlchemy's, with a database other than SQLite
        return True
    return getattr(error, "error_code", "") in _TEMPORARY_CODES or bool(_SERVER_ERROR.match(str(error)))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
