"""What can go wrong between here and Kubeflow Pipelines, besides what a user can fix."""

from components.contract.errors import InputError


class ClusterUnavailable(Exception):
    """The server did not answer, or failed at answering. The same request may succeed later."""


class NotFound(InputError):
    """The server knows no such thing."""


class AlreadyExists(InputError):
    """The server has another thing of that name."""
