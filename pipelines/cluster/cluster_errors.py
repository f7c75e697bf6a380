"""Errors of requests to Kubeflow Pipelines."""

from components.contract.errors import InputError


class ClusterUnavailable(Exception):
    """The server did not answer or failed. The same request may succeed later."""


class NotFound(InputError):
    """The requested object does not exist."""


class AlreadyExists(InputError):
    """An object of that name already exists."""
